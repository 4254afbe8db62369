"""Pieces packed into journal records. Pure.

Whole transactions share a record while there is room; a larger one is several records
of which all but the last say ``more``. Parts of a transaction have records of their
own; when it is complete, each log that got a part gets a last record of it, empty if
need be, that is not partial.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from aiokafka import TopicPartition

from analytics.rows import Change
from connectors.journal import encode, partition_of
from connectors.settings import TopicSettings

MAX_BYTES = 900_000
"""A record is cut in two above this size: the default limit of brokers is 1 MiB."""

REMEMBERED_PORTFOLIOS = 100_000


class JournalRecord(msgspec.Struct, frozen=True, gc=False):
    """A record to append, and how many changes it holds."""

    place: TopicPartition
    value: bytes
    rows: int


class _Sheet:
    """The record that is being filled, of one log."""

    __slots__ = ("changes", "names")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.names: set[str | None] = set()


class Packer:
    """Fills records.

    Parameters
    ----------
    topics
        Names and partitions of the journal.
    rows
        How many changes a record holds at most.
    unfinished
        Transactions of which an earlier intake appended parts: where is not known,
        so that every log is told when they are complete.

    Attributes
    ----------
    rows
        Changes taken and not drained yet.
    """

    def __init__(
        self, topics: TopicSettings, rows: int, unfinished: Iterable[str] = ()
    ) -> None:
        self.rows = 0
        self._most = rows
        self._market = TopicPartition(topics.market, 0)
        self._logs = [
            TopicPartition(topics.portfolios, p) for p in range(topics.partitions)
        ]
        everywhere = {self._market, *self._logs}
        self._parts = {tx: set(everywhere) for tx in unfinished}
        self._places: dict[int, TopicPartition] = {}
        self._sheets: dict[TopicPartition, _Sheet] = {}
        self._records: list[JournalRecord] = []

    @property
    def pending(self) -> bool:
        """Whether ``drain`` has something to give."""
        return self.rows > 0 or bool(self._records)

    @property
    def unfinished(self) -> Iterable[str]:
        """Transactions of which parts were taken and the last was not."""
        return self._parts.keys()

    def add(
        self, tx: str | None, changes: Sequence[Change], *, partial: bool = False
    ) -> None:
        """Take a piece."""
        self.rows += len(changes)
        closing = tx in self._parts
        if len(changes) == 1 and not partial and not closing:
            self._whole(self._place(changes[0]), tx, changes)
            return
        shares = self._shares(changes)
        if tx is not None and partial:
            self._parts.setdefault(tx, set()).update(shares)
        elif tx is not None and closing:
            shares = {**{place: [] for place in self._parts.pop(tx)}, **shares}
        for place, share in shares.items():
            if partial or closing or len(share) > self._most:
                self._alone(place, tx, share, partial)
            else:
                self._whole(place, tx, share)

    def drain(self) -> list[JournalRecord]:
        """Take out the records of everything taken, in order within each log."""
        for place in self._sheets:
            self._seal(place)
        self._sheets.clear()
        records, self._records = self._records, []
        self.rows = 0
        return records

    def _place(self, change: Change) -> TopicPartition:
        portfolio = change.portfolio
        if portfolio is None:
            return self._market
        place = self._places.get(portfolio)
        if place is None:
            if len(self._places) >= REMEMBERED_PORTFOLIOS:
                self._places.clear()
            place = self._logs[partition_of(portfolio, len(self._logs))]
            self._places[portfolio] = place
        return place

    def _shares(
        self, changes: Sequence[Change]
    ) -> Mapping[TopicPartition, list[Change]]:
        shares: dict[TopicPartition, list[Change]] = {}
        for change in changes:
            shares.setdefault(self._place(change), []).append(change)
        return shares

    def _whole(
        self, place: TopicPartition, tx: str | None, share: Sequence[Change]
    ) -> None:
        """Put a share where others may share the record."""
        sheet = self._sheets.get(place)
        if sheet is not None and len(sheet.changes) + len(share) > self._most:
            self._seal(place)
        if sheet is None:
            sheet = self._sheets[place] = _Sheet()
        sheet.changes.extend(share)
        sheet.names.add(tx)

    def _alone(
        self, place: TopicPartition, tx: str | None, share: list[Change], partial: bool
    ) -> None:
        """Put a share into records of its own."""
        self._seal(place)
        last = max(0, len(share) - 1) // self._most * self._most
        for at in range(0, last + 1, self._most):
            rows, more = share[at : at + self._most], at < last
            self._write(place, rows, tx, more, partial)

    def _seal(self, place: TopicPartition) -> None:
        sheet = self._sheets.get(place)
        if sheet is None or not sheet.changes:
            return
        name = next(iter(sheet.names)) if len(sheet.names) == 1 else None
        self._write(place, sheet.changes, name, False, False)
        sheet.changes, sheet.names = [], set()

    def _write(
        self,
        place: TopicPartition,
        rows: list[Change],
        tx: str | None,
        more: bool,
        partial: bool,
    ) -> None:
        value = encode(rows, tx=tx, more=more, partial=partial)
        if len(value) > MAX_BYTES and len(rows) > 1:
            half = len(rows) // 2
            self._write(place, rows[:half], tx, True, partial)
            self._write(place, rows[half:], tx, more, partial)
        else:
            self._records.append(JournalRecord(place, value, len(rows)))
