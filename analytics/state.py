"""Rows of the portfolios of a partition, with versions, and what they compile to.

Rows that are absent keep their version, and rows whose portfolio is not there
wait for it. A portfolio is compiled when its rows have changed, lot by lot, and
the comparison with what it was before says which sessions to look at again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from msgspec import Struct

from analytics.lots import Holding
from analytics.rows import (
    Change,
    Event,
    Flow,
    Lot,
    Portfolio,
    PortfolioRow,
    Row,
    Version,
)

PORTFOLIOS = "portfolios"
LOTS = "positions"
FLOWS = "equity_changes"
EVENTS = "position_realized_events"
ORDER = (PORTFOLIOS, LOTS, FLOWS, EVENTS)

RowKey: TypeAlias = tuple[str, int]


class Held(Struct, frozen=True, array_like=True, gc=False):
    """A row and its version; ``row`` None: absent since that version."""

    version: Version
    row: PortfolioRow | None


class Trace(Struct, frozen=True):
    """A changed row: what it was when it was last looked at, and its newest change."""

    table: str
    key: int | str
    version: Version
    ts: int
    old: Row | None
    new: Row | None


class Compiled(Struct, frozen=True):
    """What a portfolio's rows mean, before any close but settlements.

    Attributes
    ----------
    portfolio
        The row; None when it is absent: no results.
    first
        F, or None when nothing gives one: no results.
    holdings
        Lots with Q not 0, by id.
    flows
        Sum of the flows by session.
    orphans
        Ids of events without their lot.
    unknown
        Ids of lots with Q = 0 and an exit date.
    """

    portfolio: Portfolio | None
    first: int | None
    holdings: dict[int, Holding]
    flows: dict[int, int]
    orphans: tuple[int, ...]
    unknown: tuple[int, ...]

    @property
    def start(self) -> int | None:
        """First session with a result, None without any."""
        return None if self.portfolio is None else self.first


NOTHING = Compiled(None, None, {}, {}, (), ())


@dataclass(slots=True)
class Account:
    """One portfolio of a partition.

    ``traces`` holds what changed since it was last compiled; ``partial`` the
    transactions of which a part is still to come; ``loaded`` says that the rows
    are from a checkpoint whose results have been said.
    """

    id: int
    slot: int
    rows: dict[str, dict[int, Held]] = field(
        default_factory=lambda: {table: {} for table in ORDER}
    )
    compiled: Compiled = NOTHING
    traces: dict[RowKey, Trace] = field(default_factory=dict)
    partial: frozenset[str] = frozenset()
    clock: int = 0
    open_at: int = -1
    loaded: bool = False

    def fold(self, change: Change) -> bool:
        """Take a change; False when it is not newer than what is held."""
        rows = self.rows[change.table]
        key = change.key[0]
        assert isinstance(key, int)  # noqa: S101  (codec and schema: ids are integers)
        held = rows.get(key)
        if held is not None and not held.version < change.version:
            return False
        row: PortfolioRow | None = change.row  # type: ignore[assignment]
        rows[key] = Held(change.version, row)
        old = None if held is None else held.row
        known = self.traces.get((change.table, key))
        trace = Trace(
            change.table,
            key,
            change.version,
            change.ts if known is None else max(change.ts, known.ts),
            old if known is None else known.old,
            row,
        )
        self.traces[change.table, key] = trace
        return True

    def valid(self, table: str) -> Iterable[PortfolioRow]:
        """Present rows of a table, by id."""
        rows = self.rows[table]
        found = (rows[key].row for key in sorted(rows))
        return [row for row in found if row is not None]

    def row(self, table: str, key: int) -> PortfolioRow | None:
        """Row of a table, None when absent."""
        held = self.rows[table].get(key)
        return None if held is None else held.row


def lots_of(traces: Iterable[Trace]) -> dict[int, Trace]:
    """Lots that traces are about, each with the newest of its traces."""
    found: dict[int, Trace] = {}
    for trace in traces:
        for lot in _lots(trace):
            known = found.get(lot)
            if known is None or known.ts < trace.ts:
                found[lot] = trace
    return found


def _lots(trace: Trace) -> set[int]:
    if trace.table == LOTS and isinstance(trace.key, int):
        return {trace.key}
    return {row.lot for row in (trace.old, trace.new) if isinstance(row, Event)}


__all__ = [
    "EVENTS",
    "FLOWS",
    "LOTS",
    "NOTHING",
    "ORDER",
    "PORTFOLIOS",
    "Account",
    "Compiled",
    "Flow",
    "Held",
    "Lot",
    "RowKey",
    "Trace",
    "lots_of",
]
