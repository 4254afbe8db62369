"""Rows that change their Kafka key: two records of one log position. Pure.

Debezium writes such a row as a deletion under the old key and a creation under the
new one. A connector that is stopped in good order between the two goes on behind their
position, and the creation is never sent (docs/decisions/0002-capture.md). The deletion
says by a header that a creation follows; where none came although Debezium has gone
on, and all that Kafka has was read, the row is asked for by a snapshot. A connector
that restarts does not read what it was asked meanwhile, so the row is asked for
again until it comes, three times at most: it may be gone.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any, TypeAlias

import msgspec
from aiokafka import TopicPartition

from analytics.rows import Change

LEAVES, ARRIVES = "__debezium.newkey", "__debezium.oldkey"

ASKS, AGAIN_S = 3, 30.0
"""How often a row is asked for, and seconds until it should have come."""

Place: TypeAlias = tuple[str, int]
"""A table, and a position in PostgreSQL's log."""


class _Half(msgspec.Struct):
    change: Change
    place: TopicPartition
    offset: int
    due: float
    asked: int = 0


class Moves:
    """Deletions whose creation was not seen yet.

    Until that came, or the row was asked for in vain, they pin their offsets, so that
    a restart reads them again.

    Parameters
    ----------
    wait
        Seconds that Kafka may take to have what was sent.
    """

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._halves: dict[Place, _Half] = {}
        self._asked: set[tuple[str, Any]] = set()

    def take(
        self, place: TopicPartition, record: Any, changes: Sequence[Change], now: float
    ) -> None:
        """Take a record that was decoded."""
        if not changes:
            return
        change = changes[0]
        if (change.table, change.key) in self._asked:
            self._forget(change)
        if not record.headers:
            return
        names = {name for name, _ in record.headers}
        position = change.table, change.version.lsn
        if LEAVES in names:
            half = _Half(change, place, record.offset, now + self._wait)
            self._halves.setdefault(position, half)
        elif ARRIVES in names:
            self._halves.pop(position, None)

    def lost(self, now: float, streamed: int) -> list[Change]:
        """Tell the deletions whose creation will not come unless it is asked for.

        Parameters
        ----------
        now
            In seconds, as given to ``take``; all that Kafka has was read.
        streamed
            Position of the newest end of a transaction.
        """
        found = []
        for position, half in self._halves.items():
            if position[1] < streamed and half.due <= now and half.asked < ASKS:
                half.asked, half.due = half.asked + 1, now + AGAIN_S
                self._asked.add((half.change.table, half.change.key))
                found.append(half.change)
        return found

    def vain(self, now: float) -> list[Change]:
        """Take out the deletions whose row did not come however often it was asked."""
        found = [
            half.change
            for half in self._halves.values()
            if half.asked == ASKS and half.due <= now
        ]
        for change in found:
            self._forget(change)
        return found

    def _forget(self, row: Change) -> None:
        """Let go of every half of a row: it came, or will not."""
        self._asked.discard((row.table, row.key))
        self._halves = {
            position: half
            for position, half in self._halves.items()
            if (half.change.table, half.change.key) != (row.table, row.key)
        }

    def pins(self) -> Iterator[tuple[TopicPartition, int]]:
        """Places, and offsets in them that must not be committed beyond."""
        for half in self._halves.values():
            yield half.place, half.offset


def conditions(changes: Iterable[Change]) -> dict[str, str | None]:
    """Tell by which SQL conditions rows that left their key are found again.

    Returns
    -------
    dict
        Table to a condition; None for a small table, of which all rows are meant.

    Examples
    --------
    >>> from analytics.rows import Version
    >>> gone = Change("positions", (5,), Version(1, 2, 3), 0, 7, None)
    >>> conditions([gone])
    {'positions': 'id IN (5)'}
    """
    keys: dict[str, set[Any]] = {}
    for change in changes:
        keys.setdefault(change.table, set()).add(change.key)
    return {table: _condition(table, found) for table, found in keys.items()}


def _condition(table: str, keys: set[Any]) -> str | None:
    # Of what left its key the new one is not known, but what stays as it was.
    if table in ("positions", "equity_changes", "position_realized_events"):
        return f"id IN ({', '.join(str(int(key)) for (key,) in sorted(keys))})"
    if table == "market_data_cache":
        known = sorted({day for _, day in keys if 0 < day <= date.max.toordinal()})
        days = ", ".join(f"'{date.fromordinal(day)}'" for day in known)
        return f"date IN ({days})" if days else "false"
    return None
