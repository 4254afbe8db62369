"""Alphas that are the difference of two numbers of far more digits.

After a print that is wrong the means outweigh an alpha so far that doubles do not
hold it: products are formed with what rounding takes, and beyond ``FAR`` in integers.
"""

import numpy as np

from analytics.kernels.windows import Floats

FAR = 1e12
"""Means beyond it cancel more digits than two doubles have together."""

SPLIT = 134217729.0
"""2²⁷ + 1: splits a double into two halves whose products are exact."""

DIGITS = 53


def exact_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Multiply, and say what rounding took: a·b is the sum of the two.

    Source: Dekker (1971). Exact where both and their product are below 1e300.

    Examples
    --------
    >>> exact_product(np.array([0.1]), np.array([3.0]))
    (array([0.3]), array([-2.77555756e-17]))
    """
    product = a * b
    a_high, b_high = (SPLIT * v - (SPLIT * v - v) for v in (a, b))
    a_low, b_low = a - a_high, b - b_high
    rest = a_high * b_high - product + a_high * b_low + a_low * b_high
    return product, rest + a_low * b_low


def intercepts(y: Floats, x: Floats, n: Floats) -> Floats:
    """Find intercepts of least squares, each the double that is nearest to it.

    Parameters
    ----------
    y, x
        [rows, cells], finite; 0.0 in both where a row does not count.
    n
        Rows that count, [cells].

    Notes
    -----
    In Python's integers: some 0.2 ms a cell of 90 rows.

    Examples
    --------
    >>> x = np.array([[1.0], [2.0], [2.0**100]])
    >>> intercepts(3 * x, x, np.array([3.0]))
    array([0.])
    """
    found = np.empty(len(n))
    for cell, rows in enumerate(n.astype(np.int64).tolist()):
        found[cell] = _intercept(y[:, cell], x[:, cell], rows)
    return found


def _intercept(y: Floats, x: Floats, n: int) -> float:
    """(Σy·Σx² - Σx·Σxy) / (n·Σx² - (Σx)²); the unit of x cancels, that of y stays."""
    ys, exponent = _integers(y)
    xs, _ = _integers(x)
    sum_x, sum_y = sum(xs), sum(ys)
    square = sum(a * a for a in xs)
    product = sum(a * b for a, b in zip(xs, ys, strict=True))
    above = sum_y * square - sum_x * product
    below = n * square - sum_x * sum_x
    # The quotient of two integers is rounded once, however long they are.
    if exponent < 0:
        return above / (below << -exponent)
    return (above << exponent) / below


def _integers(values: Floats) -> tuple[list[int], int]:
    """Write doubles as integers of one power of two, and say which."""
    part, power = np.frexp(values)
    whole = np.ldexp(part, DIGITS).astype(np.int64).tolist()
    powers = (power - DIGITS).tolist()
    least = min(p for w, p in zip(whole, powers, strict=True) if w)
    return [
        w << (p - least) if w else 0 for w, p in zip(whole, powers, strict=True)
    ], least
