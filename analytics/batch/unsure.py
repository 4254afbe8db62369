"""A cell on which rounding decides."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Unsure:
    """A cell that may be this or something else: it is not compared."""

    value: Any
