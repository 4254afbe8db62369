"""A world so small that everything collides in it.

Three symbols, three portfolios, ten sessions around Christmas and New Year,
whole numbers mostly, and every kind of row: options that expire, private
holdings, events, flows, rows that the door refuses, rows whose parent is not
there. A history is a list of transactions, a transaction a list of statements
on plain rows as PostgreSQL would give them; ``World`` applies them and says
which changes a capture would have seen.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from analytics.calendar import Calendar
from analytics.rows import PORTFOLIO_TABLES, Change, Version

Raw = dict[str, Any]
Key = tuple[Any, ...]

# Two weekends, Christmas, New Year; the bounds reach a day further on each side
# where no session is, so that there are dates that cannot be rolled.
DAYS = [date(2024, 12, d) for d in (23, 24, 26, 27, 30, 31)] + [
    date(2025, 1, d) for d in (2, 3, 6, 7)
]
FIRST, LAST = date(2024, 12, 21), date(2025, 1, 8)
CALENDAR = Calendar(
    [day.toordinal() for day in DAYS],
    [
        int(datetime(day.year, day.month, day.day, 21, tzinfo=UTC).timestamp() * 1e6)
        for day in DAYS
    ],
    FIRST.toordinal(),
    LAST.toordinal(),
)
SYMBOLS = ("A", "B", "C")
KEYS = {
    "portfolios": ("id",),
    "positions": ("id",),
    "equity_changes": ("id",),
    "position_realized_events": ("id",),
    "market_data_cache": ("symbol", "date"),
    "company_profiles": ("symbol",),
    "benchmarks_sector_weights": ("id",),
}


def portfolio(ident: int, equity: Any = 1000, **more: Any) -> Raw:
    """A row of ``portfolios``."""
    row = {
        "id": ident,
        "name": f"p{ident}",
        "currency": "USD",
        "inception_date": None,
        "equity_balance": dec(equity),
        "deleted_at": None,
    }
    return {**row, **more}


def lot(
    ident: int,
    owner: int,
    symbol: str,
    quantity: Any,
    entry_price: Any,
    entry_date: date,
    **more: Any,
) -> Raw:
    """A row of ``positions``; LONG and PUBLIC unless told otherwise."""
    row = {
        "id": ident,
        "portfolio_id": owner,
        "symbol": symbol,
        "position_type": "LONG",
        "investment_class": "PUBLIC",
        "quantity": dec(quantity),
        "entry_price": dec(entry_price),
        "entry_date": entry_date,
        "exit_price": None,
        "exit_date": None,
        "underlying_symbol": None,
        "strike_price": None,
        "expiration_date": None,
        "last_price": None,
        "deleted_at": None,
    }
    changed = {
        name: dec(value) if name.endswith("_price") else value
        for name, value in more.items()
    }
    return {**row, **changed}


def price(symbol: str, day: date, close: Any, adj_close: float | None = None) -> Raw:
    """A row of ``market_data_cache``."""
    return {
        "symbol": symbol,
        "date": day,
        "open": dec(close),
        "high": None,
        "low": None,
        "close": dec(close),
        "adj_close": adj_close,
        "volume": 100,
    }


def flow(ident: int, owner: int, kind: str, amount: Any, day: date) -> Raw:
    """A row of ``equity_changes``."""
    return {
        "id": ident,
        "portfolio_id": owner,
        "change_type": kind,
        "amount": dec(amount),
        "change_date": day,
        "deleted_at": None,
    }


def event(
    ident: int,
    owner: int,
    of: int,
    day: date,
    closed: Any,
    exit_price: Any = None,
    realized: Any = None,
) -> Raw:
    """A row of ``position_realized_events``."""
    return {
        "id": ident,
        "portfolio_id": owner,
        "position_id": of,
        "trade_date": day,
        "quantity_closed": dec(closed),
        "exit_price": dec(exit_price),
        "realized_pnl": dec(realized),
        "deleted_at": None,
    }


def profile(symbol: str, sector: str | None, *, is_etf: bool = False) -> Raw:
    """A row of ``company_profiles``."""
    return {
        "symbol": symbol,
        "company_name": symbol,
        "sector": sector,
        "industry": None,
        "is_etf": is_etf,
    }


def dec(value: Any) -> Any:
    """Decimal of a number written in a test; anything else as it is."""
    return Decimal(str(value)) if isinstance(value, int | float) else value


# --- histories -----------------------------------------------------------------


@dataclass(frozen=True)
class Upsert:
    """INSERT … ON CONFLICT DO UPDATE: the row is as given afterwards."""

    table: str
    row: Raw


@dataclass(frozen=True)
class Delete:
    """DELETE by primary key; of a row that is not there: nothing."""

    table: str
    key: Key


@dataclass(frozen=True)
class Rekey:
    """UPDATE of a primary key; of a row that is not there, or to one that is:
    nothing."""

    table: str
    key: Key
    to: Key


Statement = Upsert | Delete | Rekey
Transaction = list[Statement]


@dataclass
class World:
    """The source tables, and what a capture of them would have seen.

    ``log`` holds the changes of each transaction; the door has already refused
    what it refuses. Commit times rise by an hour a transaction, from before the
    first session's close to after the last one's.
    """

    tables: dict[str, dict[Key, Raw]] = field(
        default_factory=lambda: {table: {} for table in KEYS}
    )
    log: list[list[Change]] = field(default_factory=list)

    def commit(self, transaction: Iterable[Statement]) -> list[Change]:
        """Apply a transaction; the changes of it, in order."""
        changes: list[Change] = []
        number = len(self.log) + 1
        ts = CALENDAR.closes[0] + (number - 5) * 13 * 3600 * 1_000_000
        for statement in transaction:
            for table, before, after in self._apply(statement):
                version = Version(number, number, len(changes))
                changes += _captured(table, before, after, version, ts)
        self.log.append(changes)
        return changes

    def rows(self) -> dict[str, list[Raw]]:
        """The tables as a query would give them."""
        return {table: list(rows.values()) for table, rows in self.tables.items()}

    def _apply(
        self, statement: Statement
    ) -> Iterator[tuple[str, Raw | None, Raw | None]]:
        rows = self.tables[statement.table]
        if isinstance(statement, Upsert):
            key = key_of(statement.table, statement.row)
            before = rows.get(key)
            rows[key] = deepcopy(statement.row)
            yield statement.table, before, rows[key]
        elif isinstance(statement, Delete):
            if statement.key in rows:
                yield statement.table, rows.pop(statement.key), None
        elif statement.key in rows and statement.to not in rows:
            before = rows.pop(statement.key)
            names = zip(KEYS[statement.table], statement.to, strict=True)
            rows[statement.to] = {**before, **dict(names)}
            yield statement.table, before, rows[statement.to]


def key_of(table: str, row: Raw) -> Key:
    """Primary key of a raw row."""
    return tuple(row[name] for name in KEYS[table])


def owner_of(table: str, row: Raw) -> int | None:
    """Portfolio that a raw row belongs to."""
    if table not in PORTFOLIO_TABLES:
        return None
    return row["id"] if table == "portfolios" else row["portfolio_id"]


def _captured(
    table: str, before: Raw | None, after: Raw | None, version: Version, ts: int
) -> Iterator[Change]:
    """Absence of what the row was, if its key or owner changed; then what it is."""

    def identity(row: Raw) -> tuple[Key, int | None]:
        key = tuple(
            part.toordinal() if isinstance(part, date) else part
            for part in key_of(table, row)
        )
        return key, owner_of(table, row)

    if before is not None and (after is None or identity(after) != identity(before)):
        key, owner = identity(before)
        yield Change(table, key, version, ts, owner, None)
    if after is not None:
        key, owner = identity(after)
        row = admitted(table, after)
        yield Change(table, key, version, ts, owner, row)


def admitted(table: str, raw: Raw) -> Any:
    """What the door makes of a raw row: the row, or None when refused."""
    return None


# --- strategies ----------------------------------------------------------------


def mostly(usual: Iterable[Any], *, rarely: Iterable[Any]) -> st.SearchStrategy[Any]:
    """Numbers (as text) or dates: eight of ten draws are usual ones."""
    common, odd = list(usual), list(rarely)
    times = max(1, round(4 * len(odd) / len(common)))
    pool = common * times + odd
    return st.sampled_from([Decimal(v) if isinstance(v, str) else v for v in pool])


def whole(low: int, high: int) -> list[str]:
    """Whole numbers as text."""
    return [str(number) for number in range(low, high + 1)]


BETWEEN = [FIRST + timedelta(n) for n in range((LAST - FIRST).days + 1)]
SESSIONS = st.sampled_from(DAYS)
DATES = mostly(
    [*DAYS, *DAYS, *BETWEEN], rarely=[date(1899, 1, 1), date.max, date.min, FIRST, LAST]
)
IDS = st.integers(1, 3)
LOTS = st.integers(1, 5)
# Mostly whole numbers; halves and 1e-4 quantities so that products end on ties;
# what overflows; and what the door refuses.
PRICES = mostly(
    [*whole(1, 12), "0.5", "1.5", "3.333333", "10.000001"],
    rarely=["0", "-1", "NaN", "0.0000001", "9000000000000", "10000000000000"],
)
QUANTITIES = mostly(
    [*whole(1, 6), "0.0001", "0.0003", "0.0005", "0.25"],
    rarely=["0", "0", "NaN", "0.00001", "999999999999"],
)
AMOUNTS = mostly(
    [*whole(1, 9), "100", "500", "0.0001"],
    rarely=["0", "-5", "NaN", "900000000000000"],
)
EQUITY = mostly(
    ["0", "10", "100", "1000"], rarely=[None, "NaN", "-50", "900000000000000"]
)
DELETED = mostly([None], rarely=[datetime(2025, 1, 1, tzinfo=UTC)])


@st.composite
def portfolios(draw: st.DrawFn) -> Raw:
    """A row of ``portfolios``, mostly valid."""
    return portfolio(
        draw(IDS),
        draw(EQUITY),
        inception_date=draw(st.one_of(st.none(), st.none(), DATES)),
        deleted_at=draw(DELETED),
    )


@st.composite
def lots(draw: st.DrawFn) -> Raw:
    """A row of ``positions``, mostly valid."""
    kind = draw(st.sampled_from(["LONG", "LONG", "SHORT", "LC", "LP", "SC", "SP", "X"]))
    quantity = draw(QUANTITIES)
    if kind in ("SHORT", "SC", "SP") and draw(st.integers(0, 9)):
        quantity = -quantity
    option = kind in ("LC", "LP", "SC", "SP") or not draw(st.integers(0, 9))
    closed = draw(st.integers(0, 3)) == 0
    return lot(
        draw(LOTS),
        draw(IDS),
        draw(st.sampled_from([*SYMBOLS, *SYMBOLS, ""])),
        quantity,
        draw(PRICES),
        draw(DATES),
        position_type=kind,
        investment_class=draw(
            st.sampled_from(["PUBLIC", "PUBLIC", "OPTIONS", "PRIVATE", None])
        ),
        exit_price=draw(PRICES) if closed else None,
        exit_date=draw(DATES) if closed and draw(st.integers(0, 9)) else None,
        underlying_symbol=draw(st.sampled_from([*SYMBOLS, None])) if option else None,
        strike_price=draw(PRICES) if option else None,
        expiration_date=draw(DATES) if option else None,
        last_price=draw(st.one_of(st.none(), PRICES)),
        deleted_at=draw(DELETED),
    )


@st.composite
def closes(draw: st.DrawFn) -> Raw:
    """A row of ``market_data_cache``, mostly valid."""
    day = draw(mostly(DAYS, rarely=BETWEEN[::5]))
    adjusted = st.sampled_from([None, None, 1.0, 2.5, 7.7, 0.0, float("nan")])
    return price(
        draw(st.sampled_from([*SYMBOLS] * 4 + [""])),
        day,
        draw(PRICES),
        draw(adjusted),
    )


@st.composite
def flows(draw: st.DrawFn) -> Raw:
    """A row of ``equity_changes``, mostly valid."""
    kind = draw(st.sampled_from(["CONTRIBUTION", "WITHDRAWAL", "GIFT"]))
    made = flow(draw(IDS), draw(IDS), kind, draw(AMOUNTS), draw(DATES))
    return {**made, "deleted_at": draw(DELETED)}


@st.composite
def events(draw: st.DrawFn) -> Raw:
    """A row of ``position_realized_events``, mostly valid."""
    made = event(
        draw(st.integers(1, 4)),
        draw(IDS),
        draw(LOTS),
        draw(DATES),
        draw(QUANTITIES) * draw(st.sampled_from([1, -1])),
        draw(st.one_of(st.none(), PRICES)),
        draw(st.one_of(st.none(), st.integers(-40, 40).map(Decimal))),
    )
    return {**made, "deleted_at": draw(DELETED)}


@st.composite
def profiles(draw: st.DrawFn) -> Raw:
    """A row of ``company_profiles``."""
    sectors = st.sampled_from([None, "Technology", "Energy"])
    return profile(
        draw(st.sampled_from(SYMBOLS)), draw(sectors), is_etf=draw(st.booleans())
    )


ROWS = {
    "portfolios": portfolios(),
    "positions": lots(),
    "market_data_cache": closes(),
    "equity_changes": flows(),
    "position_realized_events": events(),
    "company_profiles": profiles(),
}
# Which table a statement is about: lots and prices are where the work is.
WEIGHTED = [
    *["portfolios"] * 2,
    *["positions"] * 5,
    *["market_data_cache"] * 5,
    *["equity_changes"] * 2,
    *["position_realized_events"] * 3,
    "company_profiles",
]


@st.composite
def keys(draw: st.DrawFn, table: str) -> Key:
    """A primary key that may exist."""
    if table == "market_data_cache":
        return (draw(st.sampled_from(SYMBOLS)), draw(SESSIONS))
    if table == "company_profiles":
        return (draw(st.sampled_from(SYMBOLS)),)
    return (draw(LOTS),)


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    """One statement."""
    table = draw(st.sampled_from(WEIGHTED))
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return Rekey(table, draw(keys(table)), draw(keys(table)))
    if kind <= 2:
        return Delete(table, draw(keys(table)))
    return Upsert(table, draw(ROWS[table]))


@st.composite
def openings(draw: st.DrawFn) -> Transaction:
    """A first transaction that makes a world in which something happens."""
    made: Transaction = [
        Upsert("portfolios", portfolio(ident, draw(st.sampled_from([10, 1000]))))
        for ident in range(1, draw(st.integers(2, 4)))
    ]
    made += [Upsert("market_data_cache", draw(closes())) for _ in range(12)]
    made += [Upsert("positions", draw(lots())) for _ in range(4)]
    return draw(st.permutations(made))


@st.composite
def histories(draw: st.DrawFn, most: int = 12) -> list[Transaction]:
    """An opening and some transactions of one to four statements."""
    small = st.lists(statements(), min_size=1, max_size=4)
    single = statements().map(lambda statement: [statement])
    later = draw(st.lists(st.one_of(single, single, small), max_size=most))
    return [draw(openings()), *later]
