"""``deltafolio replay``: the journal fed again, beside the live system."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltafolio.replay_verify import verify
from replay.sources import Source

if TYPE_CHECKING:
    from connectors.settings import Settings
    from replay.ask import Ask
    from replay.state import Run, Runs

REFUSED, FAILED, PAUSED = 1, 2, 3
NICE = 10

_replay = typer.Typer(
    help="Feed the journal again: backfill, verify, ask what was said then.\n\n"
    "Example: deltafolio replay run --from 2022-06-01 --to 2022-12-28",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Name of the run (deltafolio replay list).")]


def register(app: typer.Typer) -> None:
    """Add ``replay`` to the command line."""
    _replay.command()(verify)
    app.add_typer(_replay, name="replay")


@_replay.command()
def run(
    first: Annotated[str, typer.Option("--from", help="First session, YYYY-MM-DD.")],
    last: Annotated[str, typer.Option("--to", help="Last session, YYYY-MM-DD.")],
    portfolios: Annotated[str, typer.Option(help="Ids: 1,2,5-9; or all.")] = "all",
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many.")] = 1,
    publish: Annotated[
        bool, typer.Option("--publish", help="Bring what differs to the live topics.")
    ] = False,
    as_of: Annotated[
        str | None,
        typer.Option(help="Only what was committed by then: 2022-12-01T16:00 (UTC)."),
    ] = None,
    top: Annotated[
        int, typer.Option(min=0, help="With --as-of: lines of each kind.")
    ] = 5,
    source: Annotated[
        Source, typer.Option(help="The journal, or the tables as they are now.")
    ] = Source.JOURNAL,
    rate: Annotated[
        float | None,
        typer.Option(min=1, help="Records a second at most, of all workers together."),
    ] = None,
) -> None:
    """Derive a range of sessions again, apart from the live system, and compare.

    Without --publish the first cells that differ from live are named. With --as-of,
    what was said then stands beside what is said now, with the changes that explain it.

    Exit status: 0 done, 1 it cannot be had, 2 it failed, 3 paused (resume it).

    Example: deltafolio replay run --from 2022-06-01 --to 2022-12-28 --workers 2
    """
    from deltafolio.replay_run import begin

    with _said():
        settings, ask = _asked(first, last, portfolios, workers)
        ask = _more(ask, publish=publish, as_of=as_of, source=source, rate=rate)
        made = asyncio.run(begin(settings, ask))
    _work(settings, made, top=top)


@_replay.command(name="what-if")
def what_if(
    edits: Annotated[Path, typer.Option(help="YAML: what is edited.")],
    first: Annotated[
        str | None, typer.Option("--from", help="First session [default: of all].")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Last session [default: of all].")
    ] = None,
    portfolios: Annotated[str, typer.Option(help="Ids: 1,2,5-9; or all.")] = "all",
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many.")] = 1,
    top: Annotated[int, typer.Option(min=0, help="Lines of each kind.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Derive with edited rows, in a branch, and say how far that is from live.

    Nothing of it reaches live. What differs is on topic replay.RUN.differences.

    Exit status: 0 done, 1 it cannot be had, 2 it failed or an edit is wrong (its line
    is said), 3 paused (resume it).

    Example: deltafolio replay what-if --edits sample/edits.yaml --from 2022-06-01
    """
    from connectors.settings import Settings
    from deltafolio.check_cmds import parse_ids
    from deltafolio.replay_whatif import begin_what_if
    from replay.ask import bounds_of
    from replay.edits import read_edits

    settings = Settings.load()
    with _said():
        found = read_edits(edits)
        some = None if portfolios == "all" else parse_ids(portfolios)
        bounds = bounds_of(first, last)
        made = asyncio.run(
            begin_what_if(
                *(settings, found, bounds, some, workers),
                partial(typer.echo, err=as_json),
            )
        )
    _work(settings, made, top=top, as_json=as_json)


@_replay.command()
def resume(name: Name) -> None:
    """Go on with a run that was paused or killed; finished work is not done twice.

    Exit status: as that of run.

    Example: deltafolio replay resume 20221228-160000-1a2b
    """
    from connectors.settings import Settings
    from replay.state import Runs

    settings = Settings.load()
    with _said():
        found = Runs(settings.home).load(name)
    _work(settings, found)


@_replay.command(name="list")
def list_() -> None:
    """List the runs of this state directory.

    Example: deltafolio replay list
    """
    from connectors.settings import Settings
    from deltafolio.replay_screen import line
    from replay.state import Runs

    runs = Runs(Settings.load().home)
    for found in runs.all():
        typer.echo(line(found, held=runs.is_held(found.name)))
    for one in runs.broken():
        typer.echo(f"{one}  broken, nothing can be read of it: clean {one} removes it")
    for path in runs.left_copies():
        typer.echo(f"{path.name}  rows of a run never made: clean removes them")


@_replay.command()
def status(name: Name) -> None:
    """Say how far a run is and what came of it.

    Example: deltafolio replay status 20221228-160000-1a2b
    """
    from connectors.settings import Settings
    from deltafolio.replay_screen import line, summary
    from replay.state import Runs

    runs = Runs(Settings.load().home)
    with _said():
        found = runs.load(name)
    typer.echo(line(found, held=runs.is_held(name)))
    typer.echo("\n".join(summary(found)))


