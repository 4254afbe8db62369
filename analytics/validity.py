"""Which source rows count, and what they say in exact integers.

Validity is a predicate of one row by itself (``analytics.md`` section 0): no
other row, no clock, no earlier version. A raw row is a mapping of columns as
Debezium's JSON gives them: decimals as text (``"50.000000"``, ``"NAN"``),
doubles as numbers or, where not finite, as text, dates as days since
1970-01-01, timestamps as text.
"""

from collections.abc import Callable

from analytics import columns as read
from analytics.calendar import Calendar
from analytics.columns import Raw, Reason, Refusal, RefusedError
from analytics.rows import (
    AMOUNT_SCALE,
    CLASSES,
    LONG_TYPES,
    OPTION_TYPES,
    PRICE_SCALE,
    SHORT_TYPES,
    Event,
    Flow,
    Lot,
    Portfolio,
    Price,
    Profile,
    Row,
    Weight,
)

WEIGHT_SCALE = 8
INT64_MAX = 2**63 - 1
TYPES = LONG_TYPES | SHORT_TYPES
FLOW_SIGN = {"CONTRIBUTION": 1, "WITHDRAWAL": -1}

__all__ = ["Raw", "Reason", "Refusal", "validate"]


def validate(table: str, raw: Raw, calendar: Calendar) -> Row | Refusal | None:
    """Read one source row.

    Parameters
    ----------
    table
        Unqualified name of the source table.
    raw
        Its columns. Unknown ones are not looked at; of those that no result needs
        (open, high, low, volume) a filled one is checked and a missing one is not
        missed.
    calendar
        Sessions and bounds: every filled date must be within the bounds and have
        a session to roll to, a price's must be a session.

    Returns
    -------
    Row
        The row in exact integers: quantities and amounts in 1e-4, prices in 1e-6,
        rounded nowhere.
    None
        The row is deleted (``deleted_at`` is set), whatever else it holds.
    Refusal
        The row breaks a rule. It counts as absent.

    Notes
    -----
    Total: nothing that JSON can hold makes it raise. About 4 µs for a price.

    Examples
    --------
    >>> week = Calendar([738886, 738887], [0, 1], 738886, 738890)
    >>> price = {"symbol": "A", "date": 19723, "close": "50.5", "adj_close": None}
    >>> validate("market_data_cache", price, week)
    Price(symbol='A', date=738886, close=50500000, adj_close=None)
    >>> validate("market_data_cache", price | {"close": "-1"}, week).reason
    <Reason.NOT_POSITIVE: 'not_positive'>
    """
    if raw.get("deleted_at") is not None:
        return None
    reader = _READERS.get(table)
    if reader is None:
        return Refusal(Reason.UNKNOWN_TABLE, "", table)
    try:
        return reader(raw, calendar)
    except RefusedError as refused:
        return refused.refusal
    except KeyError as error:
        return Refusal(Reason.MISSING_COLUMN, str(error.args[0]), None)


# --- one reader a table; a column that is not there is a KeyError ---


def _portfolio(raw: Raw, calendar: Calendar) -> Portfolio:
    read.kept(raw)
    name = raw.get("name")
    return Portfolio(
        read.identity(raw, "id"),
        name if type(name) is str else "",
        read.amount(raw, "equity_balance"),
        read.day_or_none(raw, "inception_date", calendar.forward),
    )


def _lot(raw: Raw, calendar: Calendar) -> Lot:
    read.kept(raw)
    lot = Lot(
        id=read.identity(raw, "id"),
        portfolio=read.identity(raw, "portfolio_id"),
        symbol=read.text(raw, "symbol"),
        type=read.word(raw, "position_type", TYPES),
        klass=read.word(raw, "investment_class", CLASSES),
        quantity=read.quantity(raw, "quantity"),
        entry_price=read.price(raw, "entry_price"),
        entry=read.day(raw, "entry_date", calendar.forward),
        exit_price=read.price_or_none(raw, "exit_price"),
        exit=read.day_or_none(raw, "exit_date", calendar.forward),
        underlying=read.text_or_none(raw, "underlying_symbol"),
        strike=read.price_or_none(raw, "strike_price"),
        expiry=read.day_or_none(raw, "expiration_date", calendar.backward),
        last_price=read.price_or_none(raw, "last_price"),
    )
    _agree_sign(raw, lot)
    _agree_exit(raw, lot, calendar)
    if lot.type in OPTION_TYPES:
        _agree_option(raw, lot, calendar)
    return lot


def _agree_sign(raw: Raw, lot: Lot) -> None:
    wrong = lot.quantity < 0 if lot.type in LONG_TYPES else lot.quantity > 0
    if wrong:
        raise RefusedError(Reason.WRONG_SIGN, "quantity", raw["quantity"])


