"""``deltafolio dlq``: refused records, looked at and tried again."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from aiokafka.errors import KafkaError

from analytics.calendar import Calendar
from analytics.causes import key_words
from connectors.calendar import load_calendar
from connectors.deadletters import DeadLetter, examine, read_letters, redrive
from connectors.debezium import Refused
from connectors.settings import Settings

NOT_DONE, FAILED = 1, 2
"""Exit status: something stays refused or is not there; Kafka cannot be reached."""

LOOK_SECONDS = 0.25
Answer = TypeVar("Answer")

_dlq = typer.Typer(
    help="Look at refused records (dead letters), and try them again.\n\n"
    "Example: deltafolio dlq list",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Reason = Annotated[str | None, typer.Option(help="Only letters of this reason.")]
Table = Annotated[str | None, typer.Option(help="Only letters of this table.")]


def register(app: typer.Typer) -> None:
    """Add ``dlq`` to the command line."""
    app.add_typer(_dlq, name="dlq")


@_dlq.command("list")
def list_(
    reason: Reason = None,
    table: Table = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest last.

    A corrected row needs nothing: its UPDATE is a new record and is taken as such.

    Example: deltafolio dlq list --reason negative_price --json

    Exit status: 0, or 2 when Kafka cannot be reached.
    """
    letters = _chosen(_run(read_letters(Settings.load())), reason, table)
    for letter in letters[-limit:]:
        typer.echo(_as_json(letter) if as_json else _line(letter))
    if not as_json:
        more = f", {limit} shown" if len(letters) > limit else ""
        typer.echo(f"{len(letters)} dead letters{more}")


@_dlq.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` gives it.")],
    as_json: Json = False,
) -> None:
    """Show one dead letter with its payload.

    Example: deltafolio dlq show cdc.public.positions/0/17

    Exit status: 0, 1 when there is no such letter, 2 when Kafka cannot be reached.
    """
    letters = _run(read_letters(Settings.load()))
    letter = next((letter for letter in letters if letter.id == name), None)
    if letter is None:
        typer.echo(f"no dead letter {name}", err=True)
        raise typer.Exit(NOT_DONE)
    if as_json:
        typer.echo(_as_json(letter))
        return
    for field, value in _fields(letter).items():
        typer.echo(f"{field:<10} {value}")


@_dlq.command("redrive")
def redrive_(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which letters.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All letters.")] = False,
    reason: Reason = None,
    table: Table = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be accepted.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until intake has taken them.")
    ] = 15.0,
    as_json: Json = False,
) -> None:
    """Validate dead letters again, and put those that pass back for intake.

    A letter passes when the rules, the calendar or the settings changed. It keeps its
    version: a row that was changed since stays as it is.

    Example: deltafolio dlq redrive --all --reason date_outside_calendar

    Exit status: 0 all were accepted, 1 some were not, 2 Kafka cannot be reached.
    """
    if not (names or every or reason or table):
        typer.echo("name letters, or give --all, --reason or --table", err=True)
        raise typer.Exit(FAILED)
    settings = Settings.load()
    letters = _run(read_letters(settings))
    missing = set(names or ()) - {letter.id for letter in letters}
    chosen = _chosen(letters, reason, table)
    if names:
        chosen = [letter for letter in chosen if letter.id in names]
    outcomes: dict[str, str] = dict.fromkeys(sorted(missing), "no such letter")
    outcomes |= _redriven(settings, chosen, wait=wait, dry_run=dry_run)
    for name, outcome in outcomes.items():
        line = {"id": name, "outcome": outcome}
        text = msgspec.json.encode(line).decode() if as_json else f"{name}: {outcome}"
        typer.echo(text)
    if not set(outcomes.values()) <= {ACCEPTED, PASSES}:
        raise typer.Exit(NOT_DONE)


ACCEPTED, PASSES = "accepted", "passes"
NOT_TAKEN = "put back, but not taken in time: is intake running?"


def _redriven(
    settings: Settings, letters: list[DeadLetter], *, wait: float, dry_run: bool
) -> dict[str, str]:
    """Outcome by letter."""
    bounds = settings.calendar
    calendar = load_calendar(bounds.name, bounds.start, bounds.end)
    outcomes = {
        letter.id: _verdict(settings, letter, calendar) or PASSES for letter in letters
    }
    passing = [letter for letter in letters if outcomes[letter.id] == PASSES]
    if passing and not dry_run:
        left = _run(_redrive_and_wait(settings, passing, wait))
        for letter in passing:
            outcomes[letter.id] = NOT_TAKEN if letter.id in left else ACCEPTED
    return outcomes


def _verdict(settings: Settings, letter: DeadLetter, calendar: Calendar) -> str | None:
    """Why a letter would be refused again, or None."""
    refused = examine(settings, letter, calendar).refused
    return None if refused is None else f"still refused: {_why(refused)}"


async def _redrive_and_wait(
    settings: Settings, letters: list[DeadLetter], wait: float
) -> set[str]:
    """Put letters back; returns those that intake has not removed by then."""
    await redrive(settings, letters)
    left = {letter.id for letter in letters}
    end = time.monotonic() + wait
    while left and time.monotonic() < end:
        await asyncio.sleep(LOOK_SECONDS)
        left &= {letter.id for letter in await read_letters(settings)}
    return left


def _run(work: Coroutine[Any, Any, Answer]) -> Answer:
    try:
        return asyncio.run(work)
    except KafkaError as error:
        typer.echo(f"Kafka: {error}", err=True)
        raise typer.Exit(FAILED) from error


def _chosen(
    letters: list[DeadLetter], reason: str | None, table: str | None
) -> list[DeadLetter]:
    return [
        letter
        for letter in letters
        if reason in (None, letter.reason) and table in (None, letter.table)
    ]


def _as_json(letter: DeadLetter) -> str:
    return msgspec.json.encode({"id": letter.id, **_fields(letter)}).decode()


def _fields(letter: DeadLetter) -> dict[str, Any]:
    return msgspec.structs.asdict(letter) | {"row": _row(letter)}


def _row(letter: DeadLetter) -> list[int | str] | None:
    """Primary key as the table has it: a letter holds a date as its ordinal."""
    if letter.row is None:
        return None
    try:
        return key_words(letter.row)
    except (ValueError, OverflowError):  # no date that could be written
        return list(letter.row)


def _why(refused: Refused) -> str:
    at = f" {refused.column}={refused.value}" if refused.column else ""
    return f"{refused.reason}{at}"


def _line(letter: DeadLetter) -> str:
    """Show a letter in one line, and say so where the value is cut."""
    row = "|".join(map(str, _row(letter) or ()))
    why = _why(Refused(letter.reason, letter.column, letter.value))
    of = f"  {letter.table} {row}" if letter.table else ""
    return f"{letter.ts}  {letter.id}{of}  {why}"