@_replay.command()
def pause(name: Name) -> None:
    """Ask a run to stop in good order; resume goes on with it.

    Example: deltafolio replay pause 20221228-160000-1a2b
    """
    _request(name, "pause")


@_replay.command()
def cancel(name: Name) -> None:
    """Stop a run for good; clean removes what it has left.

    Example: deltafolio replay cancel 20221228-160000-1a2b
    """
    _request(name, "cancel")


@_replay.command()
def clean(
    name: Annotated[
        str | None, typer.Argument(help="One run; all that nobody works on if none.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
) -> None:
    """Remove what runs have left: topics, consumer groups, directories.

    A run that list says is broken is removed by its name only.

    Example: deltafolio replay clean --dry-run
    """
    from connectors.settings import Settings
    from replay.clean import leavings, remove
    from replay.state import Runs

    settings = Settings.load()
    runs = Runs(settings.home)
    names = [name] if name else [r.name for r in runs.all() if not runs.is_held(r.name)]
    with _said():
        if name is None:
            _clean_copies(runs, dry_run=dry_run)
        for one in names:
            what = leavings if dry_run else remove
            found = asyncio.run(what(settings, runs, one))
            typer.echo(f"{one}: {len(found.topics)} topics, group {found.group}, ")
            typer.echo(f"  {found.directory}" + (" (kept)" if dry_run else " removed"))
            for topic in found.topics if dry_run else ():
                typer.echo(f"  {topic}")


def _clean_copies(runs: Runs, *, dry_run: bool) -> None:
    """Remove the rows that were read for runs which were never made."""
    for path in runs.left_copies():
        if not dry_run:
            path.unlink(missing_ok=True)
        typer.echo(f"{path}" + (" (kept)" if dry_run else " removed"))


# --- what commands have in common ---------------------------------------------------


def _asked(
    first: str, last: str, portfolios: str, workers: int
) -> tuple[Settings, Ask]:
    """Read the settings, and what was asked for in words."""
    from connectors.settings import Settings
    from deltafolio.check_cmds import parse_ids
    from replay.ask import Ask, day_of

    settings = Settings.load()
    some = None if portfolios == "all" else parse_ids(portfolios)
    families = settings.worker.families
    if some is not None:
        families = tuple(name for name in families if name != "symbols")
    ask = Ask(day_of(first), day_of(last), workers=workers, families=families)
    return settings, ask.narrowed(some)


def _more(ask: Ask, *, as_of: str | None, **more: object) -> Ask:
    import msgspec

    known = None if as_of is None else _microseconds(as_of)
    return msgspec.structs.replace(ask, as_of=known, **more)


def _microseconds(text: str) -> int:
    """Read an instant; UTC where it does not say.

    Examples
    --------
    >>> _microseconds("1970-01-01T00:00:01")
    1000000
    """
    from replay.errors import AskError

    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        message = (
            f"{text!r} is no instant (YYYY-MM-DDTHH:MM, UTC where it does not say)"
        )
        raise AskError(message) from error
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return round(since.total_seconds() * 1_000_000)


def _request(name: str, what: str) -> None:
    from connectors.settings import Settings
    from replay.state import OVER, Phase, Runs

    runs = Runs(Settings.load().home)
    with _said():
        found = runs.load(name)
    if runs.is_held(name):
        runs.request(name, what)
        typer.echo(f"{name}: {what} was asked for")
    elif what == "cancel" and found.phase not in OVER:
        found.phase = Phase.CANCELLED
        runs.save(found)
        typer.echo(f"{name}: cancelled")
    else:
        typer.echo(f"{name}: nobody works on it ({found.phase.value})")


def _work(
    settings: Settings, found: Run, *, top: int = 5, as_json: bool = False
) -> None:
    """Work on a run until its end or a signal, behind whatever else is to be done."""
    from deltafolio.replay_run import work
    from replay.run import StoppedError

    os.nice(max(0, NICE - os.nice(0)))

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _said():
            asyncio.run(work(settings, found, top=top, as_json=as_json))
    except (KeyboardInterrupt, StoppedError) as error:
        typer.echo(f"stopped: {str(error) or 'by a signal'}", err=True)
        typer.echo(f"go on with: deltafolio replay resume {found.name}", err=True)
        raise typer.Exit(PAUSED) from None


@contextmanager
def _said() -> Iterator[None]:
    """Turn what replay raises into a sentence and an exit code."""
    from aiokafka.errors import KafkaError
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from replay.errors import AskError, EditsError, ReplayError
    from replay.run import StoppedError

    try:
        yield
    except (StoppedError, ValidationError, SettingsError):
        raise
    except (AskError, ValueError) as error:
        typer.echo(f"replay: {error}", err=True)
        raise typer.Exit(REFUSED) from error
    except EditsError as error:
        typer.echo(f"what-if: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except (ReplayError, KafkaError, OSError) as error:
        typer.echo(f"replay failed: {error or type(error).__name__}", err=True)
        raise typer.Exit(FAILED) from error
