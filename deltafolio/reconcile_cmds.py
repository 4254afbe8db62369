"""``deltafolio reconcile``: whether the journal has every row of the source."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connectors.reconcile import Found, Range
    from connectors.settings import Settings

DIFFERENT, FAILED = 1, 2
WAIT_SECONDS = 10.0
REPAIR_SECONDS = 30.0
SHOWN = 20
"""Rows named of a range; the rest is counted."""


def register(app: typer.Typer) -> None:
    """Add ``reconcile`` to the command line."""
    app.command()(reconcile)


def reconcile(
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to look again while rows differ.")
    ] = WAIT_SECONDS,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Write missing and stale rows anew as they are (UPDATE by key), so "
            "that they are streamed again; then look again.",
        ),
    ] = False,
) -> None:
    """Compare PostgreSQL with the journal, by counts and digests of key ranges.

    Names rows that the journal lacks, has beside, or has otherwise, in two looks in a
    row: what differs only once was on its way. With --wait 0 it looks once.

    Exit status: 0 equal, 1 rows differ, 2 it could not be compared.

    Example: deltafolio reconcile --repair
    """
    import asyncpg  # type: ignore[import-untyped]
    from aiokafka.errors import KafkaError

    from connectors.settings import Settings

    try:
        found = asyncio.run(_reconcile(Settings.load(), wait, repair=repair))
    except (OSError, TimeoutError, KafkaError, asyncpg.PostgresError) as error:
        typer.echo(f"reconcile failed: {type(error).__name__}: {error}", err=True)
        raise typer.Exit(FAILED) from error
    _show(found)
    if found.differ:
        raise typer.Exit(DIFFERENT)


async def _reconcile(settings: Settings, wait: float, *, repair: bool) -> Found:
    from connectors.calendar import load_calendar
    from connectors.reconcile import reconcile_until
    from connectors.reconcile import repair as touch

    bounds = settings.calendar
    calendar = load_calendar(bounds.name, bounds.start, bounds.end)
    found = await reconcile_until(settings, calendar, wait)
    if not repair or not found.differ:
        return found
    _show(found)
    typer.echo(f"{await touch(settings, found)} rows written anew")
    return await reconcile_until(settings, calendar, max(wait, REPAIR_SECONDS))


def _show(found: Found) -> None:
    for table, rows in found.rows.items():
        ranges = [one for one in found.differing if one.table == table]
        typer.echo(f"{table:<28}{rows:>10} rows, {len(ranges)} ranges differ")
        for one in ranges:
            for line in lines_of(one):
                typer.echo(f"  {line}")
    typer.echo(f"{found.ranges} ranges compared, {found.differ} rows differ")


def lines_of(one: Range) -> Iterator[str]:
    """Write down a range that differs.

    Examples
    --------
    >>> from connectors.reconcile import Range
    >>> print(*lines_of(Range("positions", (1,), (9,), 2, 1, (((3,), 1),), (), ())))
    1 to 9: 2 rows in PostgreSQL, 1 in the journal   missing 3 of portfolio 1
    """
    first, last = name_of(one.table, one.first), name_of(one.table, one.last)
    yield (
        f"{first} to {last}: {one.source} rows in PostgreSQL, {one.journal} in the "
        "journal"
    )
    sides = {"missing": one.missing, "extra": one.extra, "stale": one.stale}
    for word, places in sides.items():
        for key, portfolio in places[:SHOWN]:
            of = "" if portfolio is None else f" of portfolio {portfolio}"
            yield f"  {word} {name_of(one.table, key)}{of}"
        if len(places) > SHOWN:
            yield f"  {word} {len(places) - SHOWN} more"


def name_of(table: str, key: tuple[int | str, ...]) -> str:
    """Write a key for a reader; dates are dates."""
    from datetime import date

    if table == "market_data_cache":
        return f"{key[0]} {date.fromordinal(int(key[1]))}"
    return " ".join(map(str, key))
