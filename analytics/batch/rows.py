"""Which source rows count, decided again from the raw rows.

The door of the running system has its own copy of these rules (in
``analytics.validity``); this one is written from the definition alone, so that
a mistake in one of them is a difference and not an agreement. Only the calendar
is shared.

Units: quantities and amounts are integers of 1/10 000, prices of 1/1 000 000.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from typing import Any, TypeVar

from analytics.calendar import Calendar, OutOfCalendarError

Raw = Mapping[str, Any]
Parsed = TypeVar("Parsed")

INT64 = range(-(2**63), 2**63)
LONG = ("LONG", "LC", "LP")
SHORT = ("SHORT", "SC", "SP")
OPTIONS = ("LC", "LP", "SC", "SP")


class RefusedError(ValueError):
    """The row does not count; the message says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class Portfolio:
    """A portfolio: the equity before its first session, and a wished first one."""

    id: int
    equity: int
    inception: int | None


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot, its dates already rolled to sessions; ``expiry`` only of options."""

    id: int
    portfolio: int
    symbol: str
    type: str
    klass: str
    quantity: int
    entry_price: int
    entry: int
    exit_price: int | None
    exit: int | None
    underlying: str | None
    strike: int | None
    expiry: int | None
    last_price: int | None

    @property
    def multiplier(self) -> int:
        """Units of the underlying that one unit of quantity stands for."""
        return 100 if self.type in OPTIONS else 1

    @property
    def sign(self) -> int:
        """Direction: +1 long, -1 short."""
        return 1 if self.type in LONG else -1


@dataclass(frozen=True, slots=True)
class Flow:
    """Money that came (positive) or went (negative), on a session."""

    id: int
    portfolio: int
    amount: int
    session: int


@dataclass(frozen=True, slots=True)
class Event:
    """A partial closing of a lot: ``closed`` is without sign."""

    id: int
    portfolio: int
    lot: int
    session: int
    closed: int
    price: int | None
    realized: int | None


@dataclass(frozen=True, slots=True)
class Price:
    """A close of a session."""

    symbol: str
    session: int
    close: int
    adjusted: float | None


@dataclass(frozen=True, slots=True)
class Profile:
    """What kind of company a symbol is."""

    symbol: str
    sector: str | None
    is_etf: bool


@dataclass(frozen=True, slots=True)
class Weight:
    """A sector's share of a benchmark from a date (an ordinal, not rolled) on."""

    id: int
    benchmark: str
    sector: str
    weight: float
    day: int


def scaled(value: Decimal | int | float | None, places: int) -> int | None:
    """Value as an exact integer of 10**-places, None for None.

    Raises
    ------
    RefusedError
        When it is not finite, has more decimals, or does not fit 64 bits.

    Examples
    --------
    >>> scaled(Decimal("50.000000"), 4), scaled(None, 4)
    (500000, None)
    """
    if value is None:
        return None
    number = Decimal(value)
    if not number.is_finite():
        message = f"{value} is not finite"
        raise RefusedError(message)
    with localcontext(prec=200):
        units = number.scaleb(places)
        whole = int(units)
        if units != whole:
            message = f"{value} has more than {places} decimals"
            raise RefusedError(message)
    if whole not in INT64:
        message = f"{value} does not fit"
        raise RefusedError(message)
    return whole


def price(value: Decimal | None) -> int | None:
    """Scale a price column: at least zero."""
    units = scaled(value, 6)
    if units is not None and units < 0:
        message = f"price {value} is negative"
        raise RefusedError(message)
    return units


def filled(value: Any, column: str) -> Any:
    """Take a column that must not be NULL (nor empty, as text)."""
    if value is None or value == "":
        message = f"{column} is missing"
        raise RefusedError(message)
    return value


def rolled(day: date | None, roll: Callable[[int], int]) -> int | None:
    """Session of a date, None for None."""
    if day is None:
        return None
    try:
        return roll(day.toordinal())
    except OutOfCalendarError as error:
        message = f"{day} has no session"
        raise RefusedError(message) from error


def portfolio(raw: Raw, calendar: Calendar) -> Portfolio:
    """Parse a row of ``portfolios``."""
    equity = scaled(filled(raw["equity_balance"], "equity_balance"), 4)
    assert equity is not None  # noqa: S101  (filled)
    return Portfolio(raw["id"], equity, rolled(raw["inception_date"], calendar.forward))


