"""The door between the CDC topics and the journal, without Kafka. Pure but for logs.

Records go in, in the order of each log; what is to be written comes out. Who calls it
owns the time, the network and the order of the writes (``streams.intake``).
"""

import logging
from typing import Any, TypeAlias

import msgspec
from aiokafka import TopicPartition

from analytics.calendar import Calendar
from connectors.capture import snapshot_signal
from connectors.deadletters import (
    Place,
    Redrive,
    encode_letter,
    later,
    letter_of,
    read_redrive,
)
from connectors.debezium import Decoded, Refused, Trouble, decode, decode_marker
from connectors.settings import Settings
from streams.holdback import Holdback
from streams.intake_group import made_anew
from streams.intake_stats import IntakeStats
from streams.ledger import Ledger, Offsets
from streams.moves import ASKS, Half, Moves, conditions
from streams.packing import JournalRecord, Packer
from streams.transactions import Piece, Transactions

log = logging.getLogger(__name__)

Note: TypeAlias = tuple[bytes, bytes | None]
"""Key and value of a record of a compacted topic; None removes it."""

ROWLESS = 10_000
"""Ends of transactions read ahead of their rows, before intake stops reading ends."""


class Writes(msgspec.Struct, frozen=True):
    """What is to be written, in this order.

    Attributes
    ----------
    announce
        Whether the committed offsets must name new unfinished transactions first.
    letters, held, journal, asks
        Appended together (``asks``: signals to the connector); offsets may be
        committed once all are acknowledged.
    forget_letters, forget_held
        Removed after that.
    """

    announce: bool
    letters: list[Note]
    held: list[Note]
    journal: list[JournalRecord]
    forget_letters: list[Note]
    forget_held: list[Note]
    asks: list[Note]


