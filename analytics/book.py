"""Everything compiled, as arrays: lots, their steps, portfolios, their steps.

A portfolio has a block of rows in each table, lots in the order of their ids. A
portfolio that is compiled again takes its old place if it fits, else a new one
at the end; when half of a table is left behind, it is laid out anew.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.lots import Holding, Step
from analytics.market import Market
from analytics.money import SMALL, Indices
from analytics.state import Compiled

Column = NDArray[Any]

NOBODY = -1
LOT_FIELDS = {
    "slot": "i4",
    "lot": "i8",
    "column": "i4",
    "entry": "i4",
    "end": "i4",
    "private": "?",
    "listed": "?",
    "sector": "i4",
    "entry_price": "i8",
    "mark": "i8",
    "multiplier": "i8",
    "name": "i4",
    "step": "i4",
    "step_end": "i4",
    "last_step": "i4",
}
STEP_FIELDS = {"session": "i4", "quantity": "i8", "amount": "i8", "realized": "i8"}
DAY_FIELDS = {
    "session": "i4",
    "cost": "i8",
    "flows": "i8",
    "gains": "i8",
    "flow": "i8",
    "realized": "i8",
}
SLOT_FIELDS = {
    "portfolio": "i8",
    "partition": "i4",
    "first": "i4",
    "equity": "i8",
    "large": "?",
    "partial": "?",
    "names": "i4",
    "lots": "i4",
    "lots_end": "i4",
    "day": "i4",
    "day_end": "i4",
    "last_day": "i4",
}
NO_FIRST = 2**30


class Table:
    """Growable columns, filled in blocks."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields
        self.used = 0
        self.left = 0
        self.columns: dict[str, Column] = {
            name: np.zeros(64, dtype=dtype) for name, dtype in fields.items()
        }

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def reserve(self, count: int) -> int:
        """Place of a new block of so many rows."""
        place, self.used = self.used, self.used + count
        self.grow(self.used)
        return place

    def grow(self, count: int) -> None:
        """Make room for so many rows."""
        have = len(next(iter(self.columns.values())))
        if count <= have:
            return
        for name, column in self.columns.items():
            grown = np.zeros(max(2 * have, count), dtype=column.dtype)
            grown[:have] = column
            self.columns[name] = grown

    def write(self, place: int, rows: list[tuple[Any, ...]]) -> None:
        """Fill a block, columns in the order of the fields."""
        for name, values in zip(self.fields, zip(*rows, strict=True), strict=True):
            self.columns[name][place : place + len(rows)] = values


