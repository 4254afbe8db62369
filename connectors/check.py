"""Compare what PostgreSQL holds as results with what its rows say.

Source tables and schema ``analytics`` are read in one REPEATABLE READ
transaction, so both are of one moment; the oracle derives every record from the
rows, and every cell is compared. While changes are on their way the two differ:
``check_until`` tries again.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import date
from functools import partial
from typing import Any, TypeAlias

import asyncpg  # type: ignore[import-untyped]

from analytics.batch import Oracle, Tables
from analytics.batch.compare import Comparison
from analytics.calendar import Calendar
from analytics.factors import Factors
from connectors.ids import Wanted
from connectors.postgres import Connection, connect
from connectors.source_tables import SOURCE, column, select_source

Progress: TypeAlias = Callable[[str, int, int], None]
Records: TypeAlias = dict[tuple[Any, str], dict[str, Any]]
Chosen: TypeAlias = Collection[int] | Wanted | Callable[[set[int]], set[int]]
"""Ids, some of them in ranges; or what chooses among those that there are."""

CHUNK = 20
RETRY_SECONDS = 0.5
FAMILIES = ("snapshots", "positions")


async def check_until(
    dsn: str,
    schema: str,
    calendar: Calendar,
    *,
    today: Callable[[], int],
    portfolios: Chosen | None = None,
    wait: float = 0.0,
    progress: Progress | None = None,
    factors: Factors | None = None,
    families: Collection[str] = FAMILIES,
) -> Comparison:
    """Compare until nothing differs or ``wait`` seconds have passed.

    Parameters
    ----------
    portfolios
        Which; with all (None) the symbols' records are compared too.
    today
        Tells the exchange's date (``exchange_today``): prices after it are held back
        by intake.
    families
        Those that are published (``settings.worker.families``).

    Raises
    ------
    OSError, TimeoutError, asyncpg.PostgresError
        When the server cannot be reached, or refuses (a table is missing).
    ValueError
        When one of ``portfolios`` has neither rows nor results (in a range: all).
    """
    make = partial(Check, calendar, today, portfolios, progress, factors, families)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    connection = await connect(dsn, "check")
    try:
        # While changes are on their way the first difference is enough.
        while loop.time() < deadline:
            checked = make(hasty=True)
            result = await checked.run(connection, schema)
            if result.differ == 0:
                return result
            await asyncio.sleep(RETRY_SECONDS)
        checked = make(hasty=False)
        return await checked.run(connection, schema)
    finally:
        await connection.close()


class Check:
    """One comparison. A hasty one ends with the chunk that has a difference."""

    def __init__(
        self,
        calendar: Calendar,
        today: Callable[[], int],
        portfolios: Chosen | None = None,
        progress: Progress | None = None,
        factors: Factors | None = None,
        families: Collection[str] = FAMILIES,
        *,
        hasty: bool = False,
    ) -> None:
        self._calendar = calendar
        self._portfolios = portfolios
        self._say = progress or (lambda stage, done, total: None)
        self._today = today
        self._factors = factors
        self._families = families
        self._hasty = hasty
        self.result = Comparison()

    async def run(self, connection: Connection, schema: str) -> Comparison:
        """Read everything in one transaction, and compare."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            tables = await self._read_source(connection, schema)
            oracle = Oracle(tables, self._calendar, self._factors)
            if await self._portfolio_records(connection, oracle, tables):
                return self.result
            if "symbols" in self._families and self._portfolios is None:
                await self._symbol_records(connection, oracle)
        return self.result

    async def _portfolio_records(
        self, connection: Connection, oracle: Oracle, tables: Tables
    ) -> bool:
        """Compare some portfolios at a time; whether that was enough."""
        ids = await _ids(connection, tables, self._portfolios)
        families = [family for family in READERS if family in self._families]
        risk = "risk" in families
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            found = {
                family: await READERS[family](connection, some) for family in families
            }
            expected: dict[str, Records] = {family: {} for family in families}
            for done, owner in enumerate(some, start + 1):
                for session, made in oracle.families(owner, risk=risk):
                    for family in families:
                        record = made[family]
                        where = (owner, self._calendar.iso(session))
                        expected[family][where] = record
                self._say("portfolios", done, len(ids))
                await asyncio.sleep(0)
            for family in families:
                _compare(self.result, family, expected[family], found[family])
            if self._hasty and self.result.differ:
                return True
        return False

    async def _symbol_records(self, connection: Connection, oracle: Oracle) -> None:
        """Compare the symbols' statistics, one symbol at a time."""
        rows = await connection.fetch(
            "SELECT DISTINCT symbol FROM analytics.symbol_statistics"
        )
        symbols = sorted({row["symbol"] for row in rows} | set(oracle.symbols()))
        for done, symbol in enumerate(symbols):
            found = await _statistics(connection, symbol)
            made = oracle.symbol(symbol) if symbol in oracle.market.sessions else ()
            expected = {
                (symbol, self._calendar.iso(session)): record
                for session, record in made
            }
            _compare(self.result, "symbols", expected, found)
            self._say("symbols", done + 1, len(symbols))
            await asyncio.sleep(0)
            if self._hasty and self.result.differ:
                return

    async def _read_source(self, connection: Connection, schema: str) -> Tables:
        """Rows of every source table; of prices, what intake has not held back."""
        tables: dict[str, list[asyncpg.Record]] = {}
        for number, (table, columns) in enumerate(SOURCE.items()):
            shown = ", ".join(column(name) for name in columns)
            where, bounds = "", []
            if table == "market_data_cache":
                where, bounds = "WHERE date <= $1", [self._newest_day()]
            query = select_source(schema, table, shown, where)
            tables[table] = await connection.fetch(query, *bounds)
            self._say("tables", number + 1, len(SOURCE))
        return tables

    def _newest_day(self) -> date:
        return date.fromordinal(self._today())


