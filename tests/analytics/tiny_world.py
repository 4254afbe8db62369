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
from math import isfinite
from typing import Any

from hypothesis import strategies as st

from analytics.calendar import Calendar
from analytics.rows import PORTFOLIO_TABLES, Change, Row, Version
from analytics.validity import Refusal, validate

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


def weight(ident: int, code: str, sector: str, share: Any, day: date) -> Raw:
    """A row of ``benchmarks_sector_weights``."""
    return {
        "id": ident,
        "benchmark_code": code,
        "sector": sector,
        "weight": dec(share),
        "effective_date": day,
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

    def __repr__(self) -> str:
        """The columns that say something."""
        filled = {name: v for name, v in self.row.items() if v is not None}
        return f"Upsert({self.table!r}, {filled})"


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


def admitted(table: str, raw: Raw) -> Row | None:
    """What the door makes of a raw row: the row, or None when it is absent."""
    verdict = validate(table, {k: as_json(v) for k, v in raw.items()}, CALENDAR)
    return None if isinstance(verdict, Refusal) else verdict


def as_json(value: Any) -> Any:
    """A column as Debezium's JSON has it."""
    if isinstance(value, Decimal):
        return "NAN" if value.is_nan() else f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        return value.toordinal() - date(1970, 1, 1).toordinal()
    if isinstance(value, float) and not isfinite(value):
        return "NaN"
    return value


# --- strategies ----------------------------------------------------------------


def decimals(*texts: str) -> st.SearchStrategy[Decimal]:
    """One of some numbers."""
    return st.sampled_from([Decimal(text) for text in texts])


def chance(one_in: int) -> st.SearchStrategy[bool]:
    """True now and then; shrinks to False."""
    return st.integers(1, one_in).map(lambda number: number == one_in)


def span(low: int, high: int) -> list[str]:
    """Whole numbers as text."""
    return [str(number) for number in range(low, high + 1)]


ROLLABLE = [DAYS[0] - timedelta(1), DAYS[-1]]
BETWEEN = [
    ROLLABLE[0] + timedelta(n) for n in range((ROLLABLE[1] - ROLLABLE[0]).days + 1)
]
SESSIONS = st.sampled_from(DAYS)
DATES = st.sampled_from([*DAYS, *BETWEEN])
IDS = st.integers(1, 3)
LOTS = st.integers(1, 5)
# Mostly whole numbers; halves and 1e-4 quantities so that products end on ties;
# and now and then what overflows.
PRICES = st.one_of(
    decimals(*span(1, 12)),
    decimals(*span(1, 12), "0.5", "1.5", "3.333333", "10.000001", "0"),
    decimals(*span(1, 12), "5000", "5000", "9000000000000"),
)
QUANTITIES = st.one_of(
    decimals(*span(1, 6)),
    decimals(*span(1, 6), "0.0001", "0.0003", "0.0005", "0.25", "0", "0"),
    decimals(*span(1, 6) * 2, "999999999999"),
)
AMOUNTS = decimals(*span(1, 9), "100", "500", "0.0001", "900000000000000")
EQUITY = decimals("1000", "100", "10", "0", "-50", "900000000000000")
DELETED = chance(8).map(lambda yes: datetime(2025, 1, 1, tzinfo=UTC) if yes else None)

# What the door refuses, by the end of a column's name.
BAD_NUMBERS = [Decimal("NaN"), Decimal("0.0000001"), Decimal(-1), Decimal("1e15")]
BAD_DATES = [date(1899, 1, 1), date.max, date.min, FIRST, LAST, None]
BAD: dict[str, list[Any]] = {
    "date": BAD_DATES,
    "price": [*BAD_NUMBERS, None],
    "close": [*BAD_NUMBERS, Decimal(0)],
    "quantity": BAD_NUMBERS,
    "amount": [*BAD_NUMBERS, Decimal(0)],
    "balance": [Decimal("NaN"), Decimal("0.00001"), None],
    "closed": [Decimal("NaN"), Decimal("0.00001"), Decimal(0)],
    "weight": [Decimal("NaN"), Decimal("0.000000001")],
    "adj_close": [0.0, -1.0, float("nan"), float("inf")],
    "type": ["X"],
    "class": [None, "X"],
    "symbol": [""],
}


@st.composite
def spoilt(draw: st.DrawFn, rows: st.SearchStrategy[Raw], one_in: int = 8) -> Raw:
    """A row, now and then with one column that the door may refuse."""
    row = draw(rows)
    if draw(chance(one_in)):
        column = draw(st.sampled_from([c for c in row if _bad(c) is not None]))
        bad = draw(st.sampled_from(_bad(column)))
        if column != "date" or bad is not None:  # a key
            row[column] = bad
    return row


def _bad(column: str) -> list[Any] | None:
    ends = [end for end in BAD if column.endswith(end)]
    return BAD[max(ends, key=len)] if ends else None


@st.composite
def portfolios(draw: st.DrawFn) -> Raw:
    """A row of ``portfolios``."""
    return portfolio(
        draw(IDS),
        draw(EQUITY),
        inception_date=draw(DATES) if draw(chance(4)) else None,
        deleted_at=draw(DELETED),
    )


@st.composite
def lots(draw: st.DrawFn) -> Raw:
    """A row of ``positions``."""
    kind = draw(st.sampled_from(["LONG", "LONG", "SHORT", "LC", "LP", "SC", "SP"]))
    option = kind in ("LC", "LP", "SC", "SP") or draw(chance(20))
    sign = -1 if kind.startswith("S") else 1
    closed = draw(chance(4))
    entry, end = sorted([draw(DATES), draw(DATES)])
    return lot(
        draw(LOTS),
        draw(IDS),
        draw(st.sampled_from(SYMBOLS)),
        sign * draw(QUANTITIES),
        draw(PRICES),
        entry,
        position_type=kind,
        investment_class=draw(
            st.sampled_from(["PUBLIC", "PUBLIC", "OPTIONS", "PRIVATE"])
        ),
        exit_price=draw(PRICES) if closed else None,
        exit_date=max(entry, draw(DATES)) if closed else None,
        underlying_symbol=draw(st.sampled_from(SYMBOLS)) if option else None,
        strike_price=draw(PRICES) if option else None,
        expiration_date=end if option else None,
        last_price=draw(PRICES) if draw(chance(4)) else None,
        deleted_at=draw(DELETED),
    )


@st.composite
def closes(draw: st.DrawFn) -> Raw:
    """A row of ``market_data_cache``."""
    return price(
        draw(st.sampled_from(SYMBOLS)),
        draw(SESSIONS),
        draw(PRICES.filter(bool)),
        draw(st.sampled_from([None, None, 1.0, 2.5, 7.7])),
    )


@st.composite
def flows(draw: st.DrawFn) -> Raw:
    """A row of ``equity_changes``."""
    kind = draw(st.sampled_from(["CONTRIBUTION", "WITHDRAWAL"]))
    made = flow(draw(IDS), draw(IDS), kind, draw(AMOUNTS), draw(DATES))
    return {**made, "deleted_at": draw(DELETED)}


@st.composite
def events(draw: st.DrawFn) -> Raw:
    """A row of ``position_realized_events``."""
    priced = not draw(chance(3))
    made = event(
        draw(st.integers(1, 4)),
        draw(IDS),
        draw(LOTS),
        draw(DATES),
        draw(QUANTITIES.filter(bool)) * draw(st.sampled_from([1, -1])),
        draw(PRICES) if priced else None,
        Decimal(draw(st.integers(-40, 40))) if not priced or draw(chance(4)) else None,
    )
    return {**made, "deleted_at": draw(DELETED)}


@st.composite
def profiles(draw: st.DrawFn) -> Raw:
    """A row of ``company_profiles``."""
    sectors = st.sampled_from([None, "Technology", "Energy"])
    return profile(
        draw(st.sampled_from(SYMBOLS)), draw(sectors), is_etf=draw(st.booleans())
    )


@st.composite
def weights(draw: st.DrawFn) -> Raw:
    """A row of ``benchmarks_sector_weights``."""
    return weight(
        draw(LOTS),
        draw(st.sampled_from(["SPX", "NDX"])),
        draw(st.sampled_from(["Technology", "Information Technology", "Energy"])),
        draw(decimals("0.5", "0.25", "1", "-1")),
        draw(DATES),
    )


ROWS = {
    "portfolios": spoilt(portfolios(), 12),
    "positions": spoilt(lots()),
    "market_data_cache": spoilt(closes(), 16),
    "equity_changes": spoilt(flows()),
    "position_realized_events": spoilt(events()),
    "company_profiles": profiles(),
    "benchmarks_sector_weights": spoilt(weights()),
}
# Which table a statement is about: lots and prices are where the work is.
WEIGHTED = [
    *["portfolios"] * 2,
    *["positions"] * 5,
    *["market_data_cache"] * 5,
    *["equity_changes"] * 2,
    *["position_realized_events"] * 3,
    "company_profiles",
    "benchmarks_sector_weights",
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
    for table, rows, most in (
        ("market_data_cache", closes(), 14),
        ("positions", lots(), 4),
        ("position_realized_events", events(), 2),
    ):
        # Mostly many; shrinks to none.
        count = draw(st.sampled_from([0, 1, most // 2, most, most, most, most]))
        made += [Upsert(table, draw(rows)) for _ in range(count)]
    return draw(st.permutations(made))


@st.composite
def histories(draw: st.DrawFn, most: int = 12) -> list[Transaction]:
    """An opening and some transactions of one to four statements."""
    small = st.lists(statements(), min_size=1, max_size=4)
    single = statements().map(lambda statement: [statement])
    later = draw(st.lists(st.one_of(single, single, small), max_size=most))
    return [draw(openings()), *later]
