"""From a committed row to what PostgreSQL holds as results, on the real stack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from deltafolio.ripples import Listener
from sample.portfolios import FIRST_DAY, PORTFOLIOS, tables
from sample.prices import sessions
from tests.worlds import World

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OpenWorld = Callable[..., Awaitable[World]]

LOT = (
    "INSERT INTO positions (portfolio_id, symbol, position_type, investment_class, "
    "quantity, entry_price, entry_date, exit_price, exit_date, underlying_symbol, "
    "strike_price, expiration_date) VALUES "
)
CLOSE = "INSERT INTO market_data_cache (symbol, date, close) VALUES "
VECTORS = [
    "INSERT INTO portfolios (id, name, equity_balance) VALUES "
    "(1, 'sold', 10000), (2, 'sold in part', 10000), (3, 'short', 10000), "
    "(4, 'short call', 10000), (5, 'gap', 10000)",
    f"{LOT} (1, 'A', 'LONG', 'PUBLIC', 100, 50, '2024-01-02', 61, '2024-01-04', "
    "NULL, NULL, NULL), "
    "(2, 'A', 'LONG', 'PUBLIC', 60, 50, '2024-01-02', NULL, NULL, NULL, NULL, NULL), "
    "(3, 'B', 'SHORT', 'PUBLIC', -10, 20, '2024-01-02', NULL, NULL, NULL, NULL, NULL), "
    "(4, 'B240119C00020000', 'SC', 'OPTIONS', -1, 2, '2024-01-02', NULL, NULL, "
    "'B', 20, '2024-01-19'), "
    "(5, 'C', 'LONG', 'PUBLIC', 1, 100, '2024-01-02', NULL, NULL, NULL, NULL, NULL)",
    "INSERT INTO position_realized_events (portfolio_id, position_id, trade_date, "
    "quantity_closed, exit_price) "
    "SELECT 2, id, '2024-01-04', 40, 61 FROM positions WHERE portfolio_id = 2",
    f"{CLOSE} ('A', '2024-01-02', 50), ('A', '2024-01-03', 55), "
    "('A', '2024-01-04', 60), ('B', '2024-01-02', 20), ('B', '2024-01-03', 22), "
    "('B240119C00020000', '2024-01-02', 2), ('B240119C00020000', '2024-01-03', 2.5), "
    "('C', '2024-01-02', 100), ('C', '2024-01-04', 121)",
]


async def test_the_vectors_of_the_definition(open_world: OpenWorld) -> None:
    world = await open_world()
    await world.execute(*VECTORS)
    await world.caught_up()
    await its_catch_up_is_told(world)
    assert await world.snapshots(1, "pnl") == [0, 500, 600]
    assert await world.snapshots(2, "pnl") == [0, 500, 540]
    assert (await world.snapshots(3, "pnl"))[:2] == [0, -20]
    assert (await world.snapshots(4, "pnl"))[:2] == [0, -50]
    assert await world.snapshots(5, "pnl") == [0, 0, 21]
    stale = await world.snapshots(5, "jsonb_array_length(quality -> 'stale')")
    assert stale == [0, 1, 0]
    await world.execute(f"{CLOSE} ('C', '2024-01-03', 110)")
    await world.caught_up()
    assert await world.snapshots(5, "pnl") == [0, 10, 11]
    await world.assert_equal_to_the_oracle()


async def its_catch_up_is_told(world: World) -> None:
    """The sink brings it to PostgreSQL with its own rights, told by the worker."""
    runs: list[tuple[str, ...]] = []
    async with asyncio.timeout(30):
        while runs != [("catch-up", "done", None)]:
            found = await world.fetch("SELECT kind, status, error FROM analytics.runs")
            runs = [tuple(run) for run in found]
            assert len(runs) <= 1
            await asyncio.sleep(0.1)


IDENTITIES = """
WITH s AS (
    SELECT *, lag(nav) OVER (PARTITION BY portfolio_id ORDER BY session) AS before
    FROM analytics.portfolio_snapshots
), lots AS (
    SELECT portfolio_id, session, sum(market_value) AS mv, sum(pnl) AS pnl
    FROM analytics.position_values GROUP BY 1, 2
)
SELECT s.portfolio_id, s.session,
    s.nav - coalesce(s.before, p.equity_balance) - s.pnl - s.flow AS chain,
    s.nav - s.cash - s.long_value - s.short_value AS parts,
    s.market_value - coalesce(lots.mv, 0) AS lots_mv,
    s.pnl - coalesce(lots.pnl, 0) AS lots_pnl,
    s.gross_value - s.long_value + s.short_value AS gross,
    s.net_value - s.long_value - s.short_value AS net
FROM s JOIN portfolios AS p ON p.id = s.portfolio_id
LEFT JOIN lots USING (portfolio_id, session)
"""


@pytest.fixture
async def sample_world(open_world: OpenWorld) -> World:
    """A world with the sample in it, derived."""
    world = await open_world(workers=2)
    await world.load(tables())
    await world.caught_up()
    return world


async def test_the_sample_from_rows_to_results_and_corrections_of_it(
    sample_world: World,
) -> None:
    world = sample_world
    days = [day for day in sessions() if day >= FIRST_DAY]
    await the_results_are_whole(world, len(days))
    await the_identities_of_money_hold(world)
    await a_corrected_close_publishes_only_what_it_touches(world, days)
    await a_lot_that_goes_is_retracted_with_its_portfolio(world, days)
    await world.assert_equal_to_the_oracle()


async def the_results_are_whole(world: World, days: int) -> None:
    for portfolio, *_ in PORTFOLIOS:
        assert len(await world.snapshots(portfolio, "nav")) == days
    assert await world.assert_equal_to_the_oracle() > 3 * days * 20


async def the_identities_of_money_hold(world: World) -> None:
    rows = await world.fetch(IDENTITIES)
    assert len(rows) > 400
    for row in rows:
        off = {name: value for name, value in list(row.items())[2:] if value != 0}
        assert not off, (row["portfolio_id"], row["session"], off)


async def a_corrected_close_publishes_only_what_it_touches(
    world: World, days: list[str]
) -> None:
    day, after = days[-41], days[-40]
    async with Listener(world.settings) as ears:
        await world.execute(
            "UPDATE market_data_cache SET close = close + 1 "
            f"WHERE symbol = 'MSFT' AND date = '{day}'"
        )
        await world.caught_up()
        heard = ears.take()
    # Growth has 500 MSFT, Long/short 300; at the day and the one after it.
    cells = {(portfolio, session) for portfolio in (1, 3) for session in (day, after)}
    topics = (world.settings.topics.snapshots, world.settings.topics.positions)
    assert sorted((h.topic, h.owner, h.session) for h in heard) == sorted(
        (topic, *cell) for topic in topics for cell in cells
    )
    growth = next(
        h.body
        for h in heard
        if h.topic == topics[0] and h.owner == 1 and h.session == day
    )
    moved = Decimal(str(growth["nav"])) - Decimal(str(growth["previous"]["nav"]))
    assert moved == 500
    assert growth["cause"]["table"] == "market_data_cache"
    assert growth["cause"]["key"] == ["MSFT", day]


async def a_lot_that_goes_is_retracted_with_its_portfolio(
    world: World, days: list[str]
) -> None:
    await world.execute("DELETE FROM portfolios WHERE id = 2")
    await world.caught_up()
    assert await world.snapshots(2, "nav") == []
    assert len(await world.snapshots(1, "nav")) == len(days)
