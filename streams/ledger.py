"""How far each CDC log was read, and how far it may be committed. Pure.

With each committed offset goes what cannot be told from the records after it: the
*floor* of a table's log (position of its last initial snapshot, see
``connectors.debezium``) and, on the transaction topic, the newest transaction that is
done and those that were appended in parts. They are the offset's metadata in Kafka, so
that they are always those of that very offset.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

Offsets: TypeAlias = dict[TopicPartition, OffsetAndMetadata]

UNFINISHED_NAMES = 200
"""Kafka takes 4 KiB of metadata; there is rarely one such transaction."""


class Note(msgspec.Struct, omit_defaults=True):
    """Metadata of a committed offset."""

    floor: int = 0
    ended: tuple[int, str] = (0, "")
    unfinished: list[str] = []


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Note).decode


def read_note(metadata: str) -> Note:
    """Read an offset's metadata; whatever else it is, it is an empty note."""
    try:
        return _decode(metadata.encode())
    except msgspec.DecodeError:
        return Note()


class Ledger:
    """Positions of one assignment.

    Parameters
    ----------
    committed
        Where each log was left.
    starts
        Where logs begin; those that were never committed are read from there.
    transactions
        The transaction topic's log.
    """

    def __init__(
        self,
        committed: Mapping[TopicPartition, OffsetAndMetadata],
        starts: Mapping[TopicPartition, int],
        transactions: TopicPartition,
    ) -> None:
        self._transactions = transactions
        notes = {place: read_note(at.metadata) for place, at in committed.items()}
        self._next: dict[TopicPartition, int] = {
            **starts,
            **{place: at.offset for place, at in committed.items()},
        }
        # By log: offsets of snapshot rows with a new floor, oldest first.
        self._floors = {
            place: [(-1, notes[place].floor if place in notes else 0)]
            for place in self._next
        }
        note = notes.get(transactions, Note())
        self.ended = note.ended
        self.unfinished = tuple(note.unfinished)
        self._said: Offsets = {}
        self._left = dict(self._next)

    @property
    def places(self) -> Iterable[TopicPartition]:
        """The logs."""
        return self._next.keys()

    def next(self, place: TopicPartition) -> int:
        """Offset of the next record to read."""
        return self._next[place]

    def read(self, place: TopicPartition, offset: int) -> int:
        """Note that a record was read.

        Returns how many are missing before it, or a negative number when it was read
        before.
        """
        missing = offset - self._next[place]
        if missing >= 0:
            self._next[place] = offset + 1
        return missing

    def skip(self, place: TopicPartition, offset: int) -> None:
        """Note that there are no records before an offset that were not read."""
        self._next[place] = max(offset, self._next[place])

    def floor(self, place: TopicPartition) -> int:
        """Position of the last initial snapshot read from a log."""
        return self._floors[place][-1][1]

    def raise_floor(self, place: TopicPartition, offset: int, floor: int) -> None:
        """Note a snapshot's row."""
        if floor != self.floor(place):
            self._floors[place].append((offset, floor))

    def committable(
        self,
        pins: Mapping[TopicPartition, int],
        ended: tuple[int, str],
        unfinished: Iterable[str],
    ) -> Offsets:
        """Offsets to commit where something changed since ``commit_done``.

        Right only when everything read and not pinned is in the journal.
        """
        found = {}
        for place, position in self._next.items():
            offset = min(position, pins.get(place, position))
            at = self._at(place, offset, ended, unfinished)
            if at != self._said.get(place):
                found[place] = at
        return found

    def announcement(self, unfinished: Iterable[str]) -> Offsets:
        """Tell of the offset committed last, with other unfinished transactions."""
        place = self._transactions
        return {place: self._at(place, self._left[place], self.ended, unfinished)}

    def commit_done(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Note what was committed."""
        self._said.update(offsets)
        self._left.update({place: at.offset for place, at in offsets.items()})
        if self._transactions in offsets:
            self.ended = read_note(offsets[self._transactions].metadata).ended

    def _at(
        self,
        place: TopicPartition,
        offset: int,
        ended: tuple[int, str],
        unfinished: Iterable[str],
    ) -> OffsetAndMetadata:
        note = Note(floor=self._floor_at(place, offset))
        if place == self._transactions:
            note.ended = ended
            note.unfinished = sorted(unfinished)[:UNFINISHED_NAMES]
        return OffsetAndMetadata(offset, _encode(note).decode())

    def _floor_at(self, place: TopicPartition, offset: int) -> int:
        """Floor by the records before an offset; forgets what is older still."""
        floors = self._floors[place]
        while len(floors) > 1 and floors[1][0] < offset:
            del floors[0]
        return floors[0][1]
