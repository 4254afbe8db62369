"""A lot and its events as steps of quantity: what was held when, and its cost.

The steps do not depend on closes, but for the settlement of an option that
expires. Python's integers do the sums, so nothing overflows here; what does not
fit 64 bits is marked (``broken``), what may not fit the arrays too (``large``).
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from msgspec import Struct, structs

from analytics.calendar import Calendar
from analytics.money import SMALL, SMALL_QUANTITY, fits, half_even
from analytics.rows import LONG_TYPES, OPTION_TYPES, Event, Lot

SETTLEMENT_SESSIONS = 4
OPEN = 2**30  # ``end`` of a lot that is still held

# (underlying, oldest session, session) -> (session, close), (-1, 0) for none
NewestClose: TypeAlias = Callable[[str, int, int], tuple[int, int]]


class Trade(Struct, frozen=True, array_like=True, gc=False):
    """One opening or closing: quantity, cost and realized result."""

    session: int
    delta: int
    amount: int
    realized: int


class Step(Struct, frozen=True, array_like=True, gc=False):
    """All trades of a lot in one session, and the quantity after them."""

    session: int
    quantity: int
    amount: int
    realized: int


class Holding(Struct, frozen=True):
    """A lot compiled: Q is not 0.

    Attributes
    ----------
    end
        Last session in which it is listed; ``OPEN`` while it is held.
    flags
        Sorted; they stand in its record at every session.
    broken
        First session with an amount that does not fit 64 bits, or None.
    large
        Whether its numbers may leave what the arrays can do exactly.
    settles
        Its expiry, if something is left to settle then, else None.
    """

    lot: Lot
    entry: int
    end: int
    multiplier: int
    steps: tuple[Step, ...]
    flags: tuple[str, ...]
    broken: int | None
    large: bool
    settles: int | None

    @property
    def private(self) -> bool:
        """Whether it is marked at any age."""
        return self.lot.klass == "PRIVATE"

    @property
    def listed(self) -> bool:
        """Whether its symbol's statistics are its own: PUBLIC and no option."""
        return self.lot.klass == "PUBLIC" and self.lot.type not in OPTION_TYPES

    @property
    def classified_by(self) -> str:
        """Symbol whose profile says its sector: of an option, the underlying."""
        underlying = self.lot.underlying if self.lot.type in OPTION_TYPES else None
        return underlying or self.lot.symbol


def opened(lot: Lot, events: Iterable[Event]) -> int:
    """Q: the quantity at entry, what is left plus what its events have closed."""
    return lot.quantity + _sign(lot) * sum(event.closed for event in events)


def compile_lot(
    lot: Lot,
    events: Iterable[Event],
    calendar: Calendar,
    newest_close: NewestClose,
    newest: int,
) -> Holding | None:
    """Make a lot's steps; None when it contributes nothing (Q = 0).

    Parameters
    ----------
    events
        The events of this lot and portfolio, in any order.
    newest_close
        Looks up the close that settles an option.
    newest
        T; an expiry after it has not happened.
    """
    events = list(events)
    quantity = opened(lot, events)
    if quantity == 0:
        return None
    entry = calendar.forward(lot.entry)
    expiry = _expiry(lot, calendar)
    cost = half_even(quantity * _multiplier(lot) * lot.entry_price)
    if not events and lot.exit is None and expiry is None:  # most lots: one step
        return _summed(lot, entry, [Step(entry, quantity, cost, 0)], fits(cost))
    made = Trades(lot, entry, expiry)
    made.list.append(Trade(entry, quantity, cost, 0))
    for event in events:
        session = made.clamp(calendar.forward(event.date))
        made.list.append(_closed(lot, session, event))
    settles = None
    if lot.quantity and lot.exit is not None:
        session = made.clamp(calendar.forward(lot.exit))
        made.list.append(_closing(lot, session, abs(lot.quantity), lot.exit_price or 0))
    elif lot.quantity and expiry is not None:
        settles = expiry
        if expiry <= newest:
            made.settle(expiry, newest_close)
    return made.holding(settles)


