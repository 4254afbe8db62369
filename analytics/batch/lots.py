"""What was held of one lot in each session, and what it cost.

Money is in integers of 1/10 000. A product of quantity (1e-4), multiplier and
price (1e-6) is rounded once, half to even; Python's integers do not overflow,
whether a result would fit 64 bits is asked afterwards.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analytics.batch.market import Market, Valuation
from analytics.batch.rows import INT64, Event, Lot

SETTLEMENT_SESSIONS = 4


@dataclass(frozen=True, slots=True)
class Trade:
    """A change of quantity in a session: its cost and the result it realizes."""

    session: int
    delta: int
    amount: int
    realized: int


@dataclass(frozen=True, slots=True)
class Day:
    """One lot in one session. ``valuation`` is None when nothing is held."""

    lot: Lot
    session: int
    quantity: int
    valuation: Valuation | None
    market_value: int
    previous_value: int
    traded: int
    realized: int
    value_fits: bool
    amounts_fit: bool

    @property
    def pnl(self) -> int:
        """Profit of the session, of rounded parts."""
        return self.market_value - self.previous_value - self.traded


def money(units: int) -> int:
    """Units of 1e-10 as units of 1e-4, half to even.

    Examples
    --------
    >>> money(1_500_000), money(2_500_000), money(-2_500_001)
    (2, 2, -3)
    """
    whole, rest = divmod(units, 1_000_000)
    return whole + (rest > 500_000 or (rest == 500_000 and whole % 2 == 1))


def opened(lot: Lot, events: Sequence[Event]) -> int:
    """Q: the quantity at entry, what is left plus what events have closed."""
    return lot.quantity + lot.sign * sum(event.closed for event in events)


def closing(lot: Lot, session: int, units: int, price: int) -> Trade:
    """Close ``units`` (without sign) at a price."""
    delta = -lot.sign * units
    gain = lot.sign * units * lot.multiplier * (price - lot.entry_price)
    return Trade(session, delta, money(delta * lot.multiplier * price), money(gain))


def closed_by(lot: Lot, session: int, event: Event) -> Trade:
    """Close by an event: at its price, else at the price its result implies."""
    if event.price is not None:
        return closing(lot, session, event.closed, event.price)
    assert event.realized is not None  # noqa: S101  (one of the two is filled)
    cost = event.closed * lot.multiplier * lot.entry_price
    realized = event.realized * 1_000_000
    amount = money(-(cost + realized) if lot.sign > 0 else cost - realized)
    return Trade(session, -lot.sign * event.closed, amount, event.realized)


def settlement(lot: Lot, market: Market) -> tuple[int, str | None]:
    """Intrinsic price of an option at its expiry, and what is wrong with it."""
    assert lot.expiry is not None  # noqa: S101  (an option has one)
    assert lot.strike is not None  # noqa: S101
    found = market.last(
        lot.underlying or "", lot.expiry, oldest=lot.expiry - SETTLEMENT_SESSIONS
    )
    if found is None:
        return 0, "expired_unpriced"
    gain = found.close - lot.strike
    intrinsic = max(0, gain if lot.type in ("LC", "SC") else -gain)
    return intrinsic, None if found.session == lot.expiry else "expired_stale"


def trades(
    lot: Lot, events: Sequence[Event], market: Market
) -> tuple[list[Trade], list[str]]:
    """Every trade of a lot, and its flags (sorted)."""
    flags: set[str] = set()

    def clamp(session: int) -> int:
        last = session if lot.expiry is None else min(session, lot.expiry)
        inside = max(last, lot.entry)
        if inside != session:
            flags.add("date_clamped")
        return inside

    quantity = opened(lot, events)
    cost = money(quantity * lot.multiplier * lot.entry_price)
    made = [Trade(lot.entry, quantity, cost, 0)]
    made += [closed_by(lot, clamp(event.session), event) for event in events]
    left = abs(lot.quantity)
    if left and lot.exit is not None and lot.exit_price is not None:
        made.append(closing(lot, clamp(lot.exit), left, lot.exit_price))
    elif left and lot.expiry is not None and lot.expiry <= (market.newest or 0):
        price, flag = settlement(lot, market)
        made.append(closing(lot, lot.expiry, left, price))
        flags.update([flag] if flag else [])
    return made, sorted(flags)


def days(lot: Lot, made: Sequence[Trade], market: Market) -> Iterator[Day]:
    """Walk the sessions in which a lot is listed: held before, after, or traded."""
    by_session: dict[int, list[Trade]] = {}
    for trade in made:
        by_session.setdefault(trade.session, []).append(trade)
    quantity = value = 0
    for session in range(lot.entry, (market.newest or 0) + 1):
        today = by_session.get(session, [])
        if not today and not quantity:
            continue
        quantity, before = quantity + sum(t.delta for t in today), value
        valuation = market.value(lot, session) if quantity else None
        price = valuation.price if valuation else 0
        value = money(quantity * lot.multiplier * price)
        yield Day(
            lot,
            session,
            quantity,
            valuation,
            value,
            before,
            sum(t.amount for t in today),
            sum(t.realized for t in today),
            value in INT64,
            all(t.amount in INT64 and t.realized in INT64 for t in today),
        )
