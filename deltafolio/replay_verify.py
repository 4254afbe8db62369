"""``deltafolio replay verify``: whether live is what the journal says, bit for bit."""

from __future__ import annotations

import asyncio
import time
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from analytics.calendar import Calendar
    from connectors.ids import Wanted
    from connectors.settings import Settings
    from replay.ask import Ask
    from replay.verify import First

DIFFERENT, FAILED = 1, 2
HOUR = 3600
TOP = 5
"""So many inputs of the first number that differs."""


def verify(
    first: Annotated[str | None, typer.Option("--from", help="First session.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last session.")] = None,
    portfolios: Annotated[
        str | None, typer.Option(help="Ids: 1,2,5-9. A sample when not given.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All portfolios, and the symbols.")
    ] = False,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Check them against the rows as well.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to try again while something differs.")
    ] = 10.0,
    seed: Annotated[
        int | None, typer.Option(help="Of the sample; another one each hour if none.")
    ] = None,
) -> None:
    """Derive from the journal again; compare every number with what is live.

    Exit status: 0 nothing differs, 1 something does, 2 it could not be compared.

    Example: deltafolio replay verify --all
    """
    import asyncpg  # type: ignore[import-untyped]
    from aiokafka.errors import KafkaError

    from replay.ask import bounds_of
    from replay.errors import ReplayError

    chosen = int(time.time()) // HOUR if seed is None else seed
    try:
        bounds, some = bounds_of(first, last), _ids(portfolios)
        differ = asyncio.run(_verify(bounds, some, chosen, everything, oracle, wait))
    except (ReplayError, KafkaError, OSError, ValueError, asyncpg.PostgresError) as e:
        typer.echo(f"verify failed: {e or type(e).__name__}", err=True)
        raise typer.Exit(FAILED) from e
    if differ:
        raise typer.Exit(DIFFERENT)


def _ids(portfolios: str | None) -> Wanted | None:
    from deltafolio.check_cmds import parse_ids

    return None if portfolios is None else parse_ids(portfolios)


async def _verify(
    bounds: tuple[date | None, date | None],
    portfolios: Wanted | None,
    seed: int,
    everything: bool,
    oracle: bool,
    wait: float,
) -> int:
    """Compare and tell; how many cells differ."""
    from connectors.settings import Settings
    from deltafolio.replay_run import calendar_of
    from replay.verify import Verify, verify_until

    settings = Settings.load()
    calendar = calendar_of(settings)
    ask = await _asked(
        settings, calendar, bounds, portfolios, None if everything else seed
    )
    found = await verify_until(lambda: Verify(settings, calendar, ask), wait)
    some = "all" if ask.portfolios is None else f"{len(ask.portfolios)}"
    typer.echo(
        f"{ask.first} to {ask.last}, portfolios: {some}, records: {found.records:,}"
    )
    typer.echo(f"{found.cells:,} cells compared, {found.differ:,} differ")
    if found.first:
        typer.echo(f"first: {found.first}")
        for line in await _story(settings, found.first):
            typer.echo(f"  {line}")
    return found.differ + (
        await _oracle(settings, calendar, ask, wait) if oracle else 0
    )


async def _story(settings: Settings, first: First) -> list[str]:
    """Say what the number is made of, as ``why`` does where it knows."""
    from connectors.why import WhyError
    from deltafolio.why_cmds import ask, lines

    told = [f"beside it: {first.inputs}"] if first.inputs else []
    if first.family in ("snapshots", "risk") and first.path:
        metric = ".".join(first.path).removesuffix(".value")
        try:
            answer = await ask(settings, int(first.owner), first.session, metric, TOP)
        except WhyError:
            return told  # a number that is not asked for by name
        told += lines(answer)
    return told


async def _asked(
    settings: Settings,
    calendar: Calendar,
    bounds: tuple[date | None, date | None],
    portfolios: Wanted | None,
    seed: int | None,
) -> Ask:
    """Say what is verified: all of the journal's days, a sample if there is a seed."""
    from connectors.ids import Wanted
    from replay.ask import Ask, make_plan
    from replay.feed import survey
    from replay.verify import sample

    facts, prefix = await survey(settings, None)
    days = facts.days or {calendar.first}
    if portfolios is None and seed is not None:
        portfolios = Wanted(sample(facts.portfolios, seed))
    families = settings.worker.families
    ask = Ask(
        bounds[0] or date.fromordinal(min(days)),
        bounds[1] or date.fromordinal(max(days)),
        families=families if portfolios is None else _of_portfolios(families),
    ).narrowed(portfolios)
    return make_plan(ask, facts, prefix, calendar).ask


async def _oracle(settings: Settings, calendar: Calendar, ask: Ask, wait: float) -> int:
    """Compare with an independent computation too; how many cells differ."""
    from connectors.check import check_until
    from connectors.exchange import exchange_today

    checked = await check_until(
        settings.postgres.dsn.get_secret_value(),
        settings.postgres.source_schema,
        calendar,
        # The journal remembers portfolios that PostgreSQL has forgotten.
        portfolios=None if ask.portfolios is None else set(ask.portfolios).intersection,
        wait=wait,
        today=exchange_today(settings.calendar.name),
        factors=settings.factors,
        families=ask.families,
    )
    typer.echo(f"oracle: {checked.cells:,} cells compared, {checked.differ:,} differ")
    if checked.first is not None:
        typer.echo(f"first: {checked.first}")
    return checked.differ


def _of_portfolios(families: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in families if name != "symbols")
