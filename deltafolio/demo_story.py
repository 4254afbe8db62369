"""The story of the demonstration: three portfolios, four changes, a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analytics.factors import SAMPLE_FACTORS
from connectors.calendar import load_calendar
from connectors.check import check_until
from connectors.exchange import exchange_today
from connectors.postgres import Connection, apply_schema, connect
from connectors.settings import Settings
from connectors.sink import FAMILIES
from deltafolio.demo_ripples import show_ripples
from deltafolio.demo_screen import Screen, Stage, portfolios_table, publications
from deltafolio.loading import load
from deltafolio.local_app import LocalApp
from deltafolio.progress import Gauge, Position
from deltafolio.ripples import Listener
from sample.portfolios import FIRST_DAY, PORTFOLIOS, tables
from sample.prices import sessions

BACK = 40
QUIET_SECONDS = 0.5
SETTLE_SECONDS = 60.0
CHECK_SECONDS = 20.0

NEWEST = """
SELECT p.name, s.*,
    (r.content #>> '{betas,market,value}')::float8 AS beta,
    (r.content #>> '{volatility,21,value}')::float8 AS volatility,
    concat_ws(', ',
    CASE WHEN jsonb_array_length(s.quality -> 'private_mark') > 0
        THEN jsonb_array_length(s.quality -> 'private_mark') || ' private' END,
    CASE WHEN jsonb_array_length(s.quality -> 'stale') > 0
        THEN jsonb_array_length(s.quality -> 'stale') || ' stale' END,
    CASE WHEN jsonb_array_length(s.quality -> 'unpriced') > 0
        THEN jsonb_array_length(s.quality -> 'unpriced') || ' unpriced' END
    ) AS not_fresh
FROM analytics.portfolio_snapshots AS s
JOIN portfolios AS p ON p.id = s.portfolio_id
LEFT JOIN analytics.portfolio_risk AS r
    ON r.portfolio_id = s.portfolio_id AND r.session = s.session
WHERE s.session = (SELECT max(session) FROM analytics.portfolio_snapshots)
ORDER BY p.id
"""


@dataclass(frozen=True, slots=True)
class Act:
    """One change of the source: what it is about, and its SQL."""

    title: str
    sql: str


def acts() -> list[Act]:
    """Return the changes of the story, in their order."""
    late = sessions()[-1 - BACK]
    return [
        Act(
            f"A close is corrected, {BACK} sessions back",
            "UPDATE market_data_cache SET close = 240.5 "  # noqa: S608 - our own
            f"WHERE symbol = 'MSFT' AND date = '{late}'",
        ),
        Act(
            "A lot is restated: it was 900 AAPL, not 800",
            "UPDATE positions SET quantity = 900 "
            "WHERE portfolio_id = 1 AND symbol = 'AAPL'",
        ),
        Act(
            "A lot is deleted: it never was",
            "DELETE FROM positions WHERE portfolio_id = 1 AND symbol = 'KO'",
        ),
        Act(
            "A lot is added, dated back to August",
            "INSERT INTO positions (portfolio_id, symbol, position_type, "
            "investment_class, quantity, entry_price, entry_date) VALUES "
            "(3, 'QUAL', 'LONG', 'PUBLIC', 250, 117.5, '2022-08-01')",
        ),
    ]


async def play_story(screen: Screen, settings: Settings, workers: int) -> int:
    """Play it; 0 if every number is what the oracle says."""
    dsn = settings.postgres.dsn.get_secret_value()
    with screen.stage("Schema, and the sample: 59 056 closes, 3 portfolios"):
        await apply_schema(settings.postgres)
        connection = await connect(dsn, "demo")
        rows = await load(connection, tables())
    # The sample has an index and style ETFs of its own.
    settings = settings.model_copy(update={"factors": SAMPLE_FACTORS})
    app = LocalApp(settings, workers, screen.say)
    try:
        cells = await _derive(screen, settings, app, rows)
        screen.console.print(portfolios_table(await connection.fetch(NEWEST)))
        await _change(screen, settings, connection, cells)
        return await check(screen, settings)
    finally:
        await connection.close()
        with screen.stage("Processes stopped"):
            app.stop()


async def _derive(screen: Screen, settings: Settings, app: LocalApp, rows: int) -> int:
    """Start the application and wait for its results; how many snapshots came."""
    days = sum(day >= FIRST_DAY for day in sessions())
    expected = len(PORTFOLIOS) * days
    title = f"{len(PORTFOLIOS)} portfolios x {days} sessions captured and derived"
    with screen.stage(title) as stage:
        app.start()
        async with Gauge(settings) as gauge:
            say = _teller(stage, rows, expected)
            await gauge.until(lambda p: p.snapshots >= expected, 120, say)
            await gauge.settle(0.5, 60, say)
    return expected


def _teller(stage: Stage, rows: int, expected: int) -> Callable[[Position], None]:
    def say(now: Position) -> None:
        stage.say(
            f"{now.captured:,} of {rows:,} rows captured, "
            f"{publications(now.snapshots, expected)}"
        )

    return say


async def _change(
    screen: Screen, settings: Settings, connection: Connection, cells: int
) -> None:
    names = {key: name for key, name, *_ in PORTFOLIOS}
    topics = (family.topic(settings.topics) for family in FAMILIES)
    async with Gauge(settings) as gauge, Listener(settings, *topics) as ears:
        for act in acts():
            screen.head(act.title)
            screen.say(f"  [cyan]{act.sql}[/]")
            ears.take()
            await connection.execute(act.sql)
            await gauge.settle(QUIET_SECONDS, SETTLE_SECONDS)
            show_ripples(screen, settings, ears.take(), names, cells)
    screen.say("")


async def check(screen: Screen, settings: Settings) -> int:
    """Compare everything with the oracle; the exit code."""
    bounds = settings.calendar
    with screen.stage("Every number compared with the oracle's") as stage:
        found = await check_until(
            settings.postgres.dsn.get_secret_value(),
            settings.postgres.source_schema,
            load_calendar(bounds.name, bounds.start, bounds.end),
            wait=CHECK_SECONDS,
            today=exchange_today(bounds.name),
            factors=settings.factors,
            families=settings.worker.families,
            progress=lambda what, done, total: stage.say(f"{what} {done} of {total}"),
        )
    screen.say(f"[bold]{found.cells:,} cells compared, {found.differ} differ[/]")
    if found.first is not None:
        screen.say(f"[red]first: {found.first}[/]")
    return 1 if found.differ else 0
