"""Rows of one transaction, kept until all of them are there. Pure; the clock is given.

A row says which transaction it belongs to and its place in it; the end marker, on
another topic and possibly earlier, how many rows there are. What does not belong
to a transaction (snapshot rows) is never kept.

* A transaction is *complete* when as many distinct rows were seen as **any** end
  marker counts: after a crash Debezium may number rows anew and count fewer.
* When nothing was heard of it for ``wait`` seconds *although everything that Kafka
  has was read*, what is there goes on, flagged as a part. Time in which intake itself
  is behind does not count: the rest may lie in Kafka already.
* If by then a *later* transaction has ended, nothing will follow (Debezium streams
  one transaction after the other): it goes on as a whole, and is counted as short.
* Rows of a transaction that is done (repeated after a crash) go straight on.

Every open transaction pins the offsets of its first records: intake commits none
beyond them, so that a restart reads the transaction from its beginning. Between the
pins of different logs lie rows of transactions that were done by then, and whose ends
are not read again. What tells them from news is the newest end known before
(``ended``): they wait in vain, and go on as a whole, for the second time.
"""

from collections.abc import Sequence

import msgspec
from aiokafka import TopicPartition

from analytics.rows import Change
from connectors.debezium import Decoded, Marker

REMEMBERED = 4096
"""Transactions that are known to be done: a crash repeats only the newest ones."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Changes that belong together.

    Attributes
    ----------
    tx
        Their transaction; None for a row without one.
    partial
        The rest of the transaction had not arrived. The last piece of a transaction
        that went on in parts is not partial, and may be empty.
    """

    tx: str | None
    changes: Sequence[Change]
    partial: bool = False


class _Places:
    """Which places in a transaction were seen: 1 to ``upto``, and some beyond."""

    __slots__ = ("beyond", "upto")

    def __init__(self) -> None:
        self.upto = 0
        self.beyond: set[int] = set()

    def add(self, order: int) -> None:
        if order != self.upto + 1:
            if order > self.upto or order < 1:
                self.beyond.add(order)
            return
        self.upto = order
        while self.beyond and self.upto + 1 in self.beyond:
            self.upto += 1
            self.beyond.discard(self.upto)

    def __len__(self) -> int:
        return self.upto + len(self.beyond)


class _Open:
    """A transaction of which something is missing."""

    __slots__ = ("after", "changes", "count", "lsn", "news", "pins", "seen")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.seen = _Places()
        self.count: int | None = None
        self.lsn = 0
        self.news = 0.0
        # A log position that is below its end, and above the end of any earlier one.
        self.after = 0
        self.pins: dict[TopicPartition, int] = {}


class Transactions:
    """Assembles transactions.

    Parameters
    ----------
    wait
        Seconds without news after which a part goes on.
    limit
        How many rows are held at most, of all transactions; beyond that the largest
        one goes on in parts.
    ended
        The newest transaction that was done before: where it ended, and its name.

    Attributes
    ----------
    ended
        The newest transaction that is done.
    held
        Rows held now.
    rowless
        Transactions now of which only the end was seen.
    complete, parts, short
        Transactions that went on as a whole; times that a part went on;
        transactions that went on with fewer rows than their end counts.
    """

    def __init__(
        self, wait: float, limit: int, ended: tuple[int, str] = (0, "")
    ) -> None:
        self.ended = self._newest_end = ended
        self.held = self.rowless = 0
        self.complete = self.parts = self.short = 0
        self._wait = wait
        self._limit = limit
        self._open: dict[str, _Open] = {}
        self._done: dict[str, None] = {ended[1]: None}
        self._behind = float("-inf")

    def __len__(self) -> int:
        """Count transactions of which something is missing."""
        return len(self._open)

    @property
    def streamed(self) -> int:
        """Position of the newest end that was seen."""
        return self._newest_end[0]

    def row(
        self, place: TopicPartition, offset: int, decoded: Decoded, now: float
    ) -> Piece | None:
        """Take a row; returns what can go on because of it."""
        tx = decoded.tx
        if tx is None or tx in self._done:
            return Piece(tx, decoded.changes) if decoded.changes else None
        kept = self._opened(tx, place, offset, now)
        if kept.count is not None and not kept.seen:
            self.rowless -= 1
        # A row that was numbered anew is another row: its change is kept in any case.
        kept.seen.add(decoded.order)
        if decoded.changes:
            kept.changes.extend(decoded.changes)
            kept.after = max(kept.after, decoded.changes[0].version.commit)
            self.held += len(decoded.changes)
        if kept.count is not None and len(kept.seen) >= kept.count:
            return self._close(tx)
        return self._relieve() if self.held > self._limit else None

    def end(
        self, place: TopicPartition, offset: int, marker: Marker, now: float
    ) -> Piece | None:
        """Take an end marker; returns what can go on because of it."""
        self._newest_end = max(self._newest_end, (marker.lsn, marker.tx))
        if marker.tx in self._done or marker.count <= 0:
            return None
        kept = self._opened(marker.tx, place, offset, now)
        kept.lsn = marker.lsn
        if not kept.seen:
            self.rowless += kept.count is None
            kept.after = marker.lsn
        if kept.count is None or marker.count < kept.count:
            kept.count = marker.count
        return self._close(marker.tx) if len(kept.seen) >= kept.count else None

    def tick(self, now: float, *, caught_up: bool) -> list[Piece]:
        """Let go what has waited long enough; call it now and then.

        Parameters
        ----------
        now
            In seconds, as given to ``row`` and ``end``.
        caught_up
            Whether everything that Kafka has was given to ``row`` and ``end``.
        """
        if not caught_up:
            self._behind = now
            return []
        before = now - self._wait
        if before < self._behind:
            return []
        waited = [tx for tx, kept in self._open.items() if kept.news <= before]
        pieces = [self._let_go(tx) for tx in waited]
        return [piece for piece in pieces if piece is not None]

    def pins(self) -> dict[TopicPartition, int]:
        """Offsets that must not be committed beyond, by place."""
        lowest: dict[TopicPartition, int] = {}
        for kept in self._open.values():
            for place, offset in kept.pins.items():
                lowest[place] = min(offset, lowest.get(place, offset))
        return lowest

    def _opened(self, tx: str, place: TopicPartition, offset: int, now: float) -> _Open:
        kept = self._open.get(tx)
        if kept is None:
            kept = self._open[tx] = _Open()
        kept.news = now
        kept.pins.setdefault(place, offset)
        return kept

    def _close(self, tx: str) -> Piece:
        kept = self._open.pop(tx)
        self.held -= len(kept.changes)
        if kept.count is not None and not kept.seen:
            self.rowless -= 1
        self.complete += 1
        self.ended = max(self.ended, (kept.lsn, tx))
        self._done[tx] = None
        if len(self._done) > REMEMBERED:
            del self._done[next(iter(self._done))]
        return Piece(tx, kept.changes)

    def _part(self, tx: str) -> Piece:
        kept = self._open[tx]
        changes, kept.changes = kept.changes, []
        self.held -= len(changes)
        self.parts += 1
        return Piece(tx, changes, partial=True)

    def _let_go(self, tx: str) -> Piece | None:
        kept = self._open[tx]
        lsn, last = self._newest_end
        if last != tx and lsn > kept.after:
            self.short += 1
            return self._close(tx)
        return self._part(tx) if kept.changes else None

    def _relieve(self) -> Piece:
        """Let go the largest transaction, so that memory is bounded."""
        return self._part(max(self._open, key=lambda tx: len(self._open[tx].changes)))
