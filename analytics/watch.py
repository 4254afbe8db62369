"""Options that settle: which portfolios a close of an underlying concerns."""

from typing import TypeAlias

import numpy as np
from msgspec import Struct

from analytics.changed import Touches
from analytics.lots import SETTLEMENT_SESSIONS
from analytics.market import Market
from analytics.state import Compiled


class Hit(Struct):
    """Lots of a portfolio whose settlement may differ, and the newest cause."""

    lots: set[int]
    ts: int
    ref: int


Hits: TypeAlias = dict[int, Hit]


class Watch:
    """Slots by underlying, and the lots that settle with it: (lot, expiry)."""

    def __init__(self) -> None:
        self._by_symbol: dict[str, dict[int, list[tuple[int, int]]]] = {}
        self._symbols: dict[int, set[str]] = {}

    def put(self, slot: int, compiled: Compiled) -> None:
        """Watch what a portfolio holds now."""
        self.drop(slot)
        for ident, holding in compiled.holdings.items():
            if holding.settles is not None:
                symbol = holding.lot.underlying or ""
                slots = self._by_symbol.setdefault(symbol, {})
                slots.setdefault(slot, []).append((ident, holding.settles))
                self._symbols.setdefault(slot, set()).add(symbol)

    def drop(self, slot: int) -> None:
        """Watch nothing for a slot."""
        for symbol in self._symbols.pop(slot, ()):
            del self._by_symbol[symbol][slot]

    def hits(
        self,
        market: Market,
        touches: Touches | None,
        base: int,
        old: int,
        new: int,
    ) -> Hits:
        """Lots that settle anew, since prices changed or T moved ``old`` → ``new``."""
        found: Hits = {}
        if not self._by_symbol:
            return found
        if old != new:
            self._moved(found, old, new)
        if touches is not None:
            for column in np.unique(touches.column).tolist():
                slots = self._by_symbol.get(market.symbols[column])
                if slots:
                    here = np.flatnonzero(touches.column == column)
                    self._priced(found, slots, touches, here.tolist(), base, new)
        return found

    def _moved(self, found: Hits, old: int, new: int) -> None:
        low, high = min(old, new), max(old, new)
        for slots in self._by_symbol.values():
            for slot, lots in slots.items():
                for lot, expiry in lots:
                    if low < expiry <= high:
                        _hit(found, slot, lot, -(2**63) + 1, -1)

    @staticmethod
    def _priced(
        found: Hits,
        slots: dict[int, list[tuple[int, int]]],
        touches: Touches,
        entries: list[int],
        base: int,
        newest: int,
    ) -> None:
        changed = [
            (int(touches.session[n]), int(touches.ts[n]), base + n) for n in entries
        ]
        for slot, lots in slots.items():
            for lot, expiry in lots:
                if expiry > newest:
                    continue
                for session, ts, ref in changed:
                    if expiry - SETTLEMENT_SESSIONS <= session <= expiry:
                        _hit(found, slot, lot, ts, ref)


def _hit(found: Hits, slot: int, lot: int, ts: int, ref: int) -> None:
    hit = found.setdefault(slot, Hit(set(), ts, ref))
    hit.lots.add(lot)
    if ts > hit.ts:
        hit.ts, hit.ref = ts, ref