def lot(raw: Raw, calendar: Calendar) -> Lot:
    """Parse a row of ``positions``."""
    kind, klass = raw["position_type"], raw["investment_class"]
    if kind not in LONG + SHORT or klass not in ("PUBLIC", "OPTIONS", "PRIVATE"):
        message = f"{kind} {klass} is no kind of lot"
        raise RefusedError(message)
    expiry = rolled(raw["expiration_date"], calendar.backward)
    made = Lot(
        id=raw["id"],
        portfolio=raw["portfolio_id"],
        symbol=filled(raw["symbol"], "symbol"),
        type=kind,
        klass=klass,
        quantity=scaled(filled(raw["quantity"], "quantity"), 4) or 0,
        entry_price=price(filled(raw["entry_price"], "entry_price")) or 0,
        entry=rolled(filled(raw["entry_date"], "entry_date"), calendar.forward) or 0,
        exit_price=price(raw["exit_price"]),
        exit=rolled(raw["exit_date"], calendar.forward),
        underlying=raw["underlying_symbol"],
        strike=price(raw["strike_price"]),
        expiry=expiry if kind in OPTIONS else None,
        last_price=price(raw["last_price"]),
    )
    _agree(made)
    return made


def _agree(made: Lot) -> None:
    """Refuse a lot whose columns contradict each other."""
    if made.quantity * made.sign < 0:
        message = f"{made.type} of {made.quantity}"
        raise RefusedError(message)
    if (made.exit is None) != (made.exit_price is None):
        message = "an exit needs a date and a price"
        raise RefusedError(message)
    if made.type in OPTIONS and (
        not made.underlying or made.strike is None or made.expiry is None
    ):
        message = "an option needs underlying, strike and expiry"
        raise RefusedError(message)
    for last in (made.exit, made.expiry):
        if last is not None and last < made.entry:
            message = "closed before it was opened"
            raise RefusedError(message)


def flow(raw: Raw, calendar: Calendar) -> Flow:
    """Parse a row of ``equity_changes``."""
    if raw["change_type"] not in ("CONTRIBUTION", "WITHDRAWAL"):
        message = f"{raw['change_type']} is no kind of flow"
        raise RefusedError(message)
    amount = scaled(filled(raw["amount"], "amount"), 4) or 0
    if amount <= 0:
        message = "a flow's amount is positive"
        raise RefusedError(message)
    session = rolled(filled(raw["change_date"], "change_date"), calendar.forward)
    signed = amount if raw["change_type"] == "CONTRIBUTION" else -amount
    return Flow(raw["id"], raw["portfolio_id"], signed, session or 0)


def event(raw: Raw, calendar: Calendar) -> Event:
    """Parse a row of ``position_realized_events``."""
    closed = scaled(filled(raw["quantity_closed"], "quantity_closed"), 4)
    if not closed:
        message = "an event closes something"
        raise RefusedError(message)
    at, realized = price(raw["exit_price"]), scaled(raw["realized_pnl"], 4)
    if at is None and realized is None:
        message = "an event has a price or a result"
        raise RefusedError(message)
    session = rolled(filled(raw["trade_date"], "trade_date"), calendar.forward)
    return Event(
        id=raw["id"],
        portfolio=raw["portfolio_id"],
        lot=raw["position_id"],
        session=session or 0,
        closed=abs(closed),
        price=at,
        realized=realized,
    )


def close(raw: Raw, calendar: Calendar) -> Price:
    """Parse a row of ``market_data_cache``."""
    session = calendar.index(raw["date"].toordinal())
    if session is None:
        message = f"{raw['date']} is no session"
        raise RefusedError(message)
    for column in ("open", "high", "low"):
        price(raw[column])
    at = price(filled(raw["close"], "close"))
    adjusted = raw["adj_close"]
    if not at or (adjusted is not None and not 0 < adjusted < float("inf")):
        message = "a close is positive and finite"
        raise RefusedError(message)
    return Price(filled(raw["symbol"], "symbol"), session, at, adjusted)


def profile(raw: Raw, calendar: Calendar) -> Profile:
    """Parse a row of ``company_profiles``."""
    return Profile(filled(raw["symbol"], "symbol"), raw["sector"], raw["is_etf"])


def weight(raw: Raw, calendar: Calendar) -> Weight:
    """Parse a row of ``benchmarks_sector_weights``."""
    scaled(filled(raw["weight"], "weight"), 8)
    day = filled(raw["effective_date"], "effective_date").toordinal()
    if not calendar.first <= day <= calendar.last:
        message = f"{raw['effective_date']} is outside the calendar"
        raise RefusedError(message)
    code = filled(raw["benchmark_code"], "benchmark_code")
    return Weight(raw["id"], code, raw["sector"], float(raw["weight"]), day)


def valid(
    rows: Iterable[Raw],
    parse: Callable[[Raw, Calendar], Parsed],
    calendar: Calendar,
) -> list[Parsed]:
    """Parse the rows that count: not deleted and not refused."""
    kept = []
    for raw in rows:
        if raw.get("deleted_at") is not None:
            continue
        try:
            kept.append(parse(raw, calendar))
        except RefusedError:
            continue
    return kept
