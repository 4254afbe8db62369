"""One column of a raw row: read by type, or refused.

Each reader takes the raw row and a column's name and gives its value in the
units of ``analytics.rows``; a column that is not there is a ``KeyError``.
"""

from collections.abc import Callable, Container, Mapping
from enum import StrEnum
from typing import TypeAlias, TypeVar

from msgspec import Struct

from analytics.calendar import Calendar, OutOfCalendarError
from analytics.decimals import INT64, scale_exactly
from analytics.decimals import double as to_double
from analytics.rows import AMOUNT_SCALE, PRICE_SCALE, QUANTITY_SCALE

Raw: TypeAlias = Mapping[str, object]
_Value = TypeVar("_Value")

EPOCH_ORDINAL = 719_163
"""``date(1970, 1, 1).toordinal()``: Debezium counts days from there."""


class Reason(StrEnum):
    """Why a row is refused."""

    UNKNOWN_TABLE = "unknown_table"
    MISSING_COLUMN = "missing_column"
    NULL = "null"
    WRONG_TYPE = "wrong_type"
    EMPTY = "empty"
    UNKNOWN_WORD = "unknown_word"
    NOT_A_NUMBER = "not_a_number"
    NOT_FINITE = "not_finite"
    TOO_MANY_DECIMALS = "too_many_decimals"
    TOO_LARGE = "too_large"
    NEGATIVE_PRICE = "negative_price"
    NOT_POSITIVE = "not_positive"
    ZERO_QUANTITY = "zero_quantity"
    WRONG_SIGN = "wrong_sign"
    DATE_OUTSIDE_CALENDAR = "date_outside_calendar"
    NOT_A_SESSION = "not_a_session"
    HALF_AN_EXIT = "half_an_exit"
    HALF_AN_OPTION = "half_an_option"
    CLOSED_BEFORE_ENTRY = "closed_before_entry"
    EVENT_WITHOUT_VALUE = "event_without_value"


class Refusal(Struct, frozen=True):
    """A row does not count: the first rule it breaks, where, and by what value."""

    reason: Reason
    column: str
    value: object


class RefusedError(Exception):
    """Carries a refusal from the checks of one row to ``validate``, no further."""

    def __init__(self, reason: Reason, column: str, value: object) -> None:
        super().__init__(reason, column, value)
        self.refusal = Refusal(reason, column, value)


def kept(raw: Raw) -> None:
    """Insist on the column that says whether the row is deleted."""
    raw["deleted_at"]


def not_none(raw: Raw, column: str, value: _Value | None) -> _Value:
    """Insist on a value."""
    if value is None:
        raise RefusedError(Reason.NULL, column, raw[column])
    return value


def identity(raw: Raw, column: str) -> int:
    """Read an id: an integer of 64 bits."""
    value = raw[column]
    if type(value) is not int:
        raise RefusedError(_null_or(Reason.WRONG_TYPE, value), column, value)
    if value not in INT64:
        raise RefusedError(Reason.TOO_LARGE, column, value)
    return value


def text(raw: Raw, column: str) -> str:
    """Read text that is not empty."""
    value = raw[column]
    if type(value) is not str:
        raise RefusedError(_null_or(Reason.WRONG_TYPE, value), column, value)
    if not value:
        raise RefusedError(Reason.EMPTY, column, value)
    return value


def text_or_none(raw: Raw, column: str) -> str | None:
    """Read text, which may be empty."""
    value = raw[column]
    if value is None or type(value) is str:
        return value
    raise RefusedError(Reason.WRONG_TYPE, column, value)


def word(raw: Raw, column: str, words: Container[str]) -> str:
    """Read one of a set of words, verbatim."""
    value = raw[column]
    if type(value) is not str or value not in words:
        raise RefusedError(_null_or(Reason.UNKNOWN_WORD, value), column, value)
    return value


def _null_or(reason: Reason, value: object) -> Reason:
    return Reason.NULL if value is None else reason


def scaled(raw: Raw, column: str, scale: int) -> int | None:
    """Read a decimal as an integer of ``scale`` decimals."""
    value = raw[column]
    if value is None:
        return None
    units = scale_exactly(value, scale)
    if type(units) is int:
        return units
    raise RefusedError(Reason(str(units)), column, value)


def quantity(raw: Raw, column: str) -> int:
    """Read a quantity, in 1e-4."""
    return not_none(raw, column, scaled(raw, column, QUANTITY_SCALE))


def amount(raw: Raw, column: str) -> int:
    """Read an amount of money, in 1e-4."""
    return not_none(raw, column, scaled(raw, column, AMOUNT_SCALE))


def price(raw: Raw, column: str) -> int:
    """Read a price, in 1e-6, at least zero."""
    return not_none(raw, column, price_or_none(raw, column))


def price_or_none(raw: Raw, column: str) -> int | None:
    """Read a price that may be NULL."""
    units = scaled(raw, column, PRICE_SCALE)
    if units is not None and units < 0:
        raise RefusedError(Reason.NEGATIVE_PRICE, column, raw[column])
    return units


def double(raw: Raw, column: str) -> float:
    """Read a finite double."""
    value = to_double(raw[column])
    if type(value) is float:
        return value
    raise RefusedError(Reason(str(value)), column, raw[column])


def day(raw: Raw, column: str, roll: Callable[[int], object]) -> int:
    """Read the ordinal of a date that can be rolled by ``roll``."""
    return not_none(raw, column, day_or_none(raw, column, roll))


def day_or_none(raw: Raw, column: str, roll: Callable[[int], object]) -> int | None:
    """Read the ordinal of a date that can be rolled, or NULL; it is not yet rolled."""
    value = raw[column]
    if value is None:
        return None
    if type(value) is not int:
        raise RefusedError(Reason.WRONG_TYPE, column, value)
    ordinal = value + EPOCH_ORDINAL
    try:
        roll(ordinal)
    except OutOfCalendarError:
        reason = Reason.DATE_OUTSIDE_CALENDAR
        raise RefusedError(reason, column, value) from None
    return ordinal


def session(raw: Raw, column: str, calendar: Calendar) -> int:
    """Read the ordinal of a date that is itself a session."""
    value = raw[column]
    if type(value) is not int:
        raise RefusedError(_null_or(Reason.WRONG_TYPE, value), column, value)
    ordinal = value + EPOCH_ORDINAL
    if calendar.index(ordinal) is None:
        outside = not calendar.first <= ordinal <= calendar.last
        reason = Reason.DATE_OUTSIDE_CALENDAR if outside else Reason.NOT_A_SESSION
        raise RefusedError(reason, column, value)
    return ordinal


def within(calendar: Calendar) -> Callable[[int], object]:
    """Check for a date that is compared, not rolled: it must be inside the bounds."""

    def check(day: int) -> None:
        if not calendar.first <= day <= calendar.last:
            raise OutOfCalendarError(day)

    return check
