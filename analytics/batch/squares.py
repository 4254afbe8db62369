"""Sums of squares: whether they fit a double, and whether they say of a spread."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

Given = ParamSpec("Given")
Found = TypeVar("Found")

NOTHING = 1e-20


def unbounded(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let what does not fit a double be infinite, which is asked for, not warned of."""
    found: Callable[Given, Found] = np.errstate(all="ignore")(function)
    return found


def fits(*series: NDArray[np.float64]) -> bool:
    """Whether the squares of each series have a sum that is a double."""
    return all(bool(np.isfinite((values**2).sum())) for values in series)


def varies(values: NDArray[np.float64]) -> bool:
    """Whether values are more than one number and rounding; if too large, they are."""
    if not fits(values):
        return True
    centred = values - values.mean()
    return bool((centred**2).sum() > NOTHING * (values**2).sum())
