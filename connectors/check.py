"""Compare what PostgreSQL holds as results with what its rows say.

Source tables and schema ``analytics`` are read in one REPEATABLE READ
transaction, so both are of one moment; the oracle derives every record from the
rows, and every cell is compared. While changes are on their way the two differ:
``check_until`` tries again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, TypeAlias

import asyncpg  # type: ignore[import-untyped]

from analytics.batch import Tables, derive
from analytics.batch.compare import Comparison
from analytics.calendar import Calendar
from connectors.postgres import Connection, connect, quote

Progress: TypeAlias = Callable[[str, int, int], None]
Records: TypeAlias = dict[tuple[int, str], dict[str, Any]]

CHUNK = 20
RETRY_SECONDS = 0.5

# Columns of the source tables that the oracle reads. Dates that Python has no
# value for are read as infinite (which no calendar holds); of deleted_at it only
# matters whether it is set.
SOURCE: Mapping[str, Sequence[str]] = {
    "portfolios": ("id", "inception_date", "equity_balance", "deleted_at"),
    "positions": (
        "id",
        "portfolio_id",
        "symbol",
        "position_type",
        "investment_class",
        "quantity",
        "entry_price",
        "entry_date",
        "exit_price",
        "exit_date",
        "underlying_symbol",
        "strike_price",
        "expiration_date",
        "last_price",
        "deleted_at",
    ),
    "equity_changes": (
        "id",
        "portfolio_id",
        "change_type",
        "amount",
        "change_date",
        "deleted_at",
    ),
    "position_realized_events": (
        "id",
        "portfolio_id",
        "position_id",
        "trade_date",
        "quantity_closed",
        "exit_price",
        "realized_pnl",
        "deleted_at",
    ),
    "market_data_cache": (
        "symbol",
        "date",
        "open",
        "high",
        "low",
        "close",
        "adj_close",
    ),
    "company_profiles": ("symbol", "sector", "is_etf"),
    "benchmarks_sector_weights": (
        "id",
        "benchmark_code",
        "sector",
        "weight",
        "effective_date",
    ),
}
DATES = frozenset(
    {
        "inception_date",
        "entry_date",
        "exit_date",
        "expiration_date",
        "change_date",
        "trade_date",
        "date",
        "effective_date",
    }
)


async def check_until(
    dsn: str,
    schema: str,
    calendar: Calendar,
    *,
    portfolios: Collection[int] | None = None,
    wait: float = 0.0,
    progress: Progress | None = None,
) -> Comparison:
    """Compare until nothing differs or ``wait`` seconds have passed.

    Raises
    ------
    OSError, TimeoutError, asyncpg.PostgresError
        When the server cannot be reached, or refuses (a table is missing).
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    connection = await connect(dsn, "check")
    try:
        while True:
            result = await check(connection, schema, calendar, portfolios, progress)
            if result.differ == 0 or loop.time() >= deadline:
                return result
            await asyncio.sleep(RETRY_SECONDS)
    finally:
        await connection.close()


