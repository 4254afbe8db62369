"""Cells to look at again, and the change that touched each last.

Folding only notes what changed. When results are asked for, it is spread to
cells of (session, portfolio) with the holdings of that moment. Touching too much
costs time and publishes nothing; touching too little is a bug.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import date

import numpy as np
from msgspec import Struct

from analytics.book import Book
from analytics.changed import Touches
from analytics.market import PRICES, Market
from analytics.money import Bools, Indices, Ints, decimal
from analytics.results import Cause
from analytics.rows import PRICE_SCALE, QUANTITY_SCALE, PortfolioRow
from analytics.state import Trace

NEVER = -(2**63)
NO_TIME = NEVER + 1
NO_CAUSE = -1


class Effect(Struct, frozen=True):
    """Symbols whose value, or P&L, a session must compute again."""

    session: int
    column: Indices
    ts: Ints
    ref: Ints


def spread(market: Market, touches: Touches, base: int) -> Iterator[Effect]:
    """Sessions and symbols that changed prices reach, and the newest change.

    A price reaches the sessions that are valued with it, up to the symbol's next
    close, and one more (its P&L). ``base + n`` is the reference of entry n.
    """
    newest = -1 if market.newest is None else market.newest
    columns, place = np.unique(touches.column, return_inverse=True)
    waiting, first = np.unique(touches.session, return_index=True)
    ends = dict(zip(waiting.tolist(), np.append(first[1:], len(touches)), strict=True))
    starts = dict(zip(waiting.tolist(), first, strict=True))
    now = np.full(len(columns), NEVER), np.full(len(columns), NO_CAUSE)
    before = (now[0].copy(), now[1].copy())
    t = int(waiting[0])
    while t <= newest:
        now[0][market.close[market.frame.row(t), columns] != 0] = NEVER
        if t in starts:
            entry = np.arange(starts[t], ends[t])
            entry = entry[touches.ts[entry] >= now[0][place[entry]]]
            now[0][place[entry]] = touches.ts[entry]
            now[1][place[entry]] = base + entry
        later = before[0] > now[0]
        ts, ref = np.where(later, before[0], now[0]), np.where(later, before[1], now[1])
        live = np.flatnonzero(ts != NEVER)
        if len(live):
            yield Effect(t, columns[live], ts[live], ref[live])
            t += 1
        else:
            after = np.searchsorted(waiting, t, side="right")
            t = int(waiting[after]) if after < len(waiting) else newest + 1
        before = (now[0].copy(), now[1].copy())


class Pending:
    """Touched cells of one family: by session, time and cause for each slot."""

    def __init__(self) -> None:
        self._sessions: dict[int, tuple[Ints, Ints]] = {}

    def __bool__(self) -> bool:
        return bool(self._sessions)

    def ready(self, closed: Bools | None) -> bool:
        """Whether a cell can be taken."""
        if closed is None:
            return bool(self._sessions)
        held = self._sessions.values()
        return any(((t != NEVER) & ~closed[: len(t)]).any() for t, _ in held)

    def sessions(self) -> list[int]:
        """Sessions with a touched cell."""
        return sorted(self._sessions)

    def slots(self, session: int) -> Indices:
        """Touched slots of a session."""
        ts, _ = self._sessions[session]
        return np.flatnonzero(ts != NEVER)

    def add(
        self, session: int, slot: Indices, ts: Ints | int, ref: Ints | int, slots: int
    ) -> None:
        """Touch cells; of several changes the newest is the cause."""
        if not len(slot):
            return
        times, refs = self._arrays(session, slots)
        ts, ref = np.broadcast_to(ts, slot.shape), np.broadcast_to(ref, slot.shape)
        np.maximum.at(times, slot, ts)
        newest = ts == times[slot]
        refs[slot[newest]] = ref[newest]

    def _arrays(self, session: int, slots: int) -> tuple[Ints, Ints]:
        held = self._sessions.get(session)
        if held is not None and len(held[0]) >= slots:
            return held
        times = np.full(max(slots, 1), NEVER)
        refs = np.full(max(slots, 1), NO_CAUSE)
        if held is not None:
            times[: len(held[0])], refs[: len(held[1])] = held
        self._sessions[session] = (times, refs)
        return times, refs

    def take(
        self, closed: Bools | None, limit: int | None = None
    ) -> tuple[Indices, Ints, Ints]:
        """Take touched cells out: slot, session, reference of the cause.

        ``closed`` marks slots that must wait (their transaction is not complete).
        Newest sessions come first; those that would exceed ``limit`` stay.
        """
        taken = 0
        parts: list[tuple[Indices, Ints, Ints]] = []
        for session in sorted(self._sessions, reverse=True):
            times, refs = self._sessions[session]
            ready = times != NEVER
            if closed is not None:
                ready &= ~closed[: len(ready)]
            slot = np.flatnonzero(ready)
            taken += len(slot)
            if limit is not None and parts and taken > limit:
                break
            parts.append((slot, np.full(len(slot), session), refs[slot]))
            self._clear(session, slot)
        if not parts:
            empty = np.empty(0, dtype=np.int64)
            return empty.astype(np.intp), empty, empty
        slot, day, ref = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((day, slot))
        return slot[order], day[order], ref[order]

    def forget(self, slot: int) -> None:
        """Forget a slot's cells."""
        for session in list(self._sessions):
            if slot < len(self._sessions[session][0]):
                self._clear(session, slot)

    def _clear(self, session: int, slot: Indices | int) -> None:
        times, _ = self._sessions[session]
        times[slot] = NEVER
        if not (times != NEVER).any():
            del self._sessions[session]


