"""A desk for tests of the engine: rows in few words, records as dictionaries.

Sessions are named by their number, money and prices are plain numbers; every
derive checks all invariants of the engine.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.results import MONEY_FAMILIES, Result
from analytics.rows import Change, Event, Flow, Lot, Portfolio, Price, Row, Version

SESSIONS = 12
FIRST_DAY = 739_000
HOUR = 3_600_000_000
# Sessions are two days apart: the days between roll.
CALENDAR = Calendar(
    [FIRST_DAY + 2 * n for n in range(SESSIONS)],
    [n * 48 * HOUR for n in range(SESSIONS)],
    FIRST_DAY - 1,
    FIRST_DAY + 2 * SESSIONS,
)
Key = tuple[str, int, int]


def day(session: int) -> int:
    """Ordinal of a session."""
    return CALENDAR.days[session]


def units(value: Any, places: int) -> int:
    """Integer of 10**-places."""
    return int(Decimal(str(value)).scaleb(places))


def price_row(symbol: str, session: int, close: Any, adj: float | None = None) -> Price:
    return Price(symbol, day(session), units(close, 6), adj)


def lot_row(
    ident: int,
    owner: int,
    symbol: str,
    quantity: Any,
    entry_price: Any,
    entry: int,
    **more: Any,
) -> Lot:
    """A lot; short when the quantity is negative, unless told otherwise."""
    kind = more.pop("type", "LONG" if float(quantity) >= 0 else "SHORT")
    klass = more.pop("klass", "OPTIONS" if len(kind) == 2 else "PUBLIC")
    exit_price, exit_ = more.pop("exit", (None, None))
    strike, expiry = more.pop("strike", None), more.pop("expiry", None)
    last = more.pop("last", None)
    underlying = more.pop("underlying", None)
    assert not more, more
    return Lot(
        ident,
        owner,
        symbol,
        kind,
        klass,
        units(quantity, 4),
        units(entry_price, 6),
        day(entry),
        None if exit_price is None else units(exit_price, 6),
        None if exit_ is None else day(exit_),
        underlying,
        None if strike is None else units(strike, 6),
        None if expiry is None else day(expiry),
        None if last is None else units(last, 6),
    )


def event_row(
    ident: int,
    owner: int,
    lot: int,
    session: int,
    closed: Any,
    price: Any = None,
    realized: Any = None,
) -> Event:
    return Event(
        ident,
        owner,
        lot,
        day(session),
        units(closed, 4),
        None if price is None else units(price, 6),
        None if realized is None else units(realized, 4),
    )


TABLES = {
    Portfolio: "portfolios",
    Lot: "positions",
    Flow: "equity_changes",
    Event: "position_realized_events",
    Price: "market_data_cache",
}


@dataclass
class Desk:
    """An engine with one partition, and a reader of its results."""

    engine: Engine = field(
        default_factory=lambda: Engine(CALENDAR, families=MONEY_FAMILIES)
    )
    records: dict[Key, dict[str, Any]] = field(default_factory=dict)
    number: int = 0
    offsets: list[int] = field(default_factory=lambda: [0, 0])
    clock: int = 0

    def __post_init__(self) -> None:
        self.engine.add_partition(0)

    # --- changes ---------------------------------------------------------------

    def change(self, row: Row | None, table: str = "", key: Any = None, owner: int = 0):
        """A change with the next version; of None, that a key is absent."""
        self.number += 1
        if row is not None:
            table = TABLES[type(row)]
            market = isinstance(row, Price)
            key = (row.symbol, row.date) if market else (row.id,)
            owner = None if market else getattr(row, "portfolio", row.id)
        version = Version(self.number, self.number, 0)
        return Change(table, key, version, self.clock, owner, row)

    def gone(self, row: Row):
        """The change that deletes a row."""
        market = isinstance(row, Price)
        key = (row.symbol, row.date) if market else (row.id,)
        owner = None if market else getattr(row, "portfolio", row.id)
        return self.change(None, TABLES[type(row)], key, owner)

    def fold(self, *changes: Any, **flags: Any) -> None:
        """Fold rows or changes, one record a log."""
        made = [c if isinstance(c, Change) else self.change(c) for c in changes]
        market = [c for c in made if c.portfolio is None]
        others = [c for c in made if c.portfolio is not None]
        if market:
            self.offsets[0] += 1
            self.engine.fold_market(market, next_offset=self.offsets[0], **flags)
        if others:
            self.offsets[1] += 1
            self.engine.fold_partition(0, others, next_offset=self.offsets[1], **flags)

    def prices(self, symbol: str, *closes: Any, start: int = 0) -> None:
        """Fold closes from a session on; None is no row."""
        rows = [
            price_row(symbol, start + n, close)
            for n, close in enumerate(closes)
            if close is not None
        ]
        self.fold(*rows)

    def book(self, *rows: Any, equity: Any = 10_000) -> None:
        """Fold portfolio 1 and its rows."""
        self.fold(Portfolio(1, "p1", units(equity, 4), None), *rows)

    # --- results ---------------------------------------------------------------

    def derive(
        self, families: Iterable[str] = MONEY_FAMILIES, **more: Any
    ) -> list[Result]:
        """Derive, check the engine, read."""
        found = self.engine.derive(tuple(families), **more)
        self.engine.validate()
        for result in found:
            key = (result.family, result.owner, result.session)
            if result.content is None:
                del self.records[key]
            else:
                self.records[key] = json.loads(result.content)
        return found

    def column(self, name: str, family: str = "snapshots", portfolio: int = 1):
        """A field of every session of a portfolio."""
        keys = sorted(k for k in self.records if k[:2] == (family, portfolio))
        return [self.records[key][name] for key in keys]

    def at(self, session: int, family: str = "snapshots", portfolio: int = 1):
        """One record."""
        return self.records[family, portfolio, session]

    def lots(self, name: str) -> list[Any]:
        """A field of the lots' records, session by session."""
        return self.column(name, "positions")


def cells(
    results: Iterable[Result], family: str = "snapshots"
) -> list[tuple[int, int]]:
    """(portfolio, session) of the results of a family."""
    return sorted((r.owner, r.session) for r in results if r.family == family)
