"""Which held symbols lack the close of the newest session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date

import asyncpg
import pytest

from connectors.calendar import load_calendar
from connectors.postgres import apply_schema, connect
from connectors.prices import Prices, read_prices
from connectors.settings import PostgresSettings

CALENDAR = load_calendar("XNYS", date(2023, 1, 1), date(2024, 12, 31))
FRIDAY, MONDAY = date(2024, 3, 1), date(2024, 3, 4)
LOT = """
INSERT INTO positions (id, portfolio_id, symbol, position_type, investment_class,
    quantity, entry_price, entry_date, exit_date, exit_price, deleted_at)
VALUES ($1, 1, $2, 'LONG', $3, 1, 1, $4, $5, $6, $7)
"""


@pytest.fixture
async def source(postgres: PostgresSettings) -> AsyncIterator[asyncpg.Connection]:
    await apply_schema(postgres)
    connection = await connect(postgres.dsn.get_secret_value(), "test")
    await connection.execute(
        "INSERT INTO portfolios (id, name, equity_balance) VALUES (1, 'a', 1)"
    )
    yield connection
    await connection.close()


async def look(source: asyncpg.Connection, today: date = MONDAY) -> Prices | None:
    return await read_prices(source, "public", CALENDAR, today.toordinal())


async def test_symbols_that_are_held_and_have_no_close_are_named(source):
    entry = date(2024, 1, 2)
    lots = [
        ("HAS", "PUBLIC", entry, None, None, None),
        ("LATE", "PUBLIC", entry, None, None, None),
        ("NEVER", "PUBLIC", entry, None, None, None),
        ("SOLD", "PUBLIC", entry, date(2024, 2, 1), 5, None),
        ("MINE", "PRIVATE", entry, None, None, None),
        ("TOMORROW", "PUBLIC", MONDAY, None, None, None),
    ]
    for number, (symbol, klass, start, end, price, deleted) in enumerate(lots):
        await source.execute(LOT, number, symbol, klass, start, end, price, deleted)
    closes = [("HAS", FRIDAY), ("LATE", date(2024, 2, 28)), ("LATE", MONDAY)]
    for symbol, day in closes:
        await source.execute(
            "INSERT INTO market_data_cache (symbol, date, close) VALUES ($1, $2, 5)",
            symbol,
            day,
        )
    late = {"LATE": date(2024, 2, 28), "NEVER": None}
    assert await look(source) == Prices(FRIDAY, 3, late)
    # The weekend changes nothing: Friday was the last session.
    assert await look(source, date(2024, 3, 2)) == Prices(FRIDAY, 3, late)
    later = await look(source, date(2024, 3, 5))
    assert later is not None
    assert (later.session, later.held) == (MONDAY, 4)
    assert set(later.stale) == {"HAS", "NEVER", "TOMORROW"}


async def test_before_the_calendar_begins_there_is_nothing_to_say(source):
    assert await look(source, date(2023, 1, 2)) is None
