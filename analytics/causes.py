"""Changes that touched cells, in words: what a result says it was caused by."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from functools import cache

import numpy as np

from analytics.changed import Touches
from analytics.market import PRICES, Market
from analytics.money import decimal
from analytics.results import Cause
from analytics.rows import PRICE_SCALE, QUANTITY_SCALE, Price, Row
from analytics.state import EVENTS, FLOWS, Trace
from analytics.touch import NO_CAUSE


class Causes:
    """Changes that touched cells, by reference, until no cell needs them."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._bases: list[int] = []
        self._blocks: list[Touches | Trace] = []
        self._next = 0
        self._made: dict[int, Cause] = {}

    def clear(self) -> None:
        """Forget all of them."""
        self._bases.clear()
        self._blocks.clear()
        self._made.clear()

    def add_prices(self, touches: Touches) -> int:
        """Add changed prices; the reference of the first."""
        return self._add(touches, len(touches))

    def add(self, trace: Trace | None) -> int:
        """Add a change of a row; its reference."""
        return NO_CAUSE if trace is None else self._add(trace, 1)

    def _add(self, block: Touches | Trace, count: int) -> int:
        self._bases.append(self._next)
        self._blocks.append(block)
        self._next += count
        return self._next - count

    def get(self, ref: int) -> Cause | None:
        """Cause of a reference."""
        if ref == NO_CAUSE:
            return None
        made = self._made.get(ref)
        if made is None:
            place = bisect_right(self._bases, ref) - 1
            block, entry = self._blocks[place], ref - self._bases[place]
            if isinstance(block, Trace):
                made = _of_row(block)
            else:
                made = self._of_price(block, entry)
            self._made[ref] = made
        return made

    def _of_price(self, touches: Touches, entry: int) -> Cause:
        market = self._market
        column, session = int(touches.column[entry]), int(touches.session[entry])
        cell = market.frame.row(session), column
        close, adj = int(market.close[cell]), float(market.adj[cell])
        old = _price_words(int(touches.close[entry]), float(touches.adj[entry]))
        key = (market.symbols[column], market.calendar.days[session])
        changed = _moved(old, _price_words(close, adj))
        version = market.version(column, session)
        return Cause(PRICES, key, int(touches.ts[entry]), version, changed)


def changed_columns(
    table: str, old: Row | None, new: Row | None
) -> tuple[tuple[str, str | None, str | None], ...]:
    """List what differs between two states of a row: column, old and new, as text.

    Of a row that was not there before, or is not there any more, every column.
    """
    return _moved(_words(table, old), _words(table, new))


def key_words(key: Sequence[int | str]) -> list[int | str]:
    """Write a row's key for people: its dates, which come after a name, are dates.

    Examples
    --------
    >>> key_words(("MSFT", 738459)), key_words((34,))
    (['MSFT', '2022-10-31'], [34])
    """
    return [
        date.fromordinal(part).isoformat() if at and isinstance(part, int) else part
        for at, part in enumerate(key)
    ]


def _words(table: str, row: Row | None) -> dict[str, str | None]:
    if isinstance(row, Price):
        adj = float("nan") if row.adj_close is None else row.adj_close
        return _price_words(row.close, adj)
    return _row_words(table, row)


def _price_words(close: int, adj: float) -> dict[str, str | None]:
    return {
        "close": decimal(close, PRICE_SCALE) if close else None,
        "adj_close": None if np.isnan(adj) else repr(adj),
    }


def _of_row(trace: Trace) -> Cause:
    old, new = (_row_words(trace.table, row) for row in (trace.old, trace.new))
    changed = _moved(old, new)
    return Cause(trace.table, (trace.key,), trace.ts, trace.version, changed)


def _moved(
    old: dict[str, str | None], new: dict[str, str | None]
) -> tuple[tuple[str, str | None, str | None], ...]:
    names = list(new or old)
    pairs = [(name, old.get(name), new.get(name)) for name in names]
    return tuple(entry for entry in pairs if entry[1] != entry[2])


DATE_OF = {FLOWS: "change_date", EVENTS: "trade_date"}
DATES = {"entry", "exit", "expiry", "date", "inception"}
COLUMNS = {
    "klass": "investment_class",
    "type": "position_type",
    "entry": "entry_date",
    "exit": "exit_date",
    "expiry": "expiration_date",
    "underlying": "underlying_symbol",
    "strike": "strike_price",
    "portfolio": "portfolio_id",
    "inception": "inception_date",
    "lot": "position_id",
    "closed": "quantity_closed",
    "price": "exit_price",
    "realized": "realized_pnl",
    "benchmark": "benchmark_code",
}
SCALES = {
    **dict.fromkeys(
        ("quantity", "closed", "amount", "equity_balance", "realized"), QUANTITY_SCALE
    ),
    **dict.fromkeys(
        ("entry_price", "exit_price", "last_price", "strike", "price"), PRICE_SCALE
    ),
}


@cache
def _names(table: str, fields: tuple[str, ...]) -> dict[str, str]:
    """Names in the source of a row's fields."""
    names = {**COLUMNS, "date": DATE_OF.get(table, "date")}
    return {name: names.get(name, name) for name in fields if name != "id"}


def _row_words(table: str, row: Row | None) -> dict[str, str | None]:
    """Columns of a row as text, under their names in the source."""
    if row is None:
        return {}
    names = _names(table, row.__struct_fields__)
    return {name: _word(field, getattr(row, field)) for field, name in names.items()}


def _word(name: str, value: object) -> str | None:
    if value is None:
        return None
    if name in DATES and isinstance(value, int):
        return date.fromordinal(value).isoformat()
    if name in SCALES and isinstance(value, int):
        return decimal(value, SCALES[name])
    return str(value)
