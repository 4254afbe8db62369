"""The demonstration at size: a synthetic universe, stage by stage, with rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.table import Table

from connectors.postgres import apply_schema, connect
from connectors.settings import Settings
from connectors.stack import Stack
from deltafolio.demo_screen import Screen, Stage, publications
from deltafolio.demo_story import check
from deltafolio.loading import load
from deltafolio.local_app import LocalApp
from deltafolio.progress import Gauge, Position
from deltafolio.universe import Universe, make_universe
from deltafolio.usage import cpu_seconds

LIMIT = 1800.0
QUIET_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of what took how long."""

    stage: str
    number: int
    unit: str
    seconds: float

    @property
    def rate(self) -> float:
        """Number a second."""
        return self.number / max(self.seconds, 1e-9)


async def play_scale(
    screen: Screen, settings: Settings, portfolios: int, sessions: int, workers: int
) -> int:
    """Play it at size; 0 if every number is what the oracle says."""
    with screen.stage(f"{portfolios:,} portfolios x {sessions} sessions made up"):
        universe = make_universe(portfolios, sessions)
    rates = [await _load(screen, settings, universe)]
    app = LocalApp(settings, workers, screen.say, ["capture", "intake"])
    try:
        app.start()
        rates.append(await _capture(screen, settings, universe))
        rates += await _derive(screen, settings, app, universe, workers)
        _report(screen, settings, app, rates)
        return await check(screen, settings)
    finally:
        with screen.stage("Processes stopped"):
            app.stop()


async def _load(screen: Screen, settings: Settings, universe: Universe) -> Rate:
    await apply_schema(settings.postgres)
    with screen.stage(f"{universe.rows:,} rows loaded by COPY"):
        connection = await connect(settings.postgres.dsn.get_secret_value(), "demo")
        try:
            began = time.monotonic()
            rows = await load(connection, universe.tables)
            took = time.monotonic() - began
        finally:
            await connection.close()
    return Rate("COPY into PostgreSQL", rows, "rows", took)


async def _capture(screen: Screen, settings: Settings, universe: Universe) -> Rate:
    """Wait until the journal has every row; its time begins with the first one."""
    with screen.stage(f"{universe.rows:,} rows captured into the journal") as stage:
        async with Gauge(settings) as gauge:
            watch = _Watch(stage, "captured", universe.rows, "rows")
            first = await gauge.until(lambda p: p.captured > 0, LIMIT)
            await gauge.until(lambda p: p.captured >= universe.rows, LIMIT, watch)
            last = await settled(gauge, lambda p: p.journal)
    return Rate("PostgreSQL to journal", universe.rows, "rows", last - first)


async def _derive(
    screen: Screen, settings: Settings, app: LocalApp, universe: Universe, workers: int
) -> list[Rate]:
    """Start workers on the full journal, then the sink; each from a cold start."""
    cells = universe.live * len(_portfolios(universe))
    rates = []
    async with Gauge(settings) as gauge:
        title = f"{cells:,} portfolio-days derived by {workers} workers, cold"
        with screen.stage(title) as stage:
            began = time.time()
            for number in range(workers):
                app.supervisor.add(f"worker-{number + 1}")

            def watch(now: Position) -> None:
                stage.say(publications(now.snapshots, cells))

            await gauge.until(lambda p: p.positions >= cells, LIMIT, watch)
            last = await settled(gauge, lambda p: p.published)
        rates.append(Rate("journal to results", cells, "portfolio-days", last - began))
        with screen.stage("The same into PostgreSQL") as stage:
            began = time.time()
            app.supervisor.add("sink")
            records = (await gauge.read()).published
            watch = _Watch(stage, "sunk", records, "records")
            done = await gauge.until(lambda p: p.sunk >= p.published, LIMIT, watch)
        rates.append(
            Rate("results to PostgreSQL", cells, "portfolio-days", done - began)
        )
    return rates


def _portfolios(universe: Universe) -> set[int]:
    return {owner for owners in universe.holders.values() for owner in owners}


async def settled(gauge: Gauge, counter: Callable[[Position], int]) -> float:
    """Wait until a counter rests; the moment (``time.time()``) it last moved."""
    last, at = -1, time.time()

    def rests(now: Position) -> bool:
        nonlocal last, at
        if counter(now) != last:
            last, at = counter(now), time.time()
        return time.time() - at > QUIET_SECONDS

    await gauge.until(rests, LIMIT)
    return at


class _Watch:
    """Tells a stage how far one counter is."""

    def __init__(self, stage: Stage, counter: str, total: int, unit: str) -> None:
        self._stage = stage
        self._counter = counter
        self._total = total
        self._unit = unit

    def __call__(self, now: Position) -> None:
        done = getattr(now, self._counter)
        self._stage.say(f"{done:,} of {self._total:,} {self._unit}")


def _report(
    screen: Screen, settings: Settings, app: LocalApp, rates: list[Rate]
) -> None:
    table = Table(title="How fast", title_justify="left")
    table.add_column("stage")
    for name in ("number", "seconds", "a second"):
        table.add_column(name, justify="right")
    for rate in rates:
        table.add_row(
            rate.stage,
            f"{rate.number:,} {rate.unit}",
            f"{rate.seconds:.1f}",
            f"{rate.rate:,.0f}",
        )
    screen.console.print(table)
    spent = cpu_seconds(app.supervisor, Stack(settings.home))
    words = ", ".join(f"{name} {seconds:.1f}" for name, seconds in spent.items())
    screen.say(f"CPU seconds by process since its start: {words}")
