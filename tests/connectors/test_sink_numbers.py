"""Numbers arrive in PostgreSQL to the digit, whatever stands beside them."""

from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest

from connectors.postgres import connect
from connectors.settings import PostgresSettings
from connectors.sink import POSITIONS, SNAPSHOTS, Family, Written
from connectors.sink_postgres import PostgresSink
from tests.connectors.result_records import (
    Made,
    made,
    positions_content,
    snapshot_content,
)

DAY = "2024-01-02"
LARGE = "10769817585862.6108"


@pytest.fixture
async def reader(results: PostgresSettings) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(results.dsn.get_secret_value(), "test")
    yield connection
    await connection.close()


async def write(results: PostgresSettings, family: Family, *records: Made) -> Written:
    sink = PostgresSink(results.dsn.get_secret_value(), family, f"t.{family.name}")
    try:
        await sink.open()
        return await sink.write(records, {r.partition: r.offset + 1 for r in records})
    finally:
        await sink.close()


def spelled(content: dict[str, object], **texts: str) -> Made:
    """Make a record in which the words of ``texts`` are replaced by exact numbers."""
    record = made(1, DAY, (1, 1, 1), content)
    for word, number in texts.items():
        record.value = record.value.replace(f'"{word}"'.encode(), number.encode())
    return record


@pytest.mark.parametrize("symbol", ['x"y', "x\\y", "x\ny", "plain"])
async def test_a_symbol_leaves_the_money_beside_it_alone(results, reader, symbol):
    numbers = ("entry_price", "price", "market_value", "pnl", "traded", "realized_pnl")
    columns = {name: ["LARGE"] for name in numbers}
    content = positions_content([2**62 + 1], symbol=[symbol], **columns)
    await write(results, POSITIONS, spelled(content, LARGE=LARGE))
    row = await reader.fetchrow("SELECT * FROM analytics.position_values")
    assert (row["symbol"], row["lot"]) == (symbol, 2**62 + 1)
    assert [row[name] for name in numbers] == [Decimal(LARGE)] * len(numbers)


INT64 = 2**63 - 1
PLACES = {"entry_price": 6, "price": 6}
ARRAYS = ("quantity", *PLACES, "market_value", "pnl", "traded", "realized_pnl")
MONEY = (
    *("nav", "cash", "market_value", "long_value", "short_value", "gross_value"),
    *("net_value", "flow", "pnl", "realized_pnl", "cumulative_pnl"),
    *("cumulative_realized_pnl", "cumulative_flow"),
)


@pytest.mark.parametrize("units", [INT64, -INT64 - 1])
async def test_every_number_of_64_bits_is_held(results, reader, units):
    """The engine's money, prices and quantities are integers of 64 bits, scaled."""
    wanted = {name: Decimal(units).scaleb(-PLACES.get(name, 4)) for name in ARRAYS}
    content = positions_content([1], **{name: [name] for name in ARRAYS})
    texts = {name: str(number) for name, number in wanted.items()}
    record = spelled(content)
    for name, text in texts.items():
        record.value = record.value.replace(
            f'["{name}"]'.encode(), f"[{text}]".encode()
        )
    assert await write(results, POSITIONS, record) == Written(stored=1)
    row = await reader.fetchrow("SELECT * FROM analytics.position_values")
    assert {name: row[name] for name in ARRAYS} == wanted

    content = {**snapshot_content(1), **dict.fromkeys(MONEY, "MONEY")}
    money = Decimal(units).scaleb(-4)
    record = spelled(content, MONEY=str(money))
    assert await write(results, SNAPSHOTS, record) == Written(stored=1)
    row = await reader.fetchrow("SELECT * FROM analytics.portfolio_snapshots")
    assert {row[name] for name in MONEY} == {money}