class Trades:
    """Trades of one lot as they are found, and its flags."""

    def __init__(self, lot: Lot, entry: int, expiry: int | None) -> None:
        self.lot = lot
        self.entry = entry
        self.expiry = expiry
        self.list: list[Trade] = []
        self.flags: set[str] = set()

    def clamp(self, session: int) -> int:
        """Bring the session of a closing into [entry, expiry]."""
        last = session if self.expiry is None else min(session, self.expiry)
        inside = max(last, self.entry)
        if inside != session:
            self.flags.add("date_clamped")
        return inside

    def settle(self, expiry: int, newest_close: NewestClose) -> None:
        """Close what is left at expiry."""
        price, flag = _settlement(self.lot, expiry, newest_close)
        left = abs(self.lot.quantity)
        self.list.append(_closing(self.lot, expiry, left, price))
        if flag:
            self.flags.add(flag)

    def holding(self, settles: int | None) -> Holding:
        """Sum up."""
        bad = [
            t.session for t in self.list if not (fits(t.amount) and fits(t.realized))
        ]
        return structs.replace(
            _summed(self.lot, self.entry, _steps(self.list), not bad),
            flags=tuple(sorted(self.flags)),
            broken=min(bad, default=None),
            settles=settles,
        )


def _steps(trades: list[Trade]) -> list[Step]:
    """Sum trades by session."""
    by_session: dict[int, list[Trade]] = {}
    for trade in trades:
        by_session.setdefault(trade.session, []).append(trade)
    quantity, steps = 0, []
    for session, made in sorted(by_session.items()):
        quantity += sum(trade.delta for trade in made)
        amount = sum(trade.amount for trade in made)
        realized = sum(trade.realized for trade in made)
        steps.append(Step(session, quantity, amount, realized))
    return steps


def _summed(lot: Lot, entry: int, steps: list[Step], sound: bool) -> Holding:
    """Make a lot of its steps; ``sound``: every amount fits 64 bits."""
    many = _multiplier(lot)
    large = lot.entry_price >= SMALL or (lot.last_price or 0) >= SMALL
    for step in steps:
        large |= abs(step.quantity) * many >= SMALL_QUANTITY
        large |= abs(step.amount) >= SMALL or abs(step.realized) >= SMALL
    end = OPEN if steps[-1].quantity else steps[-1].session
    broken = None if sound else entry
    return Holding(lot, entry, end, many, tuple(steps), (), broken, large, None)


def first_difference(old: Holding | None, new: Holding | None) -> int | None:
    """First session whose results two versions of a lot make different, or None."""
    if old is None or new is None:
        one = old or new
        return None if one is None else one.entry
    if _constant(old) != _constant(new):
        return min(old.entry, new.entry)
    breaks = [h.broken for h in (old, new) if h.broken is not None]
    found = [min(breaks)] if old.broken != new.broken else []
    for a, b in zip(old.steps, new.steps, strict=False):
        if a != b:
            return min(a.session, b.session, *found)
    longer = max(old.steps, new.steps, key=len)
    both = min(len(old.steps), len(new.steps))
    found += [longer[both].session] if len(longer) > both else []
    return min(found, default=None)


def _constant(h: Holding) -> tuple[object, ...]:
    """Name what the records of every session say of a lot."""
    lot = h.lot
    mark = lot.last_price if h.private else None
    words = (lot.symbol, lot.type, lot.klass, h.flags)
    return (*words, lot.entry_price, mark, h.entry)


def _sign(lot: Lot) -> int:
    return 1 if lot.type in LONG_TYPES else -1


def _multiplier(lot: Lot) -> int:
    return 100 if lot.type in OPTION_TYPES else 1


def _expiry(lot: Lot, calendar: Calendar) -> int | None:
    if lot.type not in OPTION_TYPES or lot.expiry is None:
        return None
    return calendar.backward(lot.expiry)


def _closing(lot: Lot, session: int, units: int, price: int) -> Trade:
    """Close so many units (without sign) at a price."""
    size = _sign(lot) * units * _multiplier(lot)
    gain = half_even(size * (price - lot.entry_price))
    return Trade(session, -_sign(lot) * units, half_even(-size * price), gain)


def _closed(lot: Lot, session: int, event: Event) -> Trade:
    """Close by an event: at its price, else at the one that its result implies."""
    if event.price is not None:
        return _closing(lot, session, event.closed, event.price)
    realized = event.realized or 0
    cost = event.closed * _multiplier(lot) * lot.entry_price
    gain = realized * 1_000_000
    amount = half_even(-(cost + gain) if _sign(lot) > 0 else cost - gain)
    return Trade(session, -_sign(lot) * event.closed, amount, realized)


def _settlement(
    lot: Lot, expiry: int, newest_close: NewestClose
) -> tuple[int, str | None]:
    """Intrinsic price of an option at its expiry, and what is wrong with it."""
    oldest = expiry - SETTLEMENT_SESSIONS
    session, close = newest_close(lot.underlying or "", oldest, expiry)
    if session < 0:
        return 0, "expired_unpriced"
    gain = close - (lot.strike or 0)
    intrinsic = max(0, gain if lot.type in ("LC", "SC") else -gain)
    return intrinsic, None if session == expiry else "expired_stale"
