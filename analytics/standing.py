"""What portfolios hold in a session, as the kernels of risk want it.

Lots that are PUBLIC, no options and not unpriced take part, netted by symbol in
code-point order. A portfolio whose numbers may not fit the arrays is valued in
Python's integers first, and put in their place.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analytics import exact, snapshots
from analytics.book import Book
from analytics.kernels.aggregate import Holdings
from analytics.market import Market
from analytics.money import Bools, Floats, Indices, Ints
from analytics.valuation import PRICED, STALE, Lots, value


@dataclass(frozen=True, slots=True)
class Standing:
    """Cells of portfolios, valued. Money in 1/10 000.

    Attributes
    ----------
    slot, session
        The cells, sorted by session.
    rows
        Their lots; of an exact cell ``quantity`` is only its sign.
    nav, gross, overflow
        By cell; 0 in overflow.
    earned
        Daily return by cell, NaN where it is null.
    """

    slot: Indices
    session: Ints
    rows: Lots
    nav: Ints
    gross: Ints
    overflow: Bools
    earned: Floats


def stand(book: Book, market: Market, slot: Indices, session: Ints) -> Standing:
    """Value cells."""
    cells, rows = value(book, market, slot, session)
    found = snapshots.money(book, cells, rows, snapshots.phases(book, cells))
    nav, gross = found.nav.copy(), found.long - found.short
    earned = snapshots.daily_returns(found)
    overflow = np.zeros(len(slot), dtype=bool)
    for place in np.flatnonzero(cells.exact).tolist():
        compiled, t = book.compiled[int(slot[place])], int(session[place])
        cell = exact.cell(market, compiled, t)
        part = slice(int(rows.starts[place]), int(rows.starts[place + 1]))
        rows.quantity[part] = [np.sign(float(day.quantity)) for day in cell.days]
        rows.status[part] = [day.status for day in cell.days]
        known = cell.known
        rows.value[part] = [day.value if known else 0 for day in cell.days]
        overflow[place] = not known
        nav[place] = cell.money["nav"] if known else 0
        gross[place] = cell.money["gross_value"] if known else 0
        own = exact.daily_return(market, compiled, t, cell)
        earned[place] = np.nan if own is None else own
    return Standing(slot, session, rows, nav, gross, overflow, earned)


def runs(session: Ints, apart: int = 0) -> list[slice]:
    """Places of cells of one session, or of sessions at most so far ``apart``; sorted.

    Examples
    --------
    >>> [(run.start, run.stop) for run in runs(np.array([1, 2, 2, 9]))]
    [(0, 1), (1, 3), (3, 4)]
    >>> [(run.start, run.stop) for run in runs(np.array([1, 2, 2, 9]), apart=1)]
    [(0, 3), (3, 4)]
    """
    breaks = np.flatnonzero(np.diff(session) > apart) + 1
    bounds = [0, *breaks.tolist(), len(session)]
    return [slice(a, b) for a, b in pairwise(bounds) if b > a]


def holdings(book: Book, standing: Standing, run: slice) -> Holdings:
    """Names of the cells of one session."""
    rows, lots = standing.rows, book.lots
    low, high = int(rows.starts[run.start]), int(rows.starts[run.stop])
    count = run.stop - run.start
    lot, quantity = rows.lot[low:high], rows.quantity[low:high]
    cell = rows.cell[low:high] - run.start
    status = rows.status[low:high]
    here = lots["listed"][lot] & (quantity != 0)
    here &= ((status == PRICED) | (status == STALE)) & ~standing.overflow[run][cell]
    place = np.flatnonzero(here)
    counts = book.slots["names"][standing.slot[run]].astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    key = starts[cell[place]] + lots["name"][lot[place]]
    seen = np.zeros(starts[-1], dtype=bool)
    seen[key] = True
    ranks = np.concatenate([[0], np.cumsum(seen)])
    at, names = ranks[key], int(ranks[-1])
    net, size = np.zeros(names, np.int64), np.zeros(names, np.int64)
    amount = rows.value[low:high][place]
    np.add.at(net, at, amount)
    np.add.at(size, at, np.abs(amount))
    column = np.zeros(names, dtype=np.intp)
    column[at] = lots["column"][lot[place]]
    held = np.zeros(count, dtype=bool)
    held[cell[quantity != 0]] = True
    return Holdings(
        session=int(standing.session[run.start]),
        nav=standing.nav[run],
        gross=standing.gross[run],
        held=held,
        overflow=standing.overflow[run],
        starts=ranks[starts],
        columns=column,
        net=net,
        size=size,
    )


def symbols_held(book: Book, standing: Standing) -> Ints:
    """How many different symbols each cell holds, of any class."""
    rows = standing.rows
    held = np.flatnonzero(rows.quantity)
    counts = book.slots["names"][standing.slot].astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    seen = np.zeros(starts[-1], dtype=bool)
    seen[starts[rows.cell[held]] + book.lots["name"][rows.lot[held]]] = True
    ranks = np.concatenate([[0], np.cumsum(seen)])
    found: Ints = np.diff(ranks[starts])
    return found
