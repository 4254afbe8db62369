"""What changed prices reach: sessions, symbols, and the portfolios that hold them."""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from analytics.book import Book
from analytics.changed import Touches
from analytics.market import Market
from analytics.money import Indices, Ints
from analytics.touch import NEVER, NO_CAUSE


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
    newest = market.last_session
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
