"""What a replay says of how far it is from live: the model of its records."""

from __future__ import annotations

from datetime import date
from typing import Literal, TypeAlias

from connectors.record_models import Exact, Model

Kind: TypeAlias = Literal[
    "money",
    "return",
    "concentration",
    "betas",
    "styles",
    "spreads",
    "volatility",
    "correlation",
    "sectors",
    "factor_money",
    "percentile",
    "coverage",
    "count",
]


class MetricDifference(Model):
    """One metric of one portfolio where a replay and live are not the same.

    The arrays have one length: an element a session in which they differ. Amounts are
    exact decimals, what is a double in the results is one here.
    """

    run: str
    """Name of the run (``deltafolio replay list``)."""
    portfolio: int
    """Id of the portfolio."""
    metric: str
    """A column of the snapshot (``nav``) or a path into risk (``betas.market``), as
    ``deltafolio why`` takes it."""
    kind: Kind
    """What it measures; the sizes of differences compare within a kind."""
    session: list[date]
    """Sessions in which it differs, in order."""
    live: list[Exact | None]
    """What live says. Null where it says null or has no record."""
    replayed: list[Exact | None]
    """What the run says: with its edits, or as of its time. Null as ``live``."""
    difference: list[Exact | None]
    """replayed - live. Null where one of them is."""