def _compare(
    result: Comparison, family: str, expected: Records, found: Records
) -> None:
    for owner, session in sorted(expected.keys() | found.keys()):
        where = (owner, session)
        result.record(family, *where, expected.get(where), found.get(where))


async def _ids(
    connection: Connection, tables: Tables, portfolios: Chosen | None
) -> list[int]:
    """Portfolios that have rows or results: all, or those that are wanted."""
    rows = await connection.fetch(
        "SELECT portfolio_id FROM analytics.portfolio_snapshots UNION "
        "SELECT portfolio_id FROM analytics.position_arrays"
    )
    known = {row["id"] for row in tables["portfolios"]}
    known |= {row["portfolio_id"] for row in rows}
    if portfolios is None:
        return sorted(known)
    if callable(portfolios):
        return sorted(portfolios(known))
    if not isinstance(portfolios, Wanted):
        portfolios = Wanted(tuple(portfolios))
    if unknown := portfolios.unknown(known):
        message = f"there are no rows and no results of portfolio {unknown}"
        raise ValueError(message)
    return sorted(portfolios.among(known))


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


async def _risk(connection: Connection, ids: list[int]) -> Records:
    rows = await connection.fetch(
        "SELECT portfolio_id AS owner, session, content FROM analytics.portfolio_risk "
        "WHERE portfolio_id = ANY($1)",
        ids,
    )
    return _contents(rows)


async def _statistics(connection: Connection, symbol: str) -> Records:
    rows = await connection.fetch(
        "SELECT symbol AS owner, session, content FROM analytics.symbol_statistics "
        "WHERE symbol = $1",
        symbol,
    )
    return _contents(rows)


def _contents(rows: list[asyncpg.Record]) -> Records:
    return {
        (row["owner"], row["session"].isoformat()): json.loads(row["content"])
        for row in rows
    }


READERS: Mapping[str, Callable[[Connection, list[int]], Awaitable[Records]]] = {
    "snapshots": _snapshots,
    "positions": _positions,
    "risk": _risk,
}


def _cell(name: str, value: Any) -> Any:
    if name == "price_date":
        return None if value is None else value.isoformat()
    return json.loads(value) if name == "flags" else value