class Book:
    """Arrays of all portfolios that are held, by slot."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.lots = Table(LOT_FIELDS)
        self.steps = Table(STEP_FIELDS)
        self.days = Table(DAY_FIELDS)
        self.slots = Table(SLOT_FIELDS)
        self.compiled: dict[int, Compiled] = {}
        self._free: list[int] = []

    # --- slots -----------------------------------------------------------------

    def take_slot(self, partition: int, portfolio: int) -> int:
        """Slot for a portfolio, without results."""
        slot = self._free.pop() if self._free else self.slots.reserve(1)
        row = [portfolio, partition, NO_FIRST, 0, *[0] * 8]
        self.slots.write(slot, [tuple(row)])
        return slot

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        self._leave(slot)
        self.compiled.pop(slot, None)
        self.slots.write(slot, [(NOBODY, -1, NO_FIRST, 0, *[0] * 8)])
        self._free.append(slot)

    def slots_of(self, partition: int) -> Indices:
        """Slots of a partition."""
        return np.flatnonzero(self.slots["partition"][: self.slots.used] == partition)

    def settles(self, slot: int, first: int) -> bool:
        """Whether a lot of a portfolio settles in ``first`` or later, by now."""
        held = self.compiled[slot].holdings.values() if slot in self.compiled else ()
        days = [h.settles for h in held if h.settles is not None]
        return any(first <= day <= self.market.top for day in days)

    # --- portfolios ------------------------------------------------------------

    def put(self, slot: int, compiled: Compiled) -> None:
        """Lay out a portfolio that has been compiled."""
        self._leave(slot)
        self.compiled[slot] = compiled
        start = compiled.start
        slots = self.slots
        slots["first"][slot] = NO_FIRST if start is None else start
        if start is not None:
            self._lay_out(slot, compiled)
        if self.lots.left > max(self.lots.used // 2, 1024):
            self._compact()

    def _compact(self) -> None:
        self.lots, self.steps = Table(LOT_FIELDS), Table(STEP_FIELDS)
        self.days = Table(DAY_FIELDS)
        for slot, compiled in self.compiled.items():
            if compiled.start is not None:
                self._lay_out(slot, compiled)

    def _leave(self, slot: int) -> None:
        """Leave a slot's blocks behind: nobody's lots, never listed."""
        low, high = self.slots["lots"][slot], self.slots["lots_end"][slot]
        self.lots["slot"][low:high] = NOBODY
        self.lots["entry"][low:high] = NO_FIRST
        self.lots.left += int(high - low) + 1
        self.slots["lots"][slot] = self.slots["lots_end"][slot] = 0

    def _lay_out(self, slot: int, compiled: Compiled) -> None:
        holdings = [compiled.holdings[lot] for lot in sorted(compiled.holdings)]
        days, small = account_days(compiled)
        large = not small or any(holding.large for holding in holdings)
        if large:  # its numbers may not fit: only when and what, not how much
            days = [(day[0], 0, 0, 0, 0, 0) for day in days]
        names = self._lots(slot, holdings, large)
        place = self.days.reserve(len(days))
        self.days.write(place, days)
        slots = self.slots
        equity = compiled.portfolio.equity_balance if compiled.portfolio else 0
        slots["equity"][slot] = equity
        slots["large"][slot] = large
        slots["names"][slot] = names
        slots["day"][slot], slots["day_end"][slot] = place, place + len(days)
        slots["last_day"][slot] = days[-1][0]

    def _lots(self, slot: int, holdings: list[Holding], large: bool) -> int:
        """Write lots and their steps; how many names they have."""
        symbols = sorted({holding.lot.symbol for holding in holdings})
        names = {symbol: rank for rank, symbol in enumerate(symbols)}
        place = self.lots.reserve(len(holdings))
        self.slots["lots"][slot] = place
        self.slots["lots_end"][slot] = place + len(holdings)
        step = self.steps.reserve(sum(len(holding.steps) for holding in holdings))
        rows, steps = [], []
        for holding in holdings:
            end = step + len(holding.steps)
            lot, last = holding.lot, holding.steps[-1].session
            mark = -1 if lot.last_price is None else lot.last_price
            column, name = self.market.column(lot.symbol), names[lot.symbol]
            sector = self.market.column(holding.classified_by)
            kind = (holding.private, holding.listed, sector)
            money = (lot.entry_price, mark, holding.multiplier)
            where = (name, step, end, last)
            when = (holding.entry, holding.end)
            rows.append((slot, lot.id, column, *when, *kind, *money, *where))
            for made in holding.steps:
                blank = Step(made.session, 0, 0, 0)
                steps.append(tuple_of(blank if large else made))
            step = end
        if rows:
            self.lots.write(place, rows)
            self.steps.write(step - len(steps), steps)
        return len(names)


def tuple_of(step: Step) -> tuple[int, int, int, int]:
    """Fields of a step in the order of its columns."""
    return step.session, step.quantity, step.amount, step.realized


def account_days(compiled: Compiled) -> tuple[list[tuple[int, ...]], bool]:
    """Total a portfolio up at each session that has an amount.

    Returns
    -------
    list of (session, cost, flows, gains, flow, realized)
        Totals up to and with the session, then the session's own; the first
        entry, of session -1, is zero.
    bool
        Whether all of it is small enough for the arrays.
    """
    own: dict[int, list[int]] = {}
    for holding in compiled.holdings.values():
        for step in holding.steps:
            day = own.setdefault(step.session, [0, 0, 0])
            day[0] += step.amount
            day[2] += step.realized
    for session, amount in compiled.flows.items():
        own.setdefault(session, [0, 0, 0])[1] += amount
    cost = flows = gains = 0
    equity = compiled.portfolio.equity_balance if compiled.portfolio else 0
    most = abs(equity)
    days: list[tuple[int, ...]] = [(-1, 0, 0, 0, 0, 0)]
    for session in sorted(own):
        amount, flow, realized = own[session]
        cost, flows, gains = cost + amount, flows + flow, gains + realized
        most = max(most, abs(cost), abs(flows), abs(gains))
        days.append((session, cost, flows, gains, flow, realized))
    return days, most < SMALL // 4
