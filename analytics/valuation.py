"""Value many (portfolio, session) cells at once: the vectorised heart.

Cells are in any order and of any shape, one session of all portfolios or all
sessions of one: every number of a cell depends on nothing but the cell. Sums of
integers are exact, so their order does not matter; sums of doubles (only
concentration) go name by name in code-point order (``np.bincount`` adds in the
order of its input, one by one).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.book import Book
from analytics.market import Market
from analytics.money import SMALL, Bools, Floats, Indices, Ints, market_values, sizes

PRICED, STALE, UNPRICED, MARK, COST, NONE = range(6)
STATUS = ("priced", "stale", "unpriced", "private_mark", "at_cost", None)
STALE_SESSIONS = 4


@dataclass(frozen=True, slots=True)
class Lots:
    """The lots listed in the cells, by cell and id: a row each.

    ``cell`` is the place of the cell, ``lot`` the row in the book; ``used`` the
    session of the close that values it, -1 without one. Money in 1/10 000.
    """

    cell: Indices
    lot: Indices
    starts: Indices
    quantity: Ints
    price: Ints
    used: Ints
    status: NDArray[np.int8]
    value: Ints
    before: Ints
    traded: Ints
    realized: Ints


@dataclass(frozen=True, slots=True)
class Cells:
    """Portfolios and sessions to value; ``exact`` are those left to ``exact``."""

    slot: Indices
    session: Ints
    exact: Bools


def value(
    book: Book, market: Market, slot: Indices, session: Ints
) -> tuple[Cells, Lots]:
    """Value the lots of cells; ``market.refresh()`` must have been called."""
    cell, lot = _listed(book, slot, session)
    t = session[cell]
    now, ahead, traded_now = _steps(book, lot, t)
    steps, lots = book.steps, book.lots
    quantity = steps["quantity"][now]
    held_before = np.where(ahead >= 0, steps["quantity"][ahead], 0)
    price, used, status = _price(book, market, lot, t)
    price_before, _, _ = _price(book, market, lot, t - 1)
    many = lots["multiplier"][lot]
    now_size, before_size = quantity * many, held_before * many
    status[quantity == 0] = NONE
    exact = book.slots["large"][slot].copy()
    _find_large(exact, cell, now_size, price)
    _find_large(exact, cell, before_size, price_before)
    rows = Lots(
        cell,
        lot,
        np.searchsorted(cell, np.arange(len(slot) + 1)),
        quantity,
        price,
        used,
        status,
        market_values(now_size, price),
        market_values(before_size, price_before),
        np.where(traded_now, steps["amount"][now], 0),
        np.where(traded_now, steps["realized"][now], 0),
    )
    return Cells(slot, session, exact), rows


def _listed(book: Book, slot: Indices, session: Ints) -> tuple[Indices, Indices]:
    """(cell, lot) of every lot that is listed in a cell."""
    first = book.slots["lots"][slot].astype(np.intp)
    count = book.slots["lots_end"][slot] - first
    cell = np.repeat(np.arange(len(slot)), count)
    begin = np.cumsum(count) - count
    lot = np.arange(len(cell)) + np.repeat(first - begin, count)
    t = session[cell]
    there = (book.lots["entry"][lot] <= t) & (book.lots["end"][lot] >= t)
    return cell[there], lot[there]


def latest(sessions: NDArray[np.int32], low: Indices, end: Indices, t: Ints) -> Indices:
    """Place of the newest entry up to ``t`` in each block [low, end).

    Blocks are ascending; the first entry of each is up to its ``t``.
    """
    found = end - 1
    late = np.flatnonzero(sessions[found] > t)
    if not len(late):
        return found
    lo, hi, at = low[late], found[late] - 1, t[late]
    while bool((lo < hi).any()):
        middle = (lo + hi + 1) // 2
        ok = sessions[middle] <= at
        lo, hi = np.where(ok, middle, lo), np.where(ok, hi, middle - 1)
    found[late] = lo
    return found


def _steps(book: Book, lot: Indices, t: Ints) -> tuple[Indices, Indices, Bools]:
    """Step of t, step of t - 1 (-1 before entry), and whether t has a trade."""
    first = book.lots["step"][lot].astype(np.intp)
    end = book.lots["step_end"][lot].astype(np.intp)
    now = latest(book.steps["session"], first, end, t)
    traded = book.steps["session"][now] == t
    before = now - traded
    return now, np.where(before >= first, before, -1), traded


def _price(
    book: Book, market: Market, lot: Indices, t: Ints
) -> tuple[Ints, Ints, NDArray[np.int8]]:
    """Valuation price, session of the close used (-1 for none), and status."""
    lots, frame = book.lots, market.frame
    column = lots["column"][lot]
    row = frame.rows_of(t)
    private = lots["private"][lot]
    used = market.last[row, column].astype(np.int64)
    there = (used >= 0) & (private | (used >= lots["entry"][lot]))
    used = np.where(there, used, -1)
    close = market.close[frame.rows_of(used), column]
    price = np.where(there, close, lots["entry_price"][lot])
    age = t - used
    status = np.where(age > STALE_SESSIONS, UNPRICED, STALE).astype(np.int8)
    status[age == 0] = PRICED
    status[~there] = UNPRICED
    if private.any():
        mark = lots["mark"][lot]
        marked = private & ~there & (mark >= 0)
        price = np.where(marked, mark, price)
        status[private] = COST
        status[(private & there) | marked] = MARK
    return price, used, status


def _find_large(exact: Bools, cell: Indices, size: Ints, price: Ints) -> None:
    """Mark the cells whose numbers may be too large for the arrays."""
    if not len(cell):
        return
    value = sizes(size, price)
    most = float(value.max()) * len(cell)
    if most < SMALL // 4 and int(price.max()) < SMALL:
        return
    total = np.bincount(cell, weights=value, minlength=len(exact))
    exact |= total >= SMALL // 4
    exact[cell[price >= SMALL]] = True


def sums(rows: Lots, values: Ints) -> Ints:
    """Sum by cell."""
    total = np.concatenate(([0], np.cumsum(values)))
    found: Ints = total[rows.starts[1:]] - total[rows.starts[:-1]]
    return found


@dataclass(frozen=True, slots=True)
class Concentration:
    """By cell: names counted, and ratios (NaN where Σ|MV| is 0)."""

    names: Ints
    hhi: Floats
    effective: Floats
    top3: Floats
    top10: Floats


def concentrate(book: Book, cells: Cells, rows: Lots) -> Concentration:
    """HHI and shares by symbol, over what is held and not unpriced.

    Cost: a sort of the names of each cell.
    """
    names = book.slots["names"][cells.slot].astype(np.intp)
    begin = np.cumsum(names) - names
    total_names = int(names.sum())
    counted = np.flatnonzero((rows.status != UNPRICED) & (rows.status != NONE))
    at = begin[rows.cell[counted]] + book.lots["name"][rows.lot[counted]]
    # exact: all values are integers below 2**53 where the result is used
    net = np.abs(np.bincount(at, weights=rows.value[counted], minlength=total_names))
    seen = np.bincount(at, minlength=total_names) > 0
    cell = np.repeat(np.arange(len(names)), names)
    gross = np.bincount(cell, weights=net, minlength=len(names))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = net / gross[cell]
        squares = np.bincount(cell, weights=share * share, minlength=len(names))
        hhi = 10_000.0 * squares  # float also where bincount, of nothing, is not
        hhi[gross == 0] = np.nan
        largest = _largest(net, begin, names)
        return Concentration(
            np.bincount(cell[seen], minlength=len(names)),
            hhi.astype(np.float64),
            10_000 / hhi,
            largest[:, :3].sum(axis=1) / gross,
            largest.sum(axis=1) / gross,
        )


def _largest(net: Floats, begin: Indices, count: Indices) -> Floats:
    """Pick the ten largest of each cell, descending, padded with 0."""
    found = np.zeros((len(count), 10))
    if not len(net):
        return found
    width = 16
    done = 0
    while done < len(count):
        here = np.flatnonzero((count <= width) & (count > (width // 2 if done else -1)))
        done += len(here)
        width, padded = width * 2, width
        if not len(here):
            continue
        place = begin[here][:, None] + np.arange(padded)
        inside = np.arange(padded) < count[here][:, None]
        values = np.where(inside, net[np.minimum(place, len(net) - 1)], 0.0)
        values.sort(axis=1)
        found[here] = values[:, :-11:-1]
    return found
