"""Edits as changes of rows: what a branch's journal has after the live one's prefix.

Pure: rows as the journal has them last, edits in their order, changes out. A change
has the version after that of its row, so that it wins wherever it is folded, and its
row's commit time, so that it makes nothing final that was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple, NoReturn, TypeAlias

import msgspec

from analytics.calendar import Calendar
from analytics.factors import Factors
from analytics.rows import (
    LONG_TYPES,
    PRICE_SCALE,
    QUANTITY_SCALE,
    Change,
    Event,
    Lot,
    Price,
    Row,
    Version,
)
from replay.edits import Drop, Edit, Edits, Lots, NewPrice, Resize, Shock
from replay.errors import EditsError

LOTS, EVENTS, PRICES = "positions", "position_realized_events", "market_data_cache"
INT64 = 2**63 - 1

RowKey: TypeAlias = tuple[str, tuple[int | str, ...], int | None]


class Rows:
    """The newest change of each row.

    ``take`` may be given them in any order.
    """

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self.newest: dict[RowKey, Change] = {}
        for change in changes:
            self.take(change)

    def take(self, change: Change) -> None:
        """Keep a change unless a newer one of its row is there."""
        key = (change.table, change.key, change.portfolio)
        held = self.newest.get(key)
        if held is None or change.version > held.version:
            self.newest[key] = change


class Edited(NamedTuple):
    """What edits come to.

    Attributes
    ----------
    changes
        One a row, in the order in which rows were edited first.
    words
        What each edit does, in a line.
    """

    changes: tuple[Change, ...]
    words: tuple[str, ...]


class Grounds(NamedTuple):
    """What edits stand on.

    Attributes
    ----------
    rows
        Of the lots and symbols that are edited.
    newest
        Date of the newest price of all, as an ordinal.
    factors, calendar
        Of the settings.
    """

    rows: Rows
    newest: int
    factors: Factors
    calendar: Calendar


def apply(edits: Edits, grounds: Grounds) -> Edited:
    """Turn edits into changes; each edit sees what those before it have made.

    Raises
    ------
    EditsError
        When an edit finds nothing, or makes a row that could not be; names its line.
    """
    desk = _Desk(edits, grounds)
    words = [desk.edit(at, edit) for at, edit in enumerate(edits.edits)]
    return Edited(tuple(desk.edited.values()), tuple(words))


class _Desk:
    """Rows under the edits that were made so far."""

    def __init__(self, edits: Edits, grounds: Grounds) -> None:
        self.edited: dict[RowKey, Change] = {}
        self._edits = edits
        self._newest = grounds.rows.newest
        self._last = grounds.newest
        self._factors = grounds.factors
        self._calendar = grounds.calendar
        self._path: tuple[str | int, ...] = ()

    def edit(self, at: int, edit: Edit) -> str:
        """Make one edit; what it did, in words."""
        for name, make in (
            ("drop", self._drop),
            ("resize", self._resize),
            ("price", self._price),
            ("shock", self._shock),
        ):
            given = getattr(edit, name)
            if given is not None:
                self._path = "edits", at, name
                return f"{name} {make(given)}"
        raise AssertionError(edit)

    def _refuse(self, why: str, *field: str) -> NoReturn:
        message = f"{self._edits.where(*self._path, *field)}: {why}"
        raise EditsError(message)

    # --- rows ---

    def _rows(self, table: str) -> Iterator[tuple[RowKey, Row]]:
        """Rows of a table that are there now."""
        for key, change in self._newest.items():
            row = self.edited.get(key, change).row
            if key[0] == table and row is not None:
                yield key, row
        for key, change in self.edited.items():
            if key not in self._newest and key[0] == table and change.row is not None:
                yield key, change.row

    def _put(self, key: RowKey, row: Row | None, ts: int = 0) -> None:
        held = self._newest.get(key)
        version, when = (held.version, held.ts) if held else (Version(0, 0, 0), ts)
        newer = Version(version.commit, version.lsn, version.order + 1)
        self.edited[key] = Change(key[0], key[1], newer, when, key[2], row)

    # --- lots ---

    def _lots(self, which: Lots) -> list[tuple[RowKey, Lot]]:
        found = [
            (key, row)
            for key, row in self._rows(LOTS)
            if isinstance(row, Lot)
            and which.lot in (None, row.id)
            and which.portfolio in (None, row.portfolio)
            and which.symbol in (None, row.symbol)
        ]
        if not found:
            self._refuse(f"no such lot in the journal: {_named(which)}")
        return found

    def _drop(self, given: Drop) -> str:
        lots = self._lots(given)
        dropped = {(row.portfolio, row.id) for _, row in lots}
        events = [
            key
            for key, row in self._rows(EVENTS)
            if isinstance(row, Event) and (row.portfolio, row.lot) in dropped
        ]
        for key in [*(key for key, _ in lots), *events]:
            self._put(key, None)
        more = f" and {_count(len(events), 'event')}" if events else ""
        return f"{_named(given)}: {_count(len(lots), 'lot')}{more}"

    def _resize(self, given: Resize) -> str:
        lots = self._lots(given)
        if given.lot is None:
            # What was sold wholly has nothing to be more or less of.
            lots = [(key, lot) for key, lot in lots if lot.quantity != 0] or lots
        for key, lot in lots:
            self._put(
                key, msgspec.structs.replace(lot, quantity=self._size(given, lot))
            )
        how = f"to {given.to}" if given.to is not None else f"by {_share(given.by)}"
        return f"{_named(given)} {how}: {_count(len(lots), 'lot')}"

    def _size(self, given: Resize, lot: Lot) -> int:
        if given.to is not None:
            size = int(given.to.scaleb(QUANTITY_SCALE))
        else:
            assert given.by is not None  # noqa: S101 - one of both is given
            size = _rounded(lot.quantity * (1 + given.by))
        if size == 0:
            self._refuse(f"lot {lot.id} would have no quantity: drop it")
        if (size < 0) is (lot.type in LONG_TYPES):
            sign = "above" if lot.type in LONG_TYPES else "below"
            self._refuse(f"lot {lot.id} is {lot.type}: a quantity {sign} 0", "to")
        if abs(size) > INT64:
            self._refuse(f"lot {lot.id} would be too large")
        return size

    # --- prices ---

    def _closes(self, symbol: str) -> dict[int, tuple[RowKey, Price]]:
        """Find the closes of a symbol, by date."""
        return {
            row.date: (key, row)
            for key, row in self._rows(PRICES)
            if isinstance(row, Price) and row.symbol == symbol
        }

    def _price(self, given: NewPrice) -> str:
        day, closes = given.date.toordinal(), self._closes(given.symbol)
        if not closes:
            self._refuse(f"{given.symbol} has no prices", "symbol")
        if self._calendar.index(day) is None:
            self._refuse(f"{given.date} is no session", "date")
        if day > self._last:
            last = date.fromordinal(self._last)
            self._refuse(f"the newest price is of {last}", "date")
        close = int(given.close.scaleb(PRICE_SCALE))
        key, old = closes.get(day, ((PRICES, (given.symbol, day), None), None))
        adjusted = given.adj_close
        if adjusted is None and old is not None and old.adj_close is not None:
            adjusted = old.adj_close * close / old.close
        latest = self._newest.get(closes[max(closes)][0])
        ts = latest.ts if latest else 0
        self._put(key, Price(given.symbol, day, close, adjusted), ts)
        return f"{given.symbol} {given.date}: close {given.close}"

    def _shock(self, given: Shock) -> str:
        symbol = given.symbol or self._symbol_of(given.factor or "")
        first = given.date or given.first
        assert first is not None  # noqa: S101 - one of both is given
        last = given.date or given.last
        low, high = first.toordinal(), (last or date.max).toordinal()
        closes = [
            found for day, found in self._closes(symbol).items() if low <= day <= high
        ]
        span = str(first) if given.date else f"{first} to {last or 'the end'}"
        if not closes:
            self._refuse(f"{symbol} has no close on {span}")
        for key, row in closes:
            self._put(key, self._shocked(row, given.by))
        return f"{symbol} {span} by {_share(given.by)}: {_count(len(closes), 'close')}"

    def _shocked(self, row: Price, by: Decimal) -> Price:
        close = _rounded(row.close * (1 + by))
        if not 0 < close <= INT64:
            self._refuse(f"a close of {row.symbol} would be out of bounds", "by")
        adjusted = row.adj_close
        if adjusted is not None:
            adjusted = adjusted * float(1 + by)
        return Price(row.symbol, row.date, close, adjusted)

    def _symbol_of(self, factor: str) -> str:
        """Symbol that stands for a factor."""
        known = factor_symbols(self._factors)
        symbol = known.get(factor.casefold())
        if symbol is None:
            styles = (style.name for style in self._factors.styles)
            names = ", ".join(("market", "interest_rate", *styles))
            self._refuse(f"no factor {factor!r}; there are: {names}", "factor")
        return symbol


def factor_symbols(factors: Factors) -> dict[str, str]:
    """Symbols that stand for factors, by the factors' names without their case."""
    return {
        "market": factors.market,
        "interest_rate": factors.interest_rate,
        **{style.name.casefold(): style.symbol for style in factors.styles},
    }


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_HALF_EVEN))


def _share(by: Decimal | None) -> str:
    """Write a share as it is given.

    >>> _share(Decimal("-0.10")), _share(Decimal("0.025")), _share(Decimal(1))
    ('-10%', '+2.5%', '+100%')
    """
    return f"{((by or Decimal()) * 100).normalize():+f}%"


def _named(which: Lots) -> str:
    given = which.model_dump(include={"lot", "portfolio", "symbol"}, exclude_none=True)
    return " ".join(f"{name} {value}" for name, value in given.items())


def _count(number: int, what: str) -> str:
    """Count in words.

    >>> _count(1, "lot"), _count(2_000, "close")
    ('1 lot', '2,000 closes')
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")