async def check(
    connection: Connection,
    schema: str,
    calendar: Calendar,
    portfolios: Collection[int] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare every record of these portfolios (all when None), once."""
    said = progress or (lambda stage, done, total: None)
    result = Comparison()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        tables = await _read_source(connection, schema, calendar, said)
        wanted = await _ids(connection, tables, portfolios)
        oracle = derive(tables, calendar, set(wanted))
        pending = next(oracle, None)
        done = 0
        async for ids, found in _found(connection, wanted):
            expected: dict[str, Records] = {"snapshots": {}, "positions": {}}
            while pending is not None and pending[0] <= ids[-1]:
                owner, session, snapshot, positions = pending
                where = (owner, calendar.iso(session))
                expected["snapshots"][where] = snapshot
                expected["positions"][where] = positions
                pending = next(oracle, None)
            for family, mine in expected.items():
                _compare(result, family, mine, found[family])
            done += len(ids)
            said("portfolios", done, len(wanted))
            await asyncio.sleep(0)
    return result


def _compare(
    result: Comparison, family: str, expected: Records, found: Records
) -> None:
    for owner, session in sorted(expected.keys() | found.keys()):
        where = (owner, session)
        result.record(family, *where, expected.get(where), found.get(where))


async def _read_source(
    connection: Connection, schema: str, calendar: Calendar, said: Progress
) -> Tables:
    """Rows of every source table; of prices, what intake has not held back."""
    tables: dict[str, list[asyncpg.Record]] = {}
    for number, (table, columns) in enumerate(SOURCE.items()):
        shown = ", ".join(_column(name) for name in columns)
        query = f"SELECT {shown} FROM {quote(schema)}.{quote(table)}"  # noqa: S608
        if table == "market_data_cache":
            last = newest_day(calendar, datetime.now(UTC))
            tables[table] = await connection.fetch(f"{query} WHERE date <= $1", last)
        else:
            tables[table] = await connection.fetch(query)
        said("tables", number + 1, len(SOURCE))
    return tables


def _column(name: str) -> str:
    if name in DATES:
        return (
            f"CASE WHEN {name} < '0001-01-01' THEN '-infinity' "
            f"WHEN {name} > '9999-12-31' THEN 'infinity' ELSE {name} END AS {name}"
        )
    if name == "deleted_at":
        return "CASE WHEN deleted_at IS NOT NULL THEN 'epoch'::timestamptz END AS " + (
            name
        )
    return name


def newest_day(calendar: Calendar, now: datetime) -> date:
    """Date of the exchange's current session: prices after it are held back."""
    return now.astimezone(UTC).date() + timedelta(0)


async def _ids(
    connection: Connection, tables: Tables, portfolios: Collection[int] | None
) -> list[int]:
    """Portfolios that have rows or results."""
    if portfolios is not None:
        return sorted(set(portfolios))
    rows = await connection.fetch(
        "SELECT portfolio_id FROM analytics.portfolio_snapshots UNION "
        "SELECT portfolio_id FROM analytics.position_arrays"
    )
    known = {row["id"] for row in tables["portfolios"]}
    return sorted(known | {row["portfolio_id"] for row in rows})


async def _found(
    connection: Connection, wanted: Sequence[int]
) -> AsyncIterator[tuple[list[int], dict[str, Records]]]:
    """Read published records, some portfolios at a time, ordered by their ids."""
    remaining = iter(wanted)
    while ids := list(islice(remaining, CHUNK)):
        yield (
            ids,
            {
                "snapshots": await _snapshots(connection, ids),
                "positions": await _positions(connection, ids),
            },
        )


async def _snapshots(connection: Connection, ids: list[int]) -> Records:
    rows = await connection.fetch(
        "SELECT * FROM analytics.portfolio_snapshots WHERE portfolio_id = ANY($1)", ids
    )
    found: Records = {}
    for row in rows:
        record = dict(row)
        record["reasons"] = json.loads(row["reasons"])
        record["quality"] = json.loads(row["quality"])
        found[row["portfolio_id"], row["session"].isoformat()] = record
    return found


LOT_COLUMNS = (
    "lot, symbol, position_type, investment_class, quantity, entry_price, price, "
    "price_date, price_status, market_value, pnl, traded, realized_pnl, flags"
)


async def _positions(connection: Connection, ids: list[int]) -> Records:
    """Read records of the arrays' table, their lots from the view that users read."""
    names = LOT_COLUMNS.split(", ")
    records = await connection.fetch(
        "SELECT portfolio_id, session, reasons FROM analytics.position_arrays "
        "WHERE portfolio_id = ANY($1)",
        ids,
    )
    found: Records = {
        (row["portfolio_id"], row["session"].isoformat()): {
            "reasons": json.loads(row["reasons"]),
            **{name: [] for name in names},
        }
        for row in records
    }
    rows = await connection.fetch(
        f"SELECT portfolio_id, session, {LOT_COLUMNS} "  # noqa: S608
        "FROM analytics.position_values WHERE portfolio_id = ANY($1) "
        "ORDER BY portfolio_id, session, lot",
        ids,
    )
    for row in rows:
        record = found[row["portfolio_id"], row["session"].isoformat()]
        for name in names:
            record[name].append(_cell(name, row[name]))
    return found


def _cell(name: str, value: Any) -> Any:
    if name == "price_date":
        return None if value is None else value.isoformat()
    return json.loads(value) if name == "flags" else value
