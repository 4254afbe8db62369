"""``deltafolio check``: whether every published number is what the rows say."""

import asyncio
from typing import Annotated

import asyncpg  # type: ignore[import-untyped]
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from connectors.calendar import load_calendar
from connectors.check import check_until
from connectors.exchange import exchange_today
from connectors.ids import Wanted
from connectors.settings import Settings

DIFFERENT, FAILED = 1, 2


def register(app: typer.Typer) -> None:
    """Add ``check`` to the command line."""
    app.command()(check)


def check(
    portfolios: Annotated[
        str | None,
        typer.Option(
            help="Ids: 1,2,5-9 (a range skips what is not there). All when not given."
        ),
    ] = None,
    dsn: Annotated[
        str | None, typer.Option(help="Database; as in the settings when not given.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to try again while something differs.")
    ] = 0.0,
) -> None:
    """Compare every cell in schema analytics with an independent computation.

    Exit status: 0 nothing differs, 1 something does, 2 it could not be compared.

    Example: deltafolio check --wait 10
    """
    settings = Settings.load()
    where = dsn or settings.postgres.dsn.get_secret_value()
    bounds = settings.calendar
    try:
        wanted = None if portfolios is None else parse_ids(portfolios)
        with _progress() as bar:
            result = asyncio.run(
                check_until(
                    where,
                    settings.postgres.source_schema,
                    load_calendar(bounds.name, bounds.start, bounds.end),
                    portfolios=wanted,
                    wait=wait,
                    progress=Shown(bar),
                    today=exchange_today(bounds.name),
                    factors=settings.factors,
                    families=settings.worker.families,
                )
            )
    except (OSError, ValueError, asyncpg.PostgresError) as error:
        typer.echo(f"check failed: {error or type(error).__name__}", err=True)
        raise typer.Exit(FAILED) from error
    typer.echo(f"{result.cells} cells compared, {result.differ} differ")
    if result.first is not None:
        typer.echo(f"first: {result.first}")
        raise typer.Exit(DIFFERENT)


def parse_ids(text: str) -> Wanted:
    """Ids and ranges of ids, separated by commas.

    Examples
    --------
    >>> parse_ids("7,1-3")
    Wanted(ids=(7,), ranges=((1, 3),))
    """
    ids: set[int] = set()
    ranges: set[tuple[int, int]] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            bounds = int(first), int(last if dash else first)
        except ValueError as error:
            message = f"{part!r} is neither an id nor a range of ids"
            raise ValueError(message) from error
        if bounds[0] > bounds[1]:
            message = f"{part!r} is a range that ends before it begins"
            raise ValueError(message)
        if dash:
            ranges.add(bounds)
        else:
            ids.add(bounds[0])
    return Wanted(tuple(sorted(ids)), tuple(sorted(ranges)))


class Shown:
    """Progress of a comparison on a bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("tables")

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show a stage's progress."""
        self._bar.update(self._task, description=stage, completed=done, total=total)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    )
