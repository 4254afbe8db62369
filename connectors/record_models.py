"""What the models of all results have in common: words, numbers, heads."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Exact: TypeAlias = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""A number with exact decimal text; read it as a decimal, not as a double."""

Money: TypeAlias = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""An amount in units of the portfolio's currency, exact, four decimals at most."""

Reason: TypeAlias = Literal[
    "overflow",
    "no_positions",
    "no_coverage",
    "nav_not_positive",
    "no_factor_history",
    "too_few",
    "recent_gap",
    "constant",
    "collinear",
    "no_benchmark",
    "not_covered",
    "not_converged",
]
Flag: TypeAlias = Literal[
    "date_clamped", "expired_stale", "expired_unpriced", "quantity_unknown"
]
PositionType: TypeAlias = Literal["LONG", "SHORT", "LC", "LP", "SC", "SP"]
InvestmentClass: TypeAlias = Literal["PUBLIC", "OPTIONS", "PRIVATE"]
PriceStatus: TypeAlias = Literal[
    "priced", "stale", "unpriced", "private_mark", "at_cost"
]
Status: TypeAlias = Literal["final", "intraday"]


class Model(BaseModel):
    """Fields are described by the strings after them."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


# --- the head of every record -----------------------------------------------------


class RevisionModel(Model):
    """Where a record comes from: what was folded, and by which definitions.

    Compare (p, m, v) in this order. A record replaces one of a lower revision; the
    same revision is the same record, to the bit.
    """

    p: Annotated[int, Field(ge=0)]
    """Records folded of the portfolio's partition of ``journal.portfolios``."""
    m: Annotated[int, Field(ge=0)]
    """Records folded of ``journal.market``."""
    v: Annotated[int, Field(ge=0)]
    """Version of the definitions."""


class CauseModel(Model):
    """The change that last moved this record."""

    table: str
    """Source table."""
    key: list[int | str]
    """Primary key of the row; dates are ``YYYY-MM-DD``."""
    committed: datetime
    """When PostgreSQL committed it (UTC, microseconds)."""
    version: Annotated[list[int], Field(min_length=3, max_length=3)]
    """Version of the row: LSN of the commit, LSN, order within the transaction."""
    changed: dict[str, Annotated[list[str | None], Field(min_length=2, max_length=2)]]
    """By column, old and new value as text; null is null, or a row that was absent."""


class PreviousRevision(Model):
    """What was last published of this symbol and session."""

    revision: RevisionModel
    """Its revision."""


class PreviousModel(Model):
    """What was last published of this portfolio and session."""

    revision: RevisionModel
    """Its revision."""
    nav: Money | None
    """Its NAV. Null where it is not known (after a restart), and in other records
    than snapshots."""
    pnl: Money | None
    """Its P&L. Null as ``nav``."""


class Head(Model):
    """What every record of a portfolio begins with."""

    portfolio: int
    """Id of the portfolio (``portfolios.id``)."""
    session: date
    """Session of the exchange calendar."""
    revision: RevisionModel
    """The record with the highest revision of a key is the one that holds."""
    as_of: datetime
    """Newest commit that is in this record (UTC)."""
    cause: CauseModel | None
    """The change that last moved it, of several the newest. Null if no change of a row
    is known to have moved it: time passed (a session became final, the newest session
    moved), or the worker took the partition over from an earlier checkpoint."""
    previous: PreviousModel | None
    """What this record replaces. Null if nothing was published before, or if what was
    is not known."""


class SymbolHead(Model):
    """What every record of a symbol begins with."""

    symbol: str
    """The symbol, verbatim."""
    session: date
    """Session of the exchange calendar."""
    revision: RevisionModel
    """As of a portfolio; p is of the partition that the symbol's text falls into."""
    as_of: datetime
    """Newest commit that is in this record (UTC)."""
    cause: CauseModel | None
    """The change that last moved it, of several the newest. Null if no change of a row
    is known to have moved it: time passed (a session became final, the newest session
    moved), or the worker took the partition over from an earlier checkpoint."""
    previous: PreviousRevision | None
    """What this record replaces. Null as of a portfolio."""


class Retraction(Head):
    """The portfolio has no result for this session any more; delete it."""

    retracted: Literal[True]
    """Tells a retraction from a result."""


class SymbolRetraction(SymbolHead):
    """The symbol has no statistics for this session any more; delete them."""

    retracted: Literal[True]
    """Tells a retraction from a result."""
