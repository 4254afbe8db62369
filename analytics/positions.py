"""Records of the lots of many cells.

Most of a record does not change from session to session: which lots, how many,
what was traded. That part is written once for a portfolio and *phase* (the
sessions between two of its trades, or one with a trade) and kept until the
portfolio is compiled anew; prices, values and P&L are written for every cell.
"""

from collections.abc import Sequence
from itertools import pairwise, repeat
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
from analytics.texts import Parts, cut, joined, lists, picked, table
from analytics.valuation import NONE, STATUS, Cells, Lots, sums


class Before(Struct, gc=False):
    """Fields of a record before its prices; see ``records.Positions``."""

    lot: Sequence[int]
    symbol: Sequence[str]
    position_type: Sequence[str]
    investment_class: Sequence[str]
    quantity: Sequence[float]
    entry_price: Sequence[Any]


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
        days = range(len(market.calendar))
        self._iso = table([*(market.calendar.iso(day) for day in days), None])
        self._kept: dict[int, Written] = {}

    def write(
        self, cells: Cells, rows: Lots, phase: Phase, final: Bools
    ) -> list[bytes]:
        """Content of the lots' record of each cell (of an exact one: meaningless)."""
        around = [
            self._around(*cell)
            for cell in zip(
                cells.slot.tolist(),
                pairwise(rows.starts.tolist()),
                (phase.day * 2 + phase.today).tolist(),
                repeat(rows),
            )
        ]
        price = np.where(rows.status != NONE, rows.price / 1e6, np.nan)
        pnl = rows.value - rows.before - rows.traded
        columns = [price, rows.value / 1e4, pnl / 1e4]
        prices, values, pnls = (lists(cut(each, rows.starts)) for each in columns)
        parts: Parts = [b'{"status":', *picked(final, STATUS_OF)]
        parts += [[written.head for written in around], b'"price":', *prices]
        parts += [self._dated(rows), b'"market_value":', *values, b',"pnl":', *pnls]
        parts.append([written.tail for written in around])
        return joined(parts, len(around))

    def _dated(self, rows: Lots) -> list[bytes]:
        """Dates of prices and their status: mostly those of all lots of a cell."""
        used = np.where(rows.status != NONE, rows.used, -1)
        mark = used * len(STATUS) + rows.status
        first = mark[np.minimum(rows.starts[:-1], len(mark) - 1)] if len(mark) else mark
        odd = sums(rows, (mark != first[rows.cell]).astype(np.int64)) > 0
        alike: dict[tuple[int, int], bytes] = {}
        found = []
        for cell, (low, high) in enumerate(pairwise(rows.starts.tolist())):
            key = (int(first[cell]) if high > low else 0, high - low)
            text = None if odd[cell] else alike.get(key)
            if text is None:
                dates = self._iso[used[low:high]].tolist()
                words = STATUSES[rows.status[low:high]].tolist()
                both = b",".join(dates), b",".join(words)
                text = b',"price_date":[%b],"price_status":[%b],' % both
                if not odd[cell]:
                    alike[key] = text
            found.append(text)
        return found

    def _around(
        self, slot: int, place: tuple[int, int], mark: int, rows: Lots
    ) -> Written:
        """Give what stands before and after the prices."""
        compiled, kept = self._book.compiled[slot], self._kept.get(slot)
        if kept is None or kept.phase != mark or kept.compiled is not compiled:
            kept = self._kept[slot] = self._write(slot, rows, slice(*place), mark)
        return kept

    def _write(self, slot: int, rows: Lots, here: slice, mark: int) -> Written:
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
        head, tail = b"," + encode(before)[1:-1] + b",", b"," + encode(after)[1:]
        return Written(compiled, mark, head, tail)


STATUSES = table(STATUS)
STATUS_OF = table((INTRADAY, FINAL))
