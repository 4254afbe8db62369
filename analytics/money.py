"""Exact money: integers of 1/10 000, products rounded once, half to even.

A product of a quantity (1/10 000), a multiplier and a price (1/1 000 000) is in
units of 1e-10; ``half_even`` brings it to 1e-4. On the wire an amount is a JSON
number whose decimal text is exact.
"""

from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Indices: TypeAlias = NDArray[np.intp]
Number: TypeAlias = float | msgspec.Raw

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
PER_AMOUNT = 1_000_000  # units of 1e-10 in one of 1e-4
# Below this, every amount, quantity and price has at most 15 digits: x / 10**k is
# the double whose shortest text is the exact decimal. Above it, work is done in
# Python's integers.
SMALL = 10**15
# |q·m| below this: its product with the fraction of a price (< 1e6) fits int64.
SMALL_QUANTITY = 4 * 10**12


def fits(value: int) -> bool:
    """Whether a value is one of int64."""
    return INT64_MIN <= value <= INT64_MAX


def half_even(units: int) -> int:
    """Units of 1e-10 as units of 1e-4, half to even.

    Examples
    --------
    >>> half_even(1_500_000), half_even(2_500_000), half_even(-2_500_001)
    (2, 2, -3)
    """
    whole, rest = divmod(units, PER_AMOUNT)
    return whole + (rest > 500_000 or (rest == 500_000 and whole % 2 == 1))


def market_values(quantity: Ints, price: Ints) -> Ints:
    """Products of q·m (1e-4) and prices (1e-6), rounded half to even, in 1e-4.

    The price is split into whole units and its fraction, so that nothing leaves
    int64 while ``|quantity| < SMALL_QUANTITY`` and the result is below ``SMALL``;
    what is larger wraps around and is the caller's to find (``sizes``).

    Examples
    --------
    >>> market_values(np.array([10_000, -25_000]), np.array([1_500_050, 100]))
    array([15000,    -2])
    """
    whole = price // PER_AMOUNT
    low = quantity * (price - whole * PER_AMOUNT)
    floor = low // PER_AMOUNT
    rest = low - floor * PER_AMOUNT
    base: Ints = quantity * whole + floor
    up = (rest > 500_000) | ((rest == 500_000) & ((base & 1) == 1))
    rounded: Ints = base + up
    return rounded


def sizes(quantity: Ints, price: Ints) -> Floats:
    """Sizes of the same products as doubles, in 1e-4: what tells whether they fit."""
    found: Floats = np.abs(quantity.astype(np.float64) * price) * 1e-6
    return found


def number(value: int, places: int) -> Number:
    """JSON number of ``value`` / 10**places, its decimal text exact.

    Examples
    --------
    >>> number(12_500, 4), bytes(number(-1234567890123456789, 4))
    (1.25, b'-123456789012345.6789')
    """
    if -SMALL < value < SMALL:
        return float(value / 10**places)
    return msgspec.Raw(decimal(value, places).encode())


def decimal(value: int, places: int) -> str:
    """Exact decimal text of ``value`` / 10**places.

    Examples
    --------
    >>> decimal(12_500, 4), decimal(-5, 4), decimal(30_000, 4)
    ('1.25', '-0.0005', '3')
    """
    whole, rest = divmod(abs(value), 10**places)
    text = f"{whole}.{rest:0{places}d}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text
