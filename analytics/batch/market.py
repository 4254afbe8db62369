"""Closes by symbol and session, and how a lot is valued with them."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from analytics.batch.rows import Lot, Price

STALE_SESSIONS = 4
JUMP = 1.8


@dataclass(frozen=True, slots=True)
class Valuation:
    """The price of a lot in a session, where it is from, and how good it is."""

    price: int
    session: int | None
    status: str


class Market:
    """Every close that counts, by symbol.

    ``newest`` is the newest session for which any symbol has one.
    """

    def __init__(self, prices: Iterable[Price]) -> None:
        self.prices: dict[str, dict[int, Price]] = {}
        for row in prices:
            self.prices.setdefault(row.symbol, {})[row.session] = row
        self.sessions = {s: sorted(rows) for s, rows in self.prices.items()}
        self.newest = max((last[-1] for last in self.sessions.values()), default=None)

    def last(self, symbol: str, session: int, oldest: int = 0) -> Price | None:
        """Newest close of a symbol in [oldest, session]."""
        sessions = self.sessions.get(symbol, [])
        place = bisect_right(sessions, session)
        if place == 0 or sessions[place - 1] < oldest:
            return None
        return self.prices[symbol][sessions[place - 1]]

    def value(self, lot: Lot, session: int) -> Valuation:
        """Value a lot in a session (definition: section 2)."""
        if lot.klass == "PRIVATE":
            return self._private(lot, session)
        found = self.last(lot.symbol, session, oldest=lot.entry)
        if found is None:
            return Valuation(lot.entry_price, None, "unpriced")
        age = session - found.session
        status = "priced" if age == 0 else "stale"
        if age > STALE_SESSIONS:
            status = "unpriced"
        return Valuation(found.close, found.session, status)

    def _private(self, lot: Lot, session: int) -> Valuation:
        found = self.last(lot.symbol, session)
        if found is not None:
            return Valuation(found.close, found.session, "private_mark")
        if lot.last_price is not None:
            return Valuation(lot.last_price, None, "private_mark")
        return Valuation(lot.entry_price, None, "at_cost")

    def jumps(self, symbol: str, session: int) -> bool:
        """Whether a return is so large that a split may be missing."""
        rows = self.prices.get(symbol, {})
        now, before = rows.get(session), rows.get(session - 1)
        if now is None or before is None:
            return False
        if 5 * now.close >= 9 * before.close or 9 * now.close <= 5 * before.close:
            return True
        if now.adjusted is None or before.adjusted is None:
            return False
        ratio = now.adjusted / before.adjusted
        return ratio >= JUMP or ratio <= 1 / JUMP
