"""How far changes reach through windows: a range of sessions by portfolio or symbol.

A return stands in the windows of a year of sessions, so what a change reaches is
kept as one range [low, high] for each portfolio (or symbol), which may be too wide:
cells that turn out the same are not published.
"""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from analytics.book import NOBODY, Book
from analytics.changed import Touches
from analytics.marks import NEVER, NO_CAUSE
from analytics.money import Indices, Ints

NONE = 2**31


class Stretch(Struct, frozen=True):
    """Ranges that were touched: place (slot or column), sessions, newest change."""

    place: Indices
    low: Ints
    high: Ints
    ts: Ints
    ref: Ints

    def cells(self, newest: int) -> Iterator[tuple[int, Indices, Ints, Ints]]:
        """Session, places, times, references, up to a session."""
        last = min(newest, int(self.high.max(initial=-1)))
        for session in range(int(self.low.min(initial=NONE)), last + 1):
            here = np.flatnonzero((self.low <= session) & (session <= self.high))
            if len(here):
                yield session, self.place[here], self.ts[here], self.ref[here]


class Ranges:
    """Touched ranges, until they are taken."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._low = np.full(0, NONE)
        self._high = np.full(0, -1)
        self._ts = np.full(0, NEVER)
        self._ref = np.full(0, NO_CAUSE)
        self._any = False

    def __bool__(self) -> bool:
        return self._any

    def note(
        self,
        place: Indices,
        low: Ints | int,
        high: Ints | int,
        ts: Ints | int,
        ref: Ints | int,
    ) -> None:
        """Touch ranges; of several changes the newest is the cause."""
        if not len(place):
            return
        self._grow(int(place.max()) + 1)
        self._any = True
        ts, ref = np.broadcast_to(ts, place.shape), np.broadcast_to(ref, place.shape)
        np.minimum.at(self._low, place, low)
        np.maximum.at(self._high, place, high)
        np.maximum.at(self._ts, place, ts)
        newest = ts == self._ts[place]
        self._ref[place[newest]] = ref[newest]

    def take(self, further: int = 0) -> Stretch | None:
        """Take the ranges out, each ``further`` sessions longer."""
        if not self._any:
            return None
        place = np.flatnonzero(self._high >= 0)
        found = Stretch(
            place,
            self._low[place],
            self._high[place] + further,
            self._ts[place],
            self._ref[place],
        )
        self._clear()
        return found

    def _grow(self, size: int) -> None:
        more = size - len(self._low)
        if more > 0:
            more += size
            self._low = np.append(self._low, np.full(more, NONE))
            self._high = np.append(self._high, np.full(more, -1))
            self._ts = np.append(self._ts, np.full(more, NEVER))
            self._ref = np.append(self._ref, np.full(more, NO_CAUSE))


def by_symbol(touches: Touches, base: int, reach: int) -> Stretch:
    """Sessions whose windows hold a return that changed closes move.

    A close at d moves the returns of d and d + 1, which stand in windows for
    ``reach`` sessions.
    """
    ranges = Ranges()
    session = touches.session
    ref = NO_CAUSE if base == NO_CAUSE else base + np.arange(len(touches))
    ranges.note(touches.column, session, session + 1 + reach, touches.ts, ref)
    found = ranges.take()
    if found is None:
        none = np.empty(0, dtype=np.int64)
        return Stretch(none.astype(np.intp), none, none, none, none)
    return found


def to_holders(book: Book, symbols: Stretch) -> Stretch:
    """Portfolios that hold a touched symbol at a session of its range."""
    lots, used = book.lots, book.lots.used
    width = len(book.market.symbols)
    at = np.full(width, -1)
    at[symbols.place] = np.arange(len(symbols.place))
    lot = np.flatnonzero(
        (at[lots["column"][:used]] >= 0) & (lots["slot"][:used] != NOBODY)
    )
    entry = at[lots["column"][lot]]
    low = np.maximum(symbols.low[entry], lots["entry"][lot])
    high = np.minimum(symbols.high[entry], lots["end"][lot])
    some = np.flatnonzero(low <= high)
    entry, slot = entry[some], lots["slot"][lot[some]].astype(np.intp)
    return Stretch(slot, low[some], high[some], symbols.ts[entry], symbols.ref[entry])


def to_everyone(count: int, symbols: Stretch, factors: list[int]) -> Stretch | None:
    """Widen the ranges of touched factors to all; None when none is touched."""
    mine = np.flatnonzero(np.isin(symbols.place, factors))
    if not len(mine) or not count:
        return None
    newest = mine[int(np.argmax(symbols.ts[mine]))]

    def whole(value: int) -> Ints:
        return np.full(count, value)

    return Stretch(
        np.arange(count),
        whole(int(symbols.low[mine].min())),
        whole(int(symbols.high[mine].max())),
        whole(int(symbols.ts[newest])),
        whole(int(symbols.ref[newest])),
    )
