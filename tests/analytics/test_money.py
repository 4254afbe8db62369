"""Exact money: arrays, integers and decimals say the same."""

import json
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.money import (
    SMALL,
    SMALL_QUANTITY,
    decimal,
    fits,
    half_even,
    market_values,
    number,
    sizes,
)

QUANTITIES = st.one_of(
    st.integers(-20, 20), st.integers(1 - SMALL_QUANTITY, SMALL_QUANTITY - 1)
)
PRICES = st.one_of(
    st.integers(0, 9).map(lambda n: n * 500_000), st.integers(0, SMALL - 1)
)


def in_decimals(units: int) -> int:
    """Units of 1e-10 as units of 1e-4, by Python's decimals."""
    exact = Decimal(units).scaleb(-6)
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@given(st.integers(-(10**24), 10**24))
def test_half_even_is_the_decimal_rounding(units):
    assert half_even(units) == in_decimals(units)


@given(st.integers(-(10**9), 10**9))
def test_half_even_on_ties(whole):
    assert half_even(whole * 1_000_000 + 500_000) % 2 == 0


@given(QUANTITIES, PRICES)
def test_arrays_multiply_as_integers_do(quantity, price):
    expected = half_even(quantity * price)
    arrays = np.array([quantity]), np.array([price])
    if float(sizes(*arrays)[0]) < SMALL:
        assert market_values(*arrays).tolist() == [expected]
    else:
        assert abs(expected) >= SMALL * (1 - 1e-9)


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([4, 6]))
def test_numbers_are_written_exactly(value, places):
    text = msgspec.json.encode(number(value, places)).decode()
    read = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    assert read == Decimal(value).scaleb(-places)
    assert Decimal(decimal(value, places)) == Decimal(value).scaleb(-places)


@pytest.mark.parametrize("value", [SMALL - 1, SMALL, -SMALL, 10**14 + 1, 0])
def test_numbers_around_the_bound_of_doubles(value):
    text = msgspec.json.encode(number(value, 4)).decode()
    assert Decimal(text) == Decimal(value).scaleb(-4)
    assert not text.startswith("-0.0") or value


def test_fits():
    assert fits(2**63 - 1)
    assert fits(-(2**63))
    assert not fits(2**63)
