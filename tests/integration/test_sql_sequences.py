"""Any sequence of SQL on the source tables leaves results that equal the oracle's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from analytics.results import ALL_FAMILIES
from connectors.deadletters import read_letters
from connectors.postgres import connect
from deltafolio.loading import load
from deltafolio.universe import make_universe
from tests.worlds import World

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OpenWorld = Callable[..., Awaitable[World]]

UNIVERSE = make_universe(12, 70, symbols=40, warmup=20)
SYMBOL = UNIVERSE.symbols[20]
LIVE = UNIVERSE.sessions[-UNIVERSE.live :]
NEWEST = LIVE[-1]
LATE = LIVE[-61]

SEQUENCE: dict[str, list[str]] = {
    "insert a lot": [
        "INSERT INTO positions (id, portfolio_id, symbol, position_type, "
        "investment_class, quantity, entry_price, entry_date) VALUES "
        f"(9001, 1, '{SYMBOL}', 'LONG', 'PUBLIC', 10.5, 12.345678, '{LIVE[5]}')"
    ],
    "update a quantity": ["UPDATE positions SET quantity = quantity + 1 WHERE id = 5"],
    "update what no number depends on": [
        "UPDATE positions SET investment_class = investment_class WHERE id = 6",
        "UPDATE company_profiles SET company_name = 'X' WHERE symbol = 'S0001'",
    ],
    "delete a lot": ["DELETE FROM positions WHERE id = 30"],
    "delete softly, and take it back": [
        "UPDATE positions SET deleted_at = now() WHERE id IN (45, 46)",
        "UPDATE positions SET deleted_at = NULL WHERE id = 46",
        "UPDATE portfolios SET deleted_at = now() WHERE id = 9",
    ],
    "move a lot with its events": [
        "WITH m AS (UPDATE positions SET portfolio_id = 2 WHERE id = 1) "
        "UPDATE position_realized_events SET portfolio_id = 2 WHERE position_id = 1"
    ],
    "move a lot without its events": [
        "UPDATE positions SET portfolio_id = 4 WHERE id = 43"
    ],
    "change keys": [
        "UPDATE positions SET id = 9100 WHERE id = 70",
        "UPDATE portfolios SET id = 500 WHERE id = 7",
        f"UPDATE market_data_cache SET symbol = 'NEW' WHERE symbol = '{SYMBOL}' "
        f"AND date = '{LIVE[10]}'",
        f"UPDATE market_data_cache SET date = '{LIVE[20]}' "
        f"WHERE symbol = 'NEW' AND date = '{LIVE[10]}'",
    ],
    "a price late by 60 sessions": [
        f"DELETE FROM market_data_cache WHERE symbol = 'S0003' AND date = '{LATE}'",
        "INSERT INTO market_data_cache (symbol, date, close) "
        f"VALUES ('S0003', '{LATE}', 77.25)",
    ],
    "a flow on a Sunday": [
        "INSERT INTO equity_changes (portfolio_id, change_type, amount, change_date) "
        "VALUES (3, 'CONTRIBUTION', 1234.5678, '2024-10-06')"
    ],
    "rows that are refused": [
        f"UPDATE market_data_cache SET close = -1 WHERE date = '{LIVE[30]}' "
        "AND symbol IN ('S0004', 'S0005')",
        "UPDATE positions SET quantity = -quantity WHERE id IN (100, 101)",
        "INSERT INTO positions (portfolio_id, symbol, position_type, "
        "investment_class, quantity, entry_price, entry_date) VALUES "
        "(5, 'S0006', 'LONG', NULL, 1, 1, '2024-11-01')",
        "UPDATE equity_changes SET amount = 0 WHERE id = 1",
        "UPDATE positions SET quantity = -quantity WHERE id = 101",
    ],
    "orphans, and the parent later": [
        "INSERT INTO positions (id, portfolio_id, symbol, position_type, "
        "investment_class, quantity, entry_price, entry_date) VALUES "
        f"(9200, 700, 'S0007', 'LONG', 'PUBLIC', 3, 10, '{LIVE[2]}')",
        "INSERT INTO portfolios (id, name, equity_balance) VALUES (700, 'late', 50)",
    ],
    "an option that expires and a private holding": [
        "INSERT INTO positions (portfolio_id, symbol, position_type, "
        "investment_class, quantity, entry_price, entry_date, underlying_symbol, "
        "strike_price, expiration_date) VALUES "
        f"(8, 'OPT', 'LC', 'OPTIONS', 2, 3, '{LIVE[1]}', 'S0008', 5, '{LIVE[40]}')",
        "INSERT INTO positions (portfolio_id, symbol, position_type, "
        "investment_class, quantity, entry_price, entry_date, last_price) VALUES "
        f"(8, 'PRIV', 'LONG', 'PRIVATE', 100, 1.5, '{LIVE[1]}', 2.25)",
    ],
    "the last session's prices go": [
        f"DELETE FROM market_data_cache WHERE date = '{NEWEST}'"
    ],
    "profiles and weights": [
        "UPDATE company_profiles SET sector = 'Energy' WHERE symbol = 'S0002'",
        "DELETE FROM company_profiles WHERE symbol = 'S0009'",
        "INSERT INTO benchmarks_sector_weights (benchmark_code, sector, weight, "
        f"effective_date) VALUES ('X', 'Energy', 1, '{LIVE[0]}')",
    ],
}

TEN_THOUSAND = """
UPDATE market_data_cache SET close = close + 0.01
WHERE ctid IN (SELECT ctid FROM market_data_cache ORDER BY date, symbol LIMIT 5000);
INSERT INTO market_data_cache (symbol, date, close)
SELECT 'MORE' || n % 100, d.date, 1 + n FROM generate_series(1, 100) AS n,
(SELECT DISTINCT date FROM market_data_cache ORDER BY date DESC LIMIT 50) AS d;
"""


@pytest.fixture(params=[1, 3], ids=["1 worker", "3 workers"])
async def world(request: pytest.FixtureRequest, open_world: OpenWorld) -> World:
    opened = await open_world(workers=request.param)
    await opened.load(UNIVERSE.tables)
    return opened


async def test_every_kind_of_change_one_after_the_other(world: World) -> None:
    await world.assert_equal_to_the_oracle()
    connection = await connect(world.dsn, "test")
    try:
        for name, statements in SEQUENCE.items():
            for statement in statements:
                await connection.execute(statement)
            found = await world.check()
            assert found.differ == 0, f"after {name!r}: {found.first}\n{world.story()}"
        await truncate_is_refused_loudly(world, connection)
        await ten_thousand_rows_in_a_transaction(world, connection)
        await one_price_a_thousand_times(world, connection)
    finally:
        await connection.close()
    await world.assert_equal_to_the_oracle()


async def truncate_is_refused_loudly(
    world: World, connection: asyncpg.Connection
) -> None:
    """The rows are gone from the table and stay in the results until put back."""
    saved = await connection.fetch("SELECT * FROM benchmarks_sector_weights")
    await connection.execute("TRUNCATE benchmarks_sector_weights")
    await world.caught_up()
    reasons = [letter.reason for letter in await read_letters(world.settings)]
    assert any("truncate" in reason.lower() for reason in reasons), reasons
    await connection.copy_records_to_table(
        "benchmarks_sector_weights", records=[tuple(row) for row in saved]
    )


async def ten_thousand_rows_in_a_transaction(
    world: World, connection: asyncpg.Connection
) -> None:
    async with connection.transaction():
        await connection.execute(TEN_THOUSAND)
    await world.assert_equal_to_the_oracle()


async def one_price_a_thousand_times(
    world: World, connection: asyncpg.Connection
) -> None:
    update = (
        "UPDATE market_data_cache SET close = $1::text::numeric "
        f"WHERE symbol = '{SYMBOL}' AND date = '{LIVE[-2]}'"
    )
    for i in range(1000):
        await connection.execute(update, f"{100 + i * 0.01:.2f}")
    await world.caught_up()
    rows = await world.fetch(
        "SELECT DISTINCT price FROM analytics.position_values "
        f"WHERE symbol = '{SYMBOL}' AND session = '{LIVE[-2]}' AND quantity <> 0"
    )
    assert {str(row["price"]) for row in rows} == {"109.990000"}


async def test_all_of_it_at_once(open_world: OpenWorld) -> None:
    """Nothing waits for anything: the pause is at the end only."""
    world = await open_world(workers=3, families=ALL_FAMILIES)
    connection = await connect(world.dsn, "test")
    try:
        await load(connection, UNIVERSE.tables)
        for statements in SEQUENCE.values():
            async with connection.transaction():
                for statement in statements:
                    await connection.execute(statement)
    finally:
        await connection.close()
    await world.assert_equal_to_the_oracle()
