"""Rows that change their Kafka key: two records of one log position. Pure.

Debezium writes such a row as a deletion under the old key and a creation under the
new one. A connector that is stopped in good order between the two goes on behind their
position, and the creation is never sent (docs/decisions/0002-capture.md). The deletion
says by a header that a creation follows; where none came although Debezium has gone
on, and all that Kafka has was read, the row is asked for by a snapshot. A connector
takes a question and may end before it answers, so the row is asked for again until it
comes, three times at most: it may be gone. What is not streamed on does not hear: the
next question, and the end of waiting, are due when something was streamed since.
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

BY_ID = frozenset({"positions", "equity_changes", "position_realized_events"})
"""Tables of which a row is asked for by its id; of the others more rows are."""

Place: TypeAlias = tuple[str, int]
"""A table, and a position in PostgreSQL's log."""


class Half(msgspec.Struct):
    """A deletion whose creation was not seen.

    Attributes
    ----------
    change, place, record
        The deletion: decoded, its log, and the record there.
    due
        When it should have come.
    after
        Position in PostgreSQL's log: the connector must have gone on beyond it.
    asked
        How often it was asked for.
    """

    change: Change
    place: TopicPartition
    record: Any
    due: float
    after: int
    asked: int = 0

    def is_due(self, now: float, streamed: int) -> bool:
        """Whether the row should have come by now."""
        return self.due <= now and self.after < streamed

    @property
    def new_key(self) -> str:
        """The Kafka key under which it was to come."""
        values = (value for name, value in self.record.headers if name == LEAVES)
        return (next(values) or b"").decode("utf-8", "replace")


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
        self._halves: dict[Place, Half] = {}

    def take(
        self, place: TopicPartition, record: Any, changes: Sequence[Change], now: float
    ) -> None:
        """Take a record that was decoded."""
        if not changes:
            return
        if self._halves:
            self._settle(changes)
        if not record.headers:
            return
        names = {name for name, _ in record.headers}
        change = changes[0]
        position = change.table, change.version.lsn
        if LEAVES in names:
            half = Half(change, place, record, now + self._wait, change.version.lsn)
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
        for half in self._halves.values():
            if half.asked < ASKS and half.is_due(now, streamed):
                half.asked, half.due = half.asked + 1, now + AGAIN_S
                half.after = streamed
                found.append(half.change)
        return found

    def vain(self, now: float, streamed: int) -> list[Half]:
        """Take out the deletions whose row did not come however often it was asked."""
        found = {
            position: half
            for position, half in self._halves.items()
            if half.asked == ASKS and half.is_due(now, streamed)
        }
        for position in found:
            del self._halves[position]
        return list(found.values())

    def _settle(self, changes: Sequence[Change]) -> None:
        """Let go of the halves of which a record says what became of their row."""
        self._halves = {
            position: half
            for position, half in self._halves.items()
            if not any(_tells(change, half.change) for change in changes)
        }

    def pins(self) -> Iterator[tuple[TopicPartition, int]]:
        """Places, and offsets in them that must not be committed beyond."""
        for half in self._halves.values():
            yield half.place, half.record.offset


def _tells(came: Change, gone: Change) -> bool:
    """Whether a change is later than a deletion, and of its row.

    What is older may come once more, when the connector was killed. Rows of a snapshot
    have no position of their own; of a row that came under another primary key, too,
    only a snapshot tells that asked for more than a key.
    """
    if came.table != gone.table:
        return False
    before, after = gone.version, came.version
    snapshot = after.lsn == 0 and after.commit >= before.commit
    if came.key == gone.key:
        return snapshot or after > before
    if gone.table == "market_data_cache":
        return snapshot and came.key[1] == gone.key[1]
    return snapshot and gone.table not in BY_ID


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
    if table in BY_ID:
        return f"id IN ({', '.join(str(int(key)) for (key,) in sorted(keys))})"
    if table == "market_data_cache":
        known = sorted({day for _, day in keys if 0 < day <= date.max.toordinal()})
        days = ", ".join(f"'{date.fromordinal(day)}'" for day in known)
        return f"date IN ({days})" if days else "false"
    return None
