"""``check`` sees every cell.

The oracle's own records are written as a sink would; then one thing is spoilt.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import asyncpg
import pytest
import typer
from typer.testing import CliRunner

from analytics.batch import Oracle
from analytics.batch.compare import COUNTS, MONEY, QUALITY, SNAPSHOT
from analytics.batch.nested import cells
from analytics.results import ALL_FAMILIES
from connectors.check import Check, check_until
from connectors.exchange import exchange_today
from connectors.ids import Wanted
from connectors.postgres import apply_schema
from connectors.settings import PostgresSettings
from connectors.source_tables import SOURCE
from deltafolio.check_cmds import register
from tests.analytics.tiny_world import (
    CALENDAR,
    DAYS,
    event,
    flow,
    lot,
    portfolio,
    price,
)

D = DAYS
ROWS: dict[str, list[dict[str, Any]]] = {
    "portfolios": [portfolio(1), portfolio(2, 0, inception_date=D[0]), portfolio(3)],
    "positions": [
        lot(1, 1, "A", 10, 50, D[0]),
        lot(2, 1, "B", -3, Decimal("7.333333"), D[1], position_type="SHORT"),
        lot(3, 1, "P", 1, 90, D[0], investment_class="PRIVATE"),
        lot(4, 2, "A", 1, 50, date(1899, 1, 1)),
        lot(5, 2, "A", 999_999_999_999, 0, D[2]),
    ],
    "equity_changes": [flow(1, 1, "WITHDRAWAL", 5, D[3])],
    "position_realized_events": [
        event(1, 1, 1, D[2], 2, 60),
        event(2, 2, 9, D[2], 1, 1),
    ],
    "market_data_cache": [
        *(price("A", day, 50 + n, 1.5 + n) for n, day in enumerate(D[:5])),
        price("A", D[5], 9_000_000),
        price("B", D[0], 7),
    ],
}
OUT_OF_PYTHON = (
    "insert into portfolios(id, name, equity_balance, inception_date) values "
    "(8, 'far', 1, '20000-01-01'), (9, 'old', 1, '0044-03-15 BC');"
    "insert into portfolios(id, name, equity_balance, deleted_at) values "
    "(10, 'gone', 1, '-infinity'), (11, 'gone', 1, '20000-01-01')"
)


async def insert(
    connection: asyncpg.Connection, table: str, row: dict[str, Any]
) -> None:
    places = ", ".join(f"${n + 1}" for n in range(len(row)))
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"
    await connection.execute(statement, *row.values())


def money(value: int | None, places: int = 4) -> Decimal | None:
    return None if value is None else Decimal(value).scaleb(-places)


async def sink(connection: asyncpg.Connection) -> None:
    """Write what the oracle says as the sink would."""
    revision = {"rev_p": 1, "rev_m": 1, "rev_v": 1}
    for owner, session, made in everything():
        day = date.fromordinal(CALENDAR.days[session])
        head = {"portfolio_id": owner, "session": day, **revision}
        risk = {**head, "content": as_json(made["risk"])}
        await insert(connection, "analytics.portfolio_risk", risk)
        snapshot, positions = made["snapshots"], made["positions"]
        written = {
            name: money(value)
            if name not in COUNTS and isinstance(value, int)
            else json.dumps(value)
            if isinstance(value, dict)
            else value
            for name, value in snapshot.items()
        }
        await insert(connection, "analytics.portfolio_snapshots", {**head, **written})
        arrays = {name: list(values) for name, values in positions.items()}
        for name in ("quantity", "market_value", "pnl", "traded", "realized_pnl"):
            arrays[name] = [money(value) for value in arrays[name]]
        for name in ("entry_price", "price"):
            arrays[name] = [money(value, 6) for value in arrays[name]]
        arrays["price_date"] = [
            None if day is None else date.fromisoformat(day)
            for day in arrays["price_date"]
        ]
        arrays["flags"] = json.dumps(positions["flags"])
        arrays["reasons"] = json.dumps(positions["reasons"])
        await insert(connection, "analytics.position_arrays", {**head, **arrays})
    for symbol, session, content in statistics():
        day = date.fromordinal(CALENDAR.days[session])
        row = {"symbol": symbol, "session": day, "content": as_json(content)}
        await insert(connection, "analytics.symbol_statistics", {**row, **revision})


@cache
def everything() -> list[tuple[int, int, dict[str, Any]]]:
    oracle = Oracle(ROWS, CALENDAR)
    return [
        (owner, session, made)
        for owner in oracle.portfolios
        for session, made in oracle.families(owner)
    ]


@cache
def statistics() -> list[tuple[str, int, dict[str, Any]]]:
    oracle = Oracle(ROWS, CALENDAR)
    return [
        (symbol, session, content)
        for symbol in oracle.symbols()
        for session, content in oracle.symbol(symbol)
    ]


def as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, default=lambda unsure: unsure.value)


def nested_cells() -> int:
    """Cells of risk and symbols that are compared."""
    contents = [made["risk"] for _, _, made in everything()]
    contents += [content for _, _, content in statistics()]
    return sum(len(list(cells(c, json.loads(as_json(c))))) for c in contents)


@pytest.fixture
async def database(postgres: PostgresSettings) -> AsyncIterator[asyncpg.Connection]:
    await apply_schema(postgres)
    connection = await asyncpg.connect(postgres.dsn.get_secret_value())
    for table, rows in ROWS.items():
        for row in rows:
            await insert(connection, table, row)
    await connection.execute(OUT_OF_PYTHON)
    await sink(connection)
    yield connection
    await connection.close()


TODAY = exchange_today("XNYS")


async def check(
    connection: asyncpg.Connection,
    schema: str,
    calendar: Any,
    portfolios: set[int] | None = None,
) -> Any:
    """Compare every record once, risk and symbols too, whatever is published."""
    made = Check(calendar, TODAY, portfolios, families=ALL_FAMILIES)
    return await made.run(connection, schema)


async def until_equal(dsn: str, **how: Any) -> Any:
    return await check_until(dsn, "public", CALENDAR, **{"today": TODAY, **how})


def differences(found: Any) -> tuple[int, str]:
    return found.differ, "" if found.first is None else found.first.column


async def test_nothing_differs(database):
    found = await check(database, "public", CALENDAR)
    assert differences(found) == (0, "")
    lots = await database.fetchval("select count(*) from analytics.position_values")
    records = await database.fetchval("select count(*) from analytics.position_arrays")
    money_cells = records * (len(SNAPSHOT) + 10) + records * 2 + lots * 14
    assert found.cells == money_cells + nested_cells()


def put(path: str, value: Any) -> str:
    """Set a field of a content."""
    json_value = f"'{json.dumps(value)}'"
    return f"content = jsonb_set(content::jsonb, '{path}', {json_value})::json"


SNAPSHOTS, ARRAYS = "portfolio_snapshots", "position_arrays"
RISK, STATISTICS = "portfolio_risk", "symbol_statistics"
RATIOS = ("daily_return", "hhi", "effective_names", "top3", "top10")
LOT_NUMBERS = ("quantity", "entry_price", "price", "market_value", "pnl", "traded")
LOT_WORDS = ("symbol", "position_type", "investment_class", "price_status")
# Table, what is set (or deleted), and the column that must be named.
SPOILT = [
    *((SNAPSHOTS, f"{name} = {name} + 0.0001", name) for name in MONEY),
    *((SNAPSHOTS, f"{name} = {name} + 1", name) for name in COUNTS),
    *((SNAPSHOTS, f"{name} = {name} * 1.0000001", name) for name in RATIOS),
    (SNAPSHOTS, "daily_return = null", "daily_return"),
    (SNAPSHOTS, "nav = 'NaN'", "nav"),
    (SNAPSHOTS, "reasons = '{\"a\": 1}'", "reasons"),
    *(
        (SNAPSHOTS, f"quality = quality || '{{\"{name}\": [77]}}'", f"quality.{name}")
        for name in QUALITY
    ),
    (SNAPSHOTS, "session = '2024-12-22' where session = '2024-12-24'", "record"),
    (SNAPSHOTS, "portfolio_id = 777 where portfolio_id = 2", "record"),
    *(
        (ARRAYS, f"{name}[1] = {name}[1] + 0.0001", f"{name} of lot 1")
        for name in (*LOT_NUMBERS, "realized_pnl")
    ),
    *((ARRAYS, f"{name}[1] = 'X'", f"{name} of lot 1") for name in LOT_WORDS),
    (ARRAYS, "price_date[1] = '2024-12-22'", "price_date of lot 1"),
    (ARRAYS, "lot[1] = 99", "lot"),
    (ARRAYS, "flags = jsonb_set(flags, '{0}', '[1]')", "flags of lot 1"),
    (ARRAYS, "portfolio_id = 777 where portfolio_id = 2", "record"),
    (RISK, put("{betas,market,coverage}", 0.5), "betas.market.coverage"),
    (RISK, put("{styles,Value,reason}", "x"), "styles.Value.reason"),
    (RISK, put("{sectors,0,net,0}", 7.5), "sectors.0.net.0"),
    (RISK, put("{correlation,excluded}", 77), "correlation.excluded"),
    (RISK, "portfolio_id = 777 where portfolio_id = 2", "record"),
    (STATISTICS, put("{market,n}", 77), "market.n"),
    (STATISTICS, put("{har,unheard}", 1), "har.unheard"),
    (STATISTICS, "session = '2024-12-22' where session = '2024-12-24'", "record"),
]


@pytest.mark.parametrize(("table", "spoil", "column"), SPOILT)
async def test_a_spoilt_cell_is_named(database, table, spoil, column):
    await database.execute(f"UPDATE analytics.{table} SET {spoil}")
    differ, first = differences(await check(database, "public", CALENDAR))
    assert differ > 0
    assert first == column


@pytest.mark.parametrize("table", [SNAPSHOTS, ARRAYS, RISK, STATISTICS])
async def test_a_lost_record_is_named(database, table):
    await database.execute(f"DELETE FROM analytics.{table}")
    differ, first = differences(await check(database, "public", CALENDAR))
    assert differ > 0
    assert first == "record"


async def test_a_changed_row_differs(database):
    await database.execute("update positions set quantity = 11 where id = 1")
    differ, first = differences(await check(database, "public", CALENDAR))
    assert (differ > 0, first) == (True, "cash")


async def test_only_some_portfolios(database):
    await database.execute("update positions set quantity = 11 where id = 1")
    assert differences(await check(database, "public", CALENDAR, {2, 3}))[0] == 0
    assert differences(await check(database, "public", CALENDAR, {1}))[0] > 0
    with pytest.raises(ValueError, match="no rows and no results of portfolio 98, 99"):
        await check(database, "public", CALENDAR, {2, 99, 98})


async def test_a_range_of_portfolios_skips_those_that_are_not_there(database):
    ranged = await check(database, "public", CALENDAR, Wanted(ranges=((2, 90),)))
    listed = await check(database, "public", CALENDAR, {2, 3})
    assert ranged.cells == listed.cells > 0
    with pytest.raises(ValueError, match="results of portfolio 99, 40-50"):
        await check(database, "public", CALENDAR, Wanted((2, 99), ((40, 50), (1, 9))))


async def test_what_chooses_among_portfolios_names_none_that_are_not_there(database):
    chosen = await check(database, "public", CALENDAR, {2, 99}.intersection)
    assert chosen.cells == (await check(database, "public", CALENDAR, {2})).cells > 0


async def test_prices_need_a_close_and_nothing_else(database, postgres):
    """As ``doctor`` says; where there are others, they make a row valid or not."""
    dsn = postgres.dsn.get_secret_value()
    bad = "update market_data_cache set high = -1 where symbol = 'A'"
    await database.execute(bad)
    assert (await until_equal(dsn)).differ > 0
    drop = "alter table market_data_cache drop open, drop high, drop low"
    await database.execute(drop)
    assert differences(await until_equal(dsn)) == (
        0,
        "",
    )


async def test_waits_until_equal(database, postgres):
    dsn = postgres.dsn.get_secret_value()
    await database.execute("update positions set quantity = 11 where id = 1")
    stages = []

    def repair(stage: str, done: int, total: int) -> None:
        stages.append((stage, done, total))

    first = await check_until(
        dsn, "public", CALENDAR, today=TODAY, wait=0.1, progress=repair
    )
    assert first.differ > 0
    assert ("tables", len(SOURCE), len(SOURCE)) in stages
    task_row = "update positions set quantity = 10 where id = 1"
    waiting = until_equal(dsn, wait=30)
    await database.execute(task_row)
    assert (await waiting).differ == 0


async def test_a_missing_table_is_an_error(database, postgres):
    await database.execute("drop table company_profiles cascade")
    with pytest.raises(asyncpg.UndefinedTableError):
        await check_until(
            postgres.dsn.get_secret_value(), "public", CALENDAR, today=TODAY
        )


async def run(*arguments: str) -> Any:
    """Run the command; it has an event loop of its own."""
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return await asyncio.to_thread(CliRunner().invoke, app, ["check", *arguments])


@pytest.fixture
def no_state(tmp_path, monkeypatch):
    monkeypatch.setenv("DELTAFOLIO_HOME", str(tmp_path))


@pytest.mark.usefixtures("no_state")
async def test_the_command_says_what_it_found(database, postgres):
    where = ["--dsn", postgres.dsn.get_secret_value()]
    # The tiny world's days are those of the real exchange.
    equal = await run(*where)
    assert equal.exit_code == 0, equal.output
    assert re.search(r"^\d+ cells compared, 0 differ$", equal.output, re.MULTILINE)
    await database.execute(
        "UPDATE analytics.portfolio_snapshots SET nav = 12.5 "
        "WHERE portfolio_id = 1 AND session = '2024-12-24'"
    )
    different = await run(*where)
    assert different.exit_code == 1
    assert "cells compared, 1 differ\n" in different.output
    assert "portfolio 1, session 2024-12-24, nav: expected " in different.output
    assert "found 12.5000" in different.output
    assert (await run(*where, "--portfolios", "2-3")).exit_code == 0


@pytest.mark.usefixtures("no_state")
async def test_the_command_fails_in_words(postgres):
    nowhere = await run("--dsn", "postgresql://postgres@127.0.0.1:1/none")
    assert nowhere.exit_code == 2
    assert "check failed: " in nowhere.output
    empty = await run("--dsn", postgres.dsn.get_secret_value())
    assert empty.exit_code == 2
    assert 'relation "public.portfolios" does not exist' in empty.output
    assert (await run("--portfolios", "1,x")).exit_code == 2


async def test_a_price_of_tomorrow_is_not_read(database, postgres):
    await insert(database, "market_data_cache", price("A", D[6], 1))
    dsn, today = postgres.dsn.get_secret_value(), D[5].toordinal()
    before = await until_equal(dsn, today=lambda: today)
    after = await until_equal(dsn, today=lambda: today + 2)
    assert (before.differ, after.differ > 0) == (0, True)
