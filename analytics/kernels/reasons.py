"""Why a number is null: small integers in arrays, words in results.

A smaller code goes before a larger one: the reason of a null is the first that
applies (section 0). 0 is a number that exists.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics.kernels.windows import Bools, Floats

Codes = NDArray[np.uint8]

NO_VARIANCE = 1e-20
"""A centred sum of squares of at most this part of the raw one is no variance."""


class Reason(IntEnum):
    """Codes, in the order in which they apply."""

    NONE = 0
    OVERFLOW = 1
    NO_POSITIONS = 2
    NO_COVERAGE = 3
    NAV_NOT_POSITIVE = 4
    NO_FACTOR_HISTORY = 5
    TOO_FEW = 6
    RECENT_GAP = 7
    CONSTANT = 8
    COLLINEAR = 9
    NO_BENCHMARK = 10
    NOT_COVERED = 11
    NOT_CONVERGED = 12

    @property
    def word(self) -> str:
        """Word under which the reason is published."""
        return self.name.lower()


WORDS: tuple[str | None, ...] = (None, *(reason.word for reason in Reason if reason))


def first(shape: tuple[int, ...], *causes: tuple[Reason, ArrayLike]) -> Codes:
    """Code of the first cause that applies, cell by cell; ``NONE`` where none does.

    Parameters
    ----------
    shape
        Of the answer.
    causes
        Pairs of a reason and where it applies (bool, broadcast to ``shape``), in
        any order.

    Examples
    --------
    >>> few, flat = np.array([True, False, True]), np.array([True, True, False])
    >>> first((3,), (Reason.CONSTANT, flat), (Reason.TOO_FEW, few)).tolist()
    [6, 8, 6]
    """
    codes = np.zeros(shape, np.uint8)
    for reason, where in sorted(causes, key=lambda cause: -cause[0]):
        np.copyto(codes, np.uint8(reason), where=np.asarray(where, bool))
    return codes


def nulled(values: Floats, codes: Codes) -> Floats:
    """NaN where there is a reason; -0.0 becomes 0.0."""
    if not codes.any():
        same = values.shape == codes.shape
        return (values if same else np.broadcast_to(values, codes.shape)) + 0.0
    return np.where(codes == 0, values + 0.0, np.nan)


def finite(codes: Codes, *values: Floats) -> Codes:
    """Give the code ``OVERFLOW`` to cells that have no reason and no finite value.

    Returns that are finite may still be too large for their squares.
    """
    lost: Bools = np.zeros(codes.shape, bool)
    for value in values:
        lost |= ~np.isfinite(value)
    return np.where((codes == 0) & lost, np.uint8(Reason.OVERFLOW), codes)


def flat(centred: Floats, raw: Floats) -> Bools:
    """Where a centred sum of squares says of no variance.

    A raw one that is not finite does not: both are infinite then, and equal.
    """
    found: Bools = (centred <= raw * NO_VARIANCE) & np.isfinite(raw)
    return found
