"""What the engine hands out: one value for each record to publish.

A result is the content of one (family, owner, session), as the bytes that are
published, and its story: from which prefixes of the journal, after which
change, and what was said before.
"""

from typing import TypeAlias

from msgspec import Struct

from analytics.rows import Version

# Raised when a definition changes, so that the same inputs may give new numbers.
DERIVATION_VERSION = 1

SNAPSHOTS = "snapshots"
POSITIONS = "positions"
RISK = "risk"
SYMBOLS = "symbols"
MONEY_FAMILIES = (SNAPSHOTS, POSITIONS)
FAMILIES = (*MONEY_FAMILIES, RISK)
"""Families of portfolios."""
ALL_FAMILIES = (*FAMILIES, SYMBOLS)

Key: TypeAlias = tuple[int | str, ...]


class Revision(Struct, frozen=True, array_like=True, order=True, gc=False):
    """Provenance of a result, compared in this order.

    ``p`` records of the portfolio's partition and ``m`` records of the market
    log were folded (both are the offset of the next one); ``version`` is the
    version of the definitions.
    """

    p: int
    m: int
    version: int


class Cause(Struct, frozen=True, gc=False):
    """The change that moved a result: its row, and which columns it moved.

    ``ts`` is the commit time in microseconds since the epoch. ``changed`` holds
    (column, old, new) as decimal strings, dates and words; None is null, and
    all of a row that was not there.
    """

    table: str
    key: Key
    ts: int
    version: Version
    changed: tuple[tuple[str, str | None, str | None], ...]


class Previous(Struct, frozen=True, gc=False):
    """What was said of this cell before; money in 1/10 000, None if not known."""

    revision: Revision
    nav: int | None
    pnl: int | None


class Result(Struct, frozen=True, gc=False):
    """One record to publish.

    Attributes
    ----------
    family
        One of ``ALL_FAMILIES``.
    owner
        Id of the portfolio; of family ``symbols`` the symbol.
    session
        Index of the session in the calendar.
    digest
        XXH3 (64 bits) of ``content``; 0 for a retraction.
    content
        The fields of the record as one JSON object; None retracts the record.
    as_of
        Newest commit time in the two prefixes, microseconds since the epoch.
    """

    family: str
    partition: int
    owner: int | str
    session: int
    revision: Revision
    digest: int
    content: bytes | None
    as_of: int
    cause: Cause | None
    previous: Previous | None
