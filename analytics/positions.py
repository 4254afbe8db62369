"""Records of the lots of many cells.

Most of a record does not change from session to session: which lots, how many,
what was traded. That part is written once for a portfolio and *phase* (the
sessions between two of its trades, or one with a trade) and kept until the
portfolio is compiled anew; prices, values and P&L are written for every cell.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from analytics.book import Book
from analytics.lots import Holding
from analytics.market import Market
from analytics.money import Bools, number
from analytics.records import FINAL, INTRADAY, encode
from analytics.snapshots import Phase
from analytics.state import Compiled
from analytics.valuation import NONE, STATUS, Cells, Lots


class Before(Struct, gc=False):
    """Fields of a record before its prices; see ``records.Positions``."""

    lot: Sequence[int]
    symbol: Sequence[str]
    position_type: Sequence[str]
    investment_class: Sequence[str]
    quantity: Sequence[float]
    entry_price: Sequence[Any]


class Priced(Struct, gc=False):
    """Fields that hang on prices."""

    price: Sequence[float | None]
    price_date: Sequence[str | None]
    price_status: Sequence[str | None]
    market_value: Sequence[float]
    pnl: Sequence[float]


class After(Struct, gc=False):
    """Fields after them."""

    traded: Sequence[float]
    realized_pnl: Sequence[float]
    flags: Sequence[Sequence[str]]
    reasons: dict[str, str]


class Written(Struct):
    """What is kept of a portfolio: the phase, and the bytes around the prices."""

    compiled: Compiled
    phase: int
    head: bytes
    tail: bytes


class PositionWriter:
    """Writes records of lots; keeps the last phase of each slot."""

    def __init__(self, book: Book, market: Market) -> None:
        self._book = book
        iso = [market.calendar.iso(n) for n in range(len(market.calendar))]
        self._iso = np.array([*iso, None], dtype=object)
        self._kept: dict[int, Written] = {}

    def write(
        self, cells: Cells, rows: Lots, phase: Phase, final: Bools
    ) -> list[bytes]:
        """Content of the lots' record of each cell (of an exact one: meaningless)."""
        columns = self._columns(rows)
        starts = rows.starts.tolist()
        marks = (phase.day * 2 + phase.today).tolist()
        words = [b'{"status":"%s",' % word.encode() for word in (INTRADAY, FINAL)]
        status = [words[yes] for yes in final.tolist()]
        found = []
        compiled = self._book.compiled
        for cell, slot in enumerate(cells.slot.tolist()):
            here = slice(starts[cell], starts[cell + 1])
            kept = self._kept.get(slot)
            mark = marks[cell]
            if (
                kept is None
                or kept.phase != mark
                or kept.compiled is not compiled[slot]
            ):
                kept = self._kept[slot] = self._around(slot, rows, here, mark)
            priced = encode(Priced(*[column[here] for column in columns]))
            found.append(
                b"%b%b%b%b" % (status[cell], kept.head, priced[1:-1], kept.tail)
            )
        return found

    def _columns(self, rows: Lots) -> list[list[Any]]:
        price: list[Any] = (rows.price / 1e6).tolist()
        held = rows.status != NONE
        for row in np.flatnonzero(~held).tolist():
            price[row] = None
        used = self._iso[np.where(held, rows.used, -1)]
        pnl = rows.value - rows.before - rows.traded
        status = STATUSES[rows.status]
        amounts = [(amount / 1e4).tolist() for amount in (rows.value, pnl)]
        return [price, used.tolist(), status.tolist(), *amounts]

    def _around(self, slot: int, rows: Lots, here: slice, mark: int) -> Written:
        compiled = self._book.compiled[slot]
        lots = self._book.lots["lot"][rows.lot[here]].tolist()
        mine: list[Holding] = [compiled.holdings[lot] for lot in lots]
        before = Before(
            lots,
            [h.lot.symbol for h in mine],
            [h.lot.type for h in mine],
            [h.lot.klass for h in mine],
            (rows.quantity[here] / 1e4).tolist(),
            [number(h.lot.entry_price, 6) for h in mine],
        )
        after = After(
            (rows.traded[here] / 1e4).tolist(),
            (rows.realized[here] / 1e4).tolist(),
            [h.flags for h in mine],
            {},
        )
        head, tail = encode(before)[1:-1] + b",", b"," + encode(after)[1:]
        return Written(compiled, mark, head, tail)


STATUSES = np.array(STATUS, dtype=object)