def _agree_exit(raw: Raw, lot: Lot, calendar: Calendar) -> None:
    if (lot.exit is None) != (lot.exit_price is None):
        column = "exit_date" if lot.exit is None else "exit_price"
        raise RefusedError(Reason.HALF_AN_EXIT, column, None)
    if lot.exit is None:
        return
    if calendar.forward(lot.exit) < calendar.forward(lot.entry):
        reason = Reason.CLOSED_BEFORE_ENTRY
        raise RefusedError(reason, "exit_date", raw["exit_date"])


def _agree_option(raw: Raw, lot: Lot, calendar: Calendar) -> None:
    for column, value in (
        ("underlying_symbol", lot.underlying or None),
        ("strike_price", lot.strike),
        ("expiration_date", lot.expiry),
    ):
        if value is None:
            raise RefusedError(Reason.HALF_AN_OPTION, column, raw[column])
    expiry = lot.expiry or 0
    if calendar.backward(expiry) < calendar.forward(lot.entry):
        reason = Reason.CLOSED_BEFORE_ENTRY
        raise RefusedError(reason, "expiration_date", raw["expiration_date"])


def _flow(raw: Raw, calendar: Calendar) -> Flow:
    read.kept(raw)
    amount = read.amount(raw, "amount")
    if amount <= 0:
        raise RefusedError(Reason.NOT_POSITIVE, "amount", raw["amount"])
    sign = FLOW_SIGN[read.word(raw, "change_type", FLOW_SIGN)]
    return Flow(
        read.identity(raw, "id"),
        read.identity(raw, "portfolio_id"),
        sign * amount,
        read.day(raw, "change_date", calendar.forward),
    )


def _event(raw: Raw, calendar: Calendar) -> Event:
    read.kept(raw)
    closed = abs(read.quantity(raw, "quantity_closed"))
    if closed == 0 or closed > INT64_MAX:
        reason = Reason.TOO_LARGE if closed else Reason.ZERO_QUANTITY
        raise RefusedError(reason, "quantity_closed", raw["quantity_closed"])
    price = read.price_or_none(raw, "exit_price")
    realized = read.scaled(raw, "realized_pnl", AMOUNT_SCALE)
    if price is None and realized is None:
        raise RefusedError(Reason.EVENT_WITHOUT_VALUE, "exit_price", None)
    return Event(
        read.identity(raw, "id"),
        read.identity(raw, "portfolio_id"),
        read.identity(raw, "position_id"),
        read.day(raw, "trade_date", calendar.forward),
        closed,
        price,
        realized,
    )


def _market(raw: Raw, calendar: Calendar) -> Price:
    close = read.not_none(raw, "close", read.scaled(raw, "close", PRICE_SCALE))
    if close <= 0:
        raise RefusedError(Reason.NOT_POSITIVE, "close", raw["close"])
    for column in ("open", "high", "low"):
        if raw.get(column) is not None:
            read.price_or_none(raw, column)
    if type(raw.get("volume")) is not int and raw.get("volume") is not None:
        read.double(raw, "volume")
    adjusted = None if raw["adj_close"] is None else read.double(raw, "adj_close")
    if adjusted is not None and adjusted <= 0:
        raise RefusedError(Reason.NOT_POSITIVE, "adj_close", raw["adj_close"])
    return Price(
        read.text(raw, "symbol"), read.session(raw, "date", calendar), close, adjusted
    )


def _profile(raw: Raw, calendar: Calendar) -> Profile:
    is_etf = raw["is_etf"]
    if type(is_etf) is not bool:
        reason = Reason.NULL if is_etf is None else Reason.WRONG_TYPE
        raise RefusedError(reason, "is_etf", is_etf)
    return Profile(read.text(raw, "symbol"), read.text_or_none(raw, "sector"), is_etf)


def _weight(raw: Raw, calendar: Calendar) -> Weight:
    read.not_none(raw, "weight", read.scaled(raw, "weight", WEIGHT_SCALE))
    return Weight(
        read.identity(raw, "id"),
        read.text(raw, "benchmark_code"),
        read.not_none(raw, "sector", read.text_or_none(raw, "sector")),
        # Nearest double of the decimal as written, not of a product or quotient.
        read.double(raw, "weight"),
        read.day(raw, "effective_date", read.within(calendar)),
    )


_READERS: dict[str, Callable[[Raw, Calendar], Row]] = {
    "portfolios": _portfolio,
    "positions": _lot,
    "equity_changes": _flow,
    "position_realized_events": _event,
    "market_data_cache": _market,
    "company_profiles": _profile,
    "benchmarks_sector_weights": _weight,
}
