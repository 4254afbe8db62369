"""Records of the lots of many cells."""

from typing import Any

import numpy as np

from analytics.book import Book
from analytics.market import Market
from analytics.money import Bools
from analytics.records import FINAL, INTRADAY, Positions, encode
from analytics.valuation import NONE, STATUS, Cells, Lots


def positions(
    book: Book, market: Market, cells: Cells, rows: Lots, final: Bools
) -> list[bytes]:
    """Content of the lots' record of each cell (of an exact one: meaningless)."""
    iso = market.calendar.iso
    held = rows.status != NONE
    price: list[Any] = (rows.price / 1e6).tolist()
    used: list[Any] = [iso(d) if d >= 0 else None for d in rows.used.tolist()]
    for row in np.flatnonzero(~held).tolist():
        price[row] = used[row] = None
    status = [STATUS[code] for code in rows.status.tolist()]
    pnl = rows.value - rows.before - rows.traded
    amounts = (rows.value, pnl, rows.traded, rows.realized)
    quantity = (rows.quantity / 1e4).tolist()
    columns = [quantity, price, used, status, *[(a / 1e4).tolist() for a in amounts]]
    found = []
    starts = rows.starts.tolist()
    ids = book.lots["lot"][rows.lot].tolist()
    for cell, slot in enumerate(cells.slot.tolist()):
        here = slice(starts[cell], starts[cell + 1])
        holdings = book.compiled[slot].holdings
        mine = [holdings[lot] for lot in ids[here]]
        q, p, u, s, *m = (column[here] for column in columns)
        found.append(
            encode(
                Positions(
                    FINAL if final[cell] else INTRADAY,
                    ids[here],
                    [h.lot.symbol for h in mine],
                    [h.lot.type for h in mine],
                    [h.lot.klass for h in mine],
                    q,
                    [h.lot.entry_price / 1e6 for h in mine],
                    p,
                    u,
                    s,
                    *m,
                    [h.flags for h in mine],
                    {},
                )
            )
        )
    return found