class Door:
    """State of one assignment, from the committed offsets on.

    Parameters
    ----------
    settings, calendar
        What rows are held against, and how they are batched.
    ledger
        Where the logs were left.
    holdback
        Prices that wait for their session.
    stats
        Counts on, across assignments.

    Attributes
    ----------
    ledger, transactions, holdback
        What it is made of.
    holes
        Offsets that were not there: place, first, and the first that was. Markers of a
        transactional producer, or a loss: who can ask Kafka decides, and clears it.
    """

    def __init__(
        self,
        settings: Settings,
        calendar: Calendar,
        ledger: Ledger,
        holdback: Holdback,
        stats: IntakeStats,
    ) -> None:
        intake = settings.intake
        self.ledger = ledger
        self.holdback = holdback
        self.transactions = Transactions(
            intake.transaction_wait_ms / 1000, intake.rows_held, ledger.ended
        )
        self._moves = Moves(intake.transaction_wait_ms / 1000)
        self._packer = Packer(
            settings.topics, intake.rows_per_record, ledger.unfinished
        )
        self._calendar = calendar
        self._stats = stats
        self._markers = TopicPartition(settings.transaction_topic, 0)
        self._settings = settings
        self._letters: dict[bytes, bytes] = {}
        self._asks: list[Note] = []
        self._forget_letters: dict[bytes, None] = {}
        self._announced = set(ledger.unfinished)
        self.holes: list[tuple[TopicPartition, int, int]] = []

    @property
    def pending(self) -> bool:
        """Whether something is to be written."""
        return bool(
            self._packer.pending
            or self._letters
            or self._asks
            or self._forget_letters
            or self.holdback.writes
        )

    def committable(self) -> Offsets:
        """Offsets to commit; right only while nothing is ``pending``."""
        kept = self.transactions
        pins = kept.pins()
        for place, offset in self._moves.pins():
            pins[place] = min(offset, pins.get(place, offset))
        return self.ledger.committable(pins, kept.ended, self._packer.unfinished)

    def announcement(self) -> Offsets:
        """Tell what to commit before parts of a transaction are first appended."""
        return self.ledger.announcement(self._packer.unfinished)

    @property
    def ahead(self) -> bool:
        """Whether so many ends were read ahead that their reading should pause."""
        return self.transactions.rowless > ROWLESS

    def take(self, place: TopicPartition, record: Any, now: float) -> None:
        """Take one record: decode it, validate it, let go what is whole.

        Raises
        ------
        connectors.topics.TopicError
            When it lies before what was read: the topic is not the same any more.
        """
        read = self.ledger.next(place)
        missing = self.ledger.read(place, record.offset)
        if missing < 0:
            raise made_anew(self._settings, place, read, record.offset)
        self._stats.read += 1
        if missing > 0:
            self.holes.append((place, record.offset - missing, record.offset))
        if place == self._markers:
            self._take_marker(place, record, now)
        else:
            self._take_row(place, record, now)

    def tick(self, now: float, today: int, *, caught_up: bool) -> None:
        """Let go what has waited long enough, and prices whose session began.

        Parameters
        ----------
        now
            Seconds of the clock that ``take`` is given.
        today
            The exchange's date, as an ordinal.
        caught_up
            Whether all that Kafka has was taken.
        """
        short = self.transactions.short
        for piece in self.transactions.tick(now, caught_up=caught_up):
            self._pass(piece)
        if self.transactions.short > short:
            self._stats.short += self.transactions.short - short
            log.warning(
                "%d transactions went on with fewer rows than their ends count: sent "
                "again after a crash, or lost before Kafka",
                self.transactions.short - short,
            )
        if caught_up:
            self._ask_again(now)
        if today != self.holdback.today:
            due = self.holdback.begin(today)
            self._stats.delivered += len(due)
            self._packer.add(None, due)

    def drain(self) -> Writes:
        """Take out everything that is to be written."""
        unfinished = set(self._packer.unfinished)
        held = self.holdback.take_writes()
        letters, self._letters = self._letters, {}
        asks, self._asks = self._asks, []
        forget, self._forget_letters = self._forget_letters, {}
        journal = self._packer.drain()
        self._stats.records += len(journal)
        for made in journal:
            self._stats.changes += made.rows
            self._stats.size += len(made.value)
        announce = not unfinished <= self._announced
        self._announced = unfinished
        return Writes(
            announce,
            list(letters.items()),
            [note for note in held if note[1] is not None],
            journal,
            [(key, None) for key in forget],
            [note for note in held if note[1] is None],
            asks,
        )

    def begin(self, place: TopicPartition, first: int, end: int, *, known: bool) -> int:
        """Tell where to read on, and say what was removed before.

        Parameters
        ----------
        place
            A log.
        first, end
            Where it begins and ends in Kafka.
        known
            Whether an offset was committed. If not, nobody knows whether what was
            removed had been read: Kafka forgets offsets, too.

        Raises
        ------
        connectors.topics.TopicError
            When it ends before what was read: the topic is not the same any more.
        """
        left = self.ledger.next(place) if known else 0
        if left > end:
            raise made_anew(self._settings, place, left, end)
        if left < first:
            self.lose(place, left, first)
            self.ledger.skip(place, first)
        return self.ledger.next(place)

    def lose(self, place: TopicPartition, first: int, beyond: int) -> None:
        """Say that records were removed before they were read.

        Intake goes on: the snapshot that repairs it comes the same way.
        """
        self._stats.lost += beyond - first
        words = f"{first} to {beyond - 1}"
        log.error(
            "%s: records %s were removed before they were read; take a snapshot of "
            "the table",
            place.topic,
            words,
        )
        at = Place(place.topic, place.partition, first)
        letter = letter_of(at, None, Refused("records_lost", "offset", words))
        key, value = encode_letter(letter)
        self._letters[key] = value

    # --- inside ---

    def _take_marker(self, place: TopicPartition, record: Any, now: float) -> None:
        marker = decode_marker(record.value)
        if isinstance(marker, Refused):
            self._refuse(place, record, Decoded(refused=marker), marker)
            return
        self._stats.boundaries += 1
        if marker is not None:
            self._pass(self.transactions.end(place, record.offset, marker, now))

    def _take_row(self, place: TopicPartition, record: Any, now: float) -> None:
        mark = read_redrive(record.headers) if record.headers else None
        floor = mark.floor if mark else self.ledger.floor(place)
        decoded = decode(record.value, self._calendar, floor)
        if mark is not None:
            decoded = self._redriven(mark, decoded)
        elif decoded.floor is not None:
            self.ledger.raise_floor(place, record.offset, decoded.floor)
        if decoded.ignored is not None:
            self._stats.ignored[decoded.ignored] += 1
            return
        if decoded.refused is not None:
            self._refuse(place, record, decoded, decoded.refused, mark)
        else:
            self._stats.accepted += 1
        if mark is None:
            self._moves.take(place, record, decoded.changes, now)
        self._pass(self.transactions.row(place, record.offset, decoded, now))

    def _ask_again(self, now: float) -> None:
        """Ask for rows that moved away, and whose arrival was never sent."""
        streamed = self.transactions.streamed
        for half in self._moves.vain(now, streamed):
            self._give_up(half)
        lost = self._moves.lost(now, streamed)
        if not lost:
            return
        self._stats.asked += len(lost)
        found = conditions(lost)
        log.warning(
            "rows that changed their key were cut in two by a restart of the "
            "connector, and are asked for again: %s",
            "; ".join(
                f"{table} {which or ''}".strip() for table, which in found.items()
            ),
        )
        name = f"moved-{min(change.version for change in lost).lsn}"
        self._asks.append(snapshot_signal(self._settings, name, found))

    def _give_up(self, half: Half) -> None:
        """Say that a row that moved never came."""
        change, record = half.change, half.record
        log.error(
            "%s %s changed its key and did not come under another, asked for %d "
            "times: it is gone, or `deltafolio reconcile` names it",
            change.table,
            change.key,
            ASKS,
        )
        topic, partition = half.place
        at = Place(topic, partition, record.offset, record.timestamp, record.key)
        why = Refused("move_lost", "new_key", half.new_key)
        letter = letter_of(at, None, why, table=change.table, row=change.key)
        key, value = encode_letter(letter)
        self._letters[key] = value

    def _pass(self, piece: Piece | None) -> None:
        if piece is None:
            return
        self._stats.parts += piece.partial
        changes = self.holdback.sift(piece.changes)
        self._stats.held += len(piece.changes) - len(changes)
        self._packer.add(piece.tx, changes, partial=piece.partial)

    def _redriven(self, mark: Redrive, decoded: Decoded) -> Decoded:
        """Free a row put back of its transaction, which is long done."""
        if decoded.refused is None:
            self._stats.redriven += 1
            key = f"{mark.topic}/{mark.partition}/{mark.offset}".encode()
            self._letters.pop(key, None)
            self._forget_letters[key] = None
        return Decoded(tuple(map(later, decoded.changes)), decoded.refused)

    def _refuse(
        self,
        place: TopicPartition,
        record: Any,
        decoded: Decoded,
        refused: Refused,
        mark: Redrive | None = None,
    ) -> None:
        self._stats.refused[refused.reason] += 1
        where = mark or Place(place.topic, place.partition, record.offset)
        change = decoded.changes[-1] if decoded.changes else None
        letter = letter_of(
            Place(
                where.topic, where.partition, where.offset, record.timestamp, record.key
            ),
            record.value,
            refused,
            table=change.table if change else None,
            row=change.key if change else None,
            floor=mark.floor if mark else self.ledger.floor(place),
        )
        if refused.reason == Trouble.TRUNCATE:
            log.error(
                "%s was truncated: refused, every row stays as it was; DELETE its rows "
                "where they shall go (dead letter %s)",
                refused.value,
                letter.id,
            )
        key, value = encode_letter(letter)
        self._forget_letters.pop(key, None)
        self._letters[key] = value
