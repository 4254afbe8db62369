"""The rules of the door, one by one, and that nothing in JSON makes it raise."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analytics.calendar import Calendar
from analytics.decimals import DecimalFault, double, scale_exactly
from analytics.rows import (
    TABLES,
    Event,
    Flow,
    Lot,
    Portfolio,
    Price,
    Profile,
    Weight,
)
from analytics.validity import Reason, Refusal, validate

EPOCH = 719_163
MONDAY = 19_723  # 2024-01-01 as Debezium counts; a session in this calendar
FRIDAY, SATURDAY, SUNDAY = MONDAY + 4, MONDAY + 5, MONDAY + 6
NEXT_MONDAY = MONDAY + 7
SESSIONS = [MONDAY + week * 7 + day for week in range(3) for day in range(5)]
CALENDAR = Calendar(
    [EPOCH + day for day in SESSIONS],
    [0] * len(SESSIONS),
    EPOCH + MONDAY - 2,
    EPOCH + MONDAY + 20,  # the Sunday of the third week
)

PORTFOLIO: dict[str, Any] = {
    "id": 1,
    "name": "one",
    "currency": "USD",
    "inception_date": MONDAY,
    "equity_balance": "1000.0000",
    "deleted_at": None,
}
LOT: dict[str, Any] = {
    "id": 2,
    "portfolio_id": 1,
    "symbol": "A",
    "position_type": "LONG",
    "investment_class": "PUBLIC",
    "quantity": "10.5000",
    "entry_price": "50.250000",
    "entry_date": MONDAY,
    "exit_price": None,
    "exit_date": None,
    "underlying_symbol": None,
    "strike_price": None,
    "expiration_date": None,
    "last_price": None,
    "deleted_at": None,
}
OPTION = LOT | {
    "position_type": "SC",
    "investment_class": "OPTIONS",
    "quantity": "-1",
    "underlying_symbol": "U",
    "strike_price": "5",
    "expiration_date": FRIDAY,
}
FLOW: dict[str, Any] = {
    "id": 3,
    "portfolio_id": 1,
    "change_type": "CONTRIBUTION",
    "amount": "5.0000",
    "change_date": SUNDAY,
    "deleted_at": None,
}
EVENT: dict[str, Any] = {
    "id": 4,
    "portfolio_id": 1,
    "position_id": 2,
    "trade_date": FRIDAY,
    "quantity_closed": "-2.5000",
    "exit_price": "61.000000",
    "realized_pnl": None,
    "deleted_at": None,
}
PRICE: dict[str, Any] = {
    "symbol": "A",
    "date": MONDAY,
    "open": "50.000000",
    "high": None,
    "low": None,
    "close": "50.500000",
    "adj_close": 49.9,
    "volume": 100,
}
PROFILE: dict[str, Any] = {"symbol": "A", "sector": "Energy", "is_etf": False}
WEIGHT: dict[str, Any] = {
    "id": 5,
    "benchmark_code": "SP500",
    "sector": "Energy",
    "weight": "0.04200000",
    "effective_date": SATURDAY,
}
VALID = {
    "portfolios": PORTFOLIO,
    "positions": LOT,
    "equity_changes": FLOW,
    "position_realized_events": EVENT,
    "market_data_cache": PRICE,
    "company_profiles": PROFILE,
    "benchmarks_sector_weights": WEIGHT,
}
HUGE = "922337203685477.5808"  # 2**63 units of 1e-4


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("portfolios", Portfolio(1, "one", 10_000_000, EPOCH + MONDAY)),
        (
            "positions",
            Lot(
                2, 1, "A", "LONG", "PUBLIC", 105_000, 50_250_000, EPOCH + MONDAY,
                None, None, None, None, None, None,
            ),
        ),
        ("equity_changes", Flow(3, 1, 50_000, EPOCH + SUNDAY)),
        (
            "position_realized_events",
            Event(4, 1, 2, EPOCH + FRIDAY, 25_000, 61_000_000, None),
        ),
        ("market_data_cache", Price("A", EPOCH + MONDAY, 50_500_000, 49.9)),
        ("company_profiles", Profile("A", "Energy", False)),
        (
            "benchmarks_sector_weights",
            Weight(5, "SP500", "Energy", 0.042, EPOCH + SATURDAY),
        ),
    ],
)  # fmt: skip
def test_a_valid_row_is_read_in_exact_integers_and_dates_are_not_rolled(table, row):
    assert validate(table, VALID[table], CALENDAR) == row


REFUSED: list[tuple[str, dict[str, Any], Reason, str]] = [
    ("portfolios", {"equity_balance": None}, Reason.NULL, "equity_balance"),
    ("portfolios", {"equity_balance": "NAN"}, Reason.NOT_FINITE, "equity_balance"),
    ("portfolios", {"equity_balance": HUGE}, Reason.TOO_LARGE, "equity_balance"),
    (
        "portfolios",
        {"inception_date": MONDAY + 18 + 2},  # the last Sunday: nothing after it
        Reason.DATE_OUTSIDE_CALENDAR,
        "inception_date",
    ),
    ("positions", {"symbol": ""}, Reason.EMPTY, "symbol"),
    ("positions", {"position_type": "long"}, Reason.UNKNOWN_WORD, "position_type"),
    ("positions", {"investment_class": None}, Reason.NULL, "investment_class"),
    (
        "positions",
        {"investment_class": "BOND"},
        Reason.UNKNOWN_WORD,
        "investment_class",
    ),
    ("positions", {"quantity": "-1"}, Reason.WRONG_SIGN, "quantity"),
    ("positions", {"position_type": "SHORT"}, Reason.WRONG_SIGN, "quantity"),
    ("positions", {"quantity": "0.00001"}, Reason.TOO_MANY_DECIMALS, "quantity"),
    ("positions", {"entry_price": "-0.000001"}, Reason.NEGATIVE_PRICE, "entry_price"),
    ("positions", {"last_price": "-1"}, Reason.NEGATIVE_PRICE, "last_price"),
    ("positions", {"strike_price": "-1"}, Reason.NEGATIVE_PRICE, "strike_price"),
    ("positions", {"exit_date": FRIDAY}, Reason.HALF_AN_EXIT, "exit_price"),
    ("positions", {"exit_price": "1"}, Reason.HALF_AN_EXIT, "exit_date"),
    (
        "positions",
        {"entry_date": SATURDAY, "exit_date": FRIDAY, "exit_price": "1"},
        Reason.CLOSED_BEFORE_ENTRY,
        "exit_date",
    ),
    ("positions", {"position_type": "LC"}, Reason.HALF_AN_OPTION, "underlying_symbol"),
    (
        "positions",
        OPTION | {"underlying_symbol": ""},
        Reason.HALF_AN_OPTION,
        "underlying_symbol",
    ),
    (
        "positions",
        OPTION | {"strike_price": None},
        Reason.HALF_AN_OPTION,
        "strike_price",
    ),
    (
        "positions",
        OPTION | {"expiration_date": None},
        Reason.HALF_AN_OPTION,
        "expiration_date",
    ),
    (
        # The expiry rolls back to Friday, the entry forward to Monday.
        "positions",
        OPTION | {"entry_date": SATURDAY, "expiration_date": SUNDAY},
        Reason.CLOSED_BEFORE_ENTRY,
        "expiration_date",
    ),
    (
        "positions",
        {"expiration_date": MONDAY - 1},  # nothing before it; whatever the type
        Reason.DATE_OUTSIDE_CALENDAR,
        "expiration_date",
    ),
    ("equity_changes", {"amount": "0"}, Reason.NOT_POSITIVE, "amount"),
    ("equity_changes", {"amount": "-5"}, Reason.NOT_POSITIVE, "amount"),
    ("equity_changes", {"change_type": "GIFT"}, Reason.UNKNOWN_WORD, "change_type"),
    (
        "equity_changes",
        {"change_date": -2_147_472_692},  # infinity
        Reason.DATE_OUTSIDE_CALENDAR,
        "change_date",
    ),
    (
        "position_realized_events",
        {"quantity_closed": "0.0000"},
        Reason.ZERO_QUANTITY,
        "quantity_closed",
    ),
    (
        "position_realized_events",
        {"quantity_closed": f"-{HUGE}"},  # it fits, its size does not
        Reason.TOO_LARGE,
        "quantity_closed",
    ),
    (
        "position_realized_events",
        {"exit_price": None},
        Reason.EVENT_WITHOUT_VALUE,
        "exit_price",
    ),
    (
        "position_realized_events",
        {"exit_price": "-1"},
        Reason.NEGATIVE_PRICE,
        "exit_price",
    ),
    (
        "position_realized_events",
        {"realized_pnl": "0.00001"},
        Reason.TOO_MANY_DECIMALS,
        "realized_pnl",
    ),
    ("market_data_cache", {"close": None}, Reason.NULL, "close"),
    ("market_data_cache", {"close": "0"}, Reason.NOT_POSITIVE, "close"),
    ("market_data_cache", {"close": "-50"}, Reason.NOT_POSITIVE, "close"),
    ("market_data_cache", {"close": "fifty"}, Reason.NOT_A_NUMBER, "close"),
    ("market_data_cache", {"close": "9223372036854.775808"}, Reason.TOO_LARGE, "close"),
    ("market_data_cache", {"open": "NaN"}, Reason.NOT_FINITE, "open"),
    ("market_data_cache", {"low": "-1"}, Reason.NEGATIVE_PRICE, "low"),
    ("market_data_cache", {"volume": "Infinity"}, Reason.NOT_FINITE, "volume"),
    ("market_data_cache", {"adj_close": 0.0}, Reason.NOT_POSITIVE, "adj_close"),
    ("market_data_cache", {"adj_close": "NaN"}, Reason.NOT_FINITE, "adj_close"),
    ("market_data_cache", {"adj_close": "Infinity"}, Reason.NOT_FINITE, "adj_close"),
    ("market_data_cache", {"date": SATURDAY}, Reason.NOT_A_SESSION, "date"),
    ("market_data_cache", {"date": 0}, Reason.DATE_OUTSIDE_CALENDAR, "date"),
    ("market_data_cache", {"symbol": None}, Reason.NULL, "symbol"),
    ("company_profiles", {"symbol": ""}, Reason.EMPTY, "symbol"),
    ("company_profiles", {"is_etf": None}, Reason.NULL, "is_etf"),
    ("company_profiles", {"is_etf": 1}, Reason.WRONG_TYPE, "is_etf"),
    ("benchmarks_sector_weights", {"weight": "NAN"}, Reason.NOT_FINITE, "weight"),
    (
        "benchmarks_sector_weights",
        {"benchmark_code": ""},
        Reason.EMPTY,
        "benchmark_code",
    ),
    (
        "benchmarks_sector_weights",
        {"weight": "0.123456789"},
        Reason.TOO_MANY_DECIMALS,
        "weight",
    ),
    (
        "benchmarks_sector_weights",
        {"effective_date": 0},
        Reason.DATE_OUTSIDE_CALENDAR,
        "effective_date",
    ),
    ("positions", {"id": "2"}, Reason.WRONG_TYPE, "id"),
    ("positions", {"portfolio_id": None}, Reason.NULL, "portfolio_id"),
    ("positions", {"id": 2**63}, Reason.TOO_LARGE, "id"),
    ("positions", {"entry_date": "2024-01-01"}, Reason.WRONG_TYPE, "entry_date"),
]


@pytest.mark.parametrize(("table", "spoil", "reason", "column"), REFUSED)
def test_a_row_that_breaks_a_rule_is_refused_with_reason_and_column(
    table, spoil, reason, column
):
    row = VALID[table] | spoil
    assert validate(table, row, CALENDAR) == Refusal(reason, column, row[column])


ADMITTED: list[tuple[str, dict[str, Any]]] = [
    ("portfolios", {"equity_balance": "-1000.0000"}),
    ("portfolios", {"inception_date": None}),
    ("positions", {"quantity": "0.0000"}),
    ("positions", {"position_type": "SHORT", "quantity": "0"}),
    ("positions", {"quantity": "50.000000"}),  # by value
    ("positions", {"entry_price": "0"}),
    ("positions", {"expiration_date": MONDAY}),  # no option: it means nothing
    ("positions", OPTION),
    ("positions", OPTION | {"expiration_date": MONDAY}),
    ("positions", OPTION | {"expiration_date": SUNDAY, "entry_date": FRIDAY}),
    ("positions", {"exit_date": MONDAY, "exit_price": "0"}),
    # Both roll to the same session.
    ("positions", {"entry_date": SATURDAY, "exit_date": SUNDAY, "exit_price": "1"}),
    ("positions", {"entry_date": SUNDAY, "exit_date": SATURDAY, "exit_price": "1"}),
    ("position_realized_events", {"exit_price": None, "realized_pnl": "-5.0000"}),
    ("market_data_cache", {"adj_close": None}),
    ("market_data_cache", {"open": None, "volume": None}),
    ("company_profiles", {"sector": None}),
    ("benchmarks_sector_weights", {"weight": "-0.1"}),
]


@pytest.mark.parametrize(("table", "change"), ADMITTED)
def test_what_is_strange_but_no_fault_is_admitted(table, change):
    row = validate(table, VALID[table] | change, CALENDAR)
    assert type(row) is TABLES[table]


def test_a_withdrawal_is_a_negative_amount():
    row = validate("equity_changes", FLOW | {"change_type": "WITHDRAWAL"}, CALENDAR)
    assert isinstance(row, Flow)
    assert row.amount == -50_000


@pytest.mark.parametrize("table", ["portfolios", "positions", "equity_changes"])
def test_a_deleted_row_is_absent_before_any_check(table):
    spoilt = dict.fromkeys(VALID[table], "NAN") | {"deleted_at": "2024-01-01T00:00:00Z"}
    assert validate(table, spoilt, CALENDAR) is None


@pytest.mark.parametrize("table", VALID)
def test_unknown_columns_are_tolerated_and_missing_ones_reported(table):
    whole = VALID[table]
    assert type(validate(table, whole | {"new": object()}, CALENDAR)) is TABLES[table]
    optional = {"name", "currency", "open", "high", "low", "volume"}
    for column in whole.keys() - optional:
        rest = {name: value for name, value in whole.items() if name != column}
        missing = Refusal(Reason.MISSING_COLUMN, column, None)
        assert validate(table, rest, CALENDAR) == missing
    rest = {name: value for name, value in whole.items() if name not in optional}
    assert type(validate(table, rest, CALENDAR)) is TABLES[table]


def test_an_unknown_table_is_refused():
    found = validate("pets", {}, CALENDAR)
    assert found == Refusal(Reason.UNKNOWN_TABLE, "", "pets")


WORDS = ["", "LONG", "PUBLIC", "1.5", "-0", "NaN", "1e400", "1e-400", "9" * 400]
json_values = st.one_of(
    st.sampled_from([None, True, False, *WORDS, [], ["1"], {}, {"a": None}, 1e308]),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(VALID)), st.data())
def test_nothing_in_json_makes_it_raise(table, data):
    row = dict(VALID[table])
    for column in data.draw(st.lists(st.sampled_from(sorted(row)), max_size=4)):
        row[column] = data.draw(json_values)
    found = validate(table, row, CALENDAR)
    assert found is None or isinstance(found, Refusal | TABLES[table])


decimal_texts = st.from_regex(
    r"\A[+-]?([0-9]{1,25}(\.[0-9]{0,12})?|\.[0-9]{1,9})([eE][+-]?[0-9]{1,3})?\Z"
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(decimal_texts, st.integers(0, 8))
@example("-0.0", 4)
@example("9223372036854775807", 0)
@example("-9223372036854775808", 0)
@example("1e-999999999", 4)
@example("0e999999999", 4)
@example("1" + "0" * 5000, 0)
def test_a_decimal_is_scaled_as_exact_fractions_do_it(text, scale):
    head, _, exponent = text.lower().partition("e")
    found = scale_exactly(text, scale)
    if exponent and abs(int(exponent)) > 1000:  # a fraction would fill the memory
        wholly_zero = not head.strip("+-0.")
        assert found == 0 if wholly_zero else isinstance(found, DecimalFault)
        return
    mantissa, _, decimals = head.partition(".")
    digits = int_of_any_length(mantissa + decimals)
    value = Fraction(digits) * Fraction(10) ** (int(exponent or 0) - len(decimals))
    units = value * 10**scale
    if abs(units) > 2**63 or units == 2**63:
        assert isinstance(found, DecimalFault)
    elif units.denominator != 1:
        assert found == DecimalFault.TOO_MANY_DECIMALS
    else:
        assert found == units


def int_of_any_length(digits: str) -> int:
    """``int`` without Python's limit of 4300 digits."""
    value = 0
    for digit in digits.lstrip("+-"):
        value = value * 10 + ord(digit) - ord("0")
    return -value if digits.startswith("-") else value


NO_NUMBERS = ["", " 1", "1 ", "1_0", "0x10", "--1", "1.2.3", "e5", ".", "1e", "+"]
NO_NUMBERS += ["\u0661", "1.\u0661\u0661\u0661\u0661", "1.\u00b2\u00b2\u00b2\u00b2"]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_only_python_takes_for_a_number_is_none(text):
    assert scale_exactly(text, 4) == DecimalFault.NOT_A_NUMBER
    assert double(text) == DecimalFault.NOT_A_NUMBER


@pytest.mark.parametrize("text", ["NaN", "NAN", "nan", "Infinity", "-inf", "sNaN"])
def test_not_finite_is_told_from_no_number(text):
    assert scale_exactly(text, 4) == DecimalFault.NOT_FINITE
    assert double(text) == DecimalFault.NOT_FINITE


def test_numbers_that_are_no_text_are_taken_by_their_shortest_text():
    assert scale_exactly(0.1, 4) == 1000
    assert scale_exactly(3, 4) == 30_000
    assert scale_exactly(True, 4) == DecimalFault.NOT_A_NUMBER
    assert double(10**400) == DecimalFault.NOT_FINITE