def holders(
    book: Book, effects: Iterator[Effect], touches: Touches
) -> Iterator[tuple[int, Indices, Ints, Ints]]:
    """Portfolios that list a lot of an affected symbol: (session, slot, ts, ref)."""
    lots, used = book.lots, book.lots.used
    width = len(book.market.symbols)
    mine = np.zeros(width, dtype=bool)
    mine[touches.column] = True
    lot = np.flatnonzero(mine[lots["column"][:used]])
    column, slot = lots["column"][lot], lots["slot"][lot].astype(np.intp)
    entry, end = lots["entry"][lot], lots["end"][lot]
    times, refs = np.full(width, NEVER), np.full(width, NO_CAUSE)
    for effect in effects:
        times[:] = NEVER
        times[effect.column], refs[effect.column] = effect.ts, effect.ref
        t = effect.session
        at = np.flatnonzero((times[column] != NEVER) & (entry <= t) & (end >= t))
        yield t, slot[at], times[column[at]], refs[column[at]]


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
        """Add a change of a portfolio's row; its reference."""
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


def _price_words(close: int, adj: float) -> dict[str, str | None]:
    return {
        "close": decimal(close, PRICE_SCALE) if close else None,
        "adj_close": None if np.isnan(adj) else repr(adj),
    }


def _of_row(trace: Trace) -> Cause:
    changed = _moved(_row_words(trace.old), _row_words(trace.new))
    return Cause(trace.table, (trace.key,), trace.ts, trace.version, changed)


def _moved(
    old: dict[str, str | None], new: dict[str, str | None]
) -> tuple[tuple[str, str | None, str | None], ...]:
    names = list(new or old)
    pairs = [(name, old.get(name), new.get(name)) for name in names]
    return tuple(entry for entry in pairs if entry[1] != entry[2])


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
}
SCALES = {
    **dict.fromkeys(
        ("quantity", "closed", "amount", "equity_balance", "realized"), QUANTITY_SCALE
    ),
    **dict.fromkeys(
        ("entry_price", "exit_price", "last_price", "strike", "price"), PRICE_SCALE
    ),
}


def _row_words(row: PortfolioRow | None) -> dict[str, str | None]:
    """Columns of a row as text, under their names in the source."""
    if row is None:
        return {}
    found = {}
    for name in row.__struct_fields__:
        if name != "id":
            found[COLUMNS.get(name, name)] = _word(name, getattr(row, name))
    return found


def _word(name: str, value: object) -> str | None:
    if value is None:
        return None
    if name in DATES and isinstance(value, int):
        return date.fromordinal(value).isoformat()
    if name in SCALES and isinstance(value, int):
        return decimal(value, SCALES[name])
    return str(value)
