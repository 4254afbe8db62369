"""Intake: CDC topics in, journal out.

A plain consumer reads all CDC topics in batches, a plain idempotent producer appends.
Each round is

I1. *read* what Kafka has;
I2. *take* it: decode, validate, assemble transactions, hold back (``streams.door``);
I3. *announce*: where a transaction goes on in parts for the first time, commit its name
    with the offsets, so that a successor tells every log when it is complete;
I4. *append* dead letters, held prices, journal records and requests for rows that were
    never sent, and await the acknowledgement of all of them;
I5. *remove* held prices that were delivered, letters that were accepted;
I6. *commit* (each second) offsets up to the oldest row that is not in the journal.

A crash between any two repeats what follows the last commit: changes with the versions
they had, letters and held prices with the keys they had. Nothing is lost, and nobody
can tell a repetition from the first time but by its offset.

One round takes no more than it has read, and reading waits for acknowledgements:
memory is bounded by a fetch, and by ``rows_held`` rows of unfinished transactions.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError

from analytics.rows import TABLES
from connectors.calendar import load_calendar
from connectors.capture import signal_topic
from connectors.deadletters import Place, encode_letter, letter_of
from connectors.debezium import Refused
from connectors.exchange import exchange_today
from connectors.health import Pulse, watched
from connectors.journal import JournalFormatError
from connectors.kafka import (
    committed,
    make_consumer,
    make_producer,
    read_to_end,
    started_admin,
)
from connectors.settings import Settings
from connectors.steps import Step, crash
from connectors.topics import ensure_topics
from streams.door import Door, Writes
from streams.holdback import Holdback
from streams.intake_group import born_now, group_of
from streams.intake_stats import IntakeStats
from streams.ledger import Ledger, Offsets

log = logging.getLogger(__name__)

ROUND_RECORDS = 2000
"""About 20 ms of work: the group's heartbeats are sent between two rounds."""

IDLE_S = 0.05
COMMIT_S = 1.0
REPORT_S = 10.0


def topics_read(settings: Settings) -> list[str]:
    """Topics that intake reads."""
    captured = [settings.cdc_topic(table) for table in TABLES]
    return [*captured, settings.transaction_topic]


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Run intake until ``stop`` is set.

    Raises
    ------
    connectors.topics.TopicError
        When a topic is not what it must be.
    aiokafka.errors.KafkaError
        When Kafka cannot be reached, or refuses.
    """
    intake = Intake(settings)
    await watched(settings.home, "intake", [intake.pulse], intake.run(stop))


class Intake:
    """The process, with its clock and its steps given by the caller.

    Parameters
    ----------
    settings
        Where Kafka is, and how rows are batched.
    now
        Seconds since the epoch: decides which session is current at the exchange.
    done
        Told of each step that is done.

    Attributes
    ----------
    stats
        Counters.
    pulse
        Beats with each round.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float] = time.time,
        done: Callable[[Step], None] = crash.done,
    ) -> None:
        self.stats = IntakeStats()
        self.pulse = Pulse()
        self._settings = settings
        bounds = settings.calendar
        self._calendar = load_calendar(bounds.name, bounds.start, bounds.end)
        self._today = exchange_today(bounds.name, now)
        self._done = done
        self._owner = _Owner()
        self._consumer: AIOKafkaConsumer = None
        self._producer: AIOKafkaProducer = None
        self._flushed = self._committed = self._reported = 0.0
        self._read_at_report = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set; what was read by then is appended, committed."""
        await ensure_topics(self._settings)
        self._producer = make_producer(self._settings)
        self._consumer = make_consumer(
            self._settings,
            group_id=group_of(self._settings),
            partition_assignment_strategy=(born_now(),),
            session_timeout_ms=int(self._settings.worker.session_timeout_s * 1000),
            heartbeat_interval_ms=int(self._settings.worker.session_timeout_s * 250),
            fetch_max_wait_ms=100,
        )
        self._consumer.subscribe(topics_read(self._settings), listener=self._owner)
        try:
            await self._producer.start()
            await self._consumer.start()
            await self._own(stop)
        finally:
            await self._consumer.stop()
            await self._producer.stop()

    async def _own(self, stop: asyncio.Event) -> None:
        """Work for one assignment after the other."""
        while not stop.is_set():
            term, places = self._owner.term, self._owner.places
            self.pulse.beat()
            if not places:
                await asyncio.sleep(IDLE_S)
                continue
            try:
                door = await self._open(places)
                log.info("intake has the CDC topics")
                door.tick(0.0, self._today(), caught_up=False)
                await self._work(door, term, stop)
            except IllegalStateError:
                # The group has decided anew while we asked about our partitions.
                if term == self._owner.term:
                    raise

    async def _open(self, places: Iterable[TopicPartition]) -> Door:
        """Take the logs over where they were left."""
        async with started_admin(self._settings) as admin:
            offsets = await committed(admin, group_of(self._settings))
        offsets = {place: at for place, at in offsets.items() if place in places}
        starts = await self._consumer.beginning_offsets(list(places))
        ends = await self._consumer.end_offsets(list(places))
        markers = TopicPartition(self._settings.transaction_topic, 0)
        ledger = Ledger(offsets, starts, markers)
        holdback = await self._read_held()
        door = Door(self._settings, self._calendar, ledger, holdback, self.stats)
        for place in ledger.places:
            known = place in offsets
            at = door.begin(place, starts[place], ends[place], known=known)
            self._consumer.seek(place, at)
        return door

    async def _read_held(self) -> Holdback:
        holdback = Holdback(self._today() - 1)
        topic = self._settings.topics.held
        async for records in read_to_end(self._settings, topic):
            for record in records:
                try:
                    holdback.restore(record.value, record.key)
                except JournalFormatError as error:
                    await self._report_held(record, str(error))
        return holdback

    async def _report_held(self, record: Any, why: str) -> None:
        place = Place(
            record.topic, record.partition, record.offset, record.timestamp, record.key
        )
        letter = letter_of(place, record.value, Refused("broken_record", "", why))
        key, value = encode_letter(letter)
        topic = self._settings.topics.deadletters
        await self._producer.send_and_wait(topic, value, key=key)

    async def _work(self, door: Door, term: int, stop: asyncio.Event) -> None:
        """Do rounds until the assignment ends."""
        clock = asyncio.get_running_loop().time
        while term == self._owner.term:
            self.pulse.beat()
            ending = stop.is_set()
            if not ending:
                patience = self._patience(door, clock())
                found = await self._consumer.getmany(
                    timeout_ms=patience, max_records=ROUND_RECORDS
                )
                if found:
                    self._done(Step.I1)
                if term != self._owner.term:
                    return  # what was read is read again by who has the logs now
                await self._take(door, found, clock())
                # Neither waits while there are records in memory, of which there may be
                # megabytes: here heartbeats are sent, and fetches.
                await asyncio.sleep(0)
            now = clock()
            if door.pending and (ending or now >= self._next_flush()):
                await self._write(door, door.drain())
                self._flushed = clock()
            if not door.pending and (ending or now >= self._committed + COMMIT_S):
                await self._commit(door)
                self._committed = clock()
            self._report(now)
            if ending:
                return

    def _next_flush(self) -> float:
        return self._flushed + self._settings.intake.coalesce_ms / 1000

    def _patience(self, door: Door, now: float) -> int:
        """Milliseconds to wait for more; the first row after a rest waits for none."""
        wait = max(0.0, self._next_flush() - now) if door.pending else IDLE_S
        return int(wait * 1000 + 0.5)

    async def _take(
        self, door: Door, found: dict[TopicPartition, Any], now: float
    ) -> None:
        # Ends after rows: a transaction that is read whole is never kept waiting.
        markers = TopicPartition(self._settings.transaction_topic, 0)
        for place in sorted(found, key=lambda place: place == markers):
            for record in found[place]:
                door.take(place, record, now)
        if door.holes:
            await self._look_into_holes(door)
        if door.ahead:
            self._consumer.pause(markers)
        elif markers in self._consumer.paused():
            self._consumer.resume(markers)
        caught_up = await self._is_caught_up(door)
        door.tick(now, self._today(), caught_up=caught_up)
        if found:
            self._done(Step.I2)

    async def _look_into_holes(self, door: Door) -> None:
        """Tell records that were cut off from what never was a record."""
        holes, door.holes = door.holes, []
        places = {place for place, _, _ in holes}
        starts = await self._consumer.beginning_offsets(list(places))
        for place, first, beyond in holes:
            if starts[place] > first:
                door.lose(place, first, min(beyond, starts[place]))

    async def _is_caught_up(self, door: Door) -> bool:
        """Whether everything that Kafka has was taken."""
        ledger = door.ledger
        for place in ledger.places:
            end = self._consumer.highwater(place)
            if end is None:
                return False
            if end > ledger.next(place):
                # There may be nothing but a transactional producer's marker, or
                # nothing any more.
                position = await self._consumer.position(place)
                if position < end:
                    return False
                first = (await self._consumer.beginning_offsets([place]))[place]
                if first > ledger.next(place):
                    door.lose(place, ledger.next(place), min(first, position))
                ledger.skip(place, position)
        return True

    async def _write(self, door: Door, writes: Writes) -> None:
        topics = self._settings.topics
        if writes.announce:
            await self._commit_offsets(door, door.announcement())
            self._done(Step.I3)
        await self._append(
            *((topics.deadletters, 0, *note) for note in writes.letters),
            *((topics.held, 0, *note) for note in writes.held),
            *((*made.place, None, made.value) for made in writes.journal),
            *((signal_topic(self._settings), 0, *note) for note in writes.asks),
        )
        self._done(Step.I4)
        if writes.forget_letters or writes.forget_held:
            await self._append(
                *((topics.deadletters, 0, *note) for note in writes.forget_letters),
                *((topics.held, 0, *note) for note in writes.forget_held),
            )
            self._done(Step.I5)

    async def _append(
        self, *records: tuple[str, int, bytes | None, bytes | None]
    ) -> None:
        """Append records in order, and wait until all of them are acknowledged."""
        send = self._producer.send
        sent = [
            await send(topic, value, key=key, partition=partition)
            for topic, partition, key, value in records
        ]
        await asyncio.gather(*sent)

    async def _commit(self, door: Door) -> None:
        offsets = door.committable()
        if offsets and await self._commit_offsets(door, offsets):
            self._done(Step.I6)

    async def _commit_offsets(self, door: Door, offsets: Offsets) -> bool:
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # The group is deciding anew: its next owner starts at the last commit.
            log.warning("offsets not committed: %s", error)
            return False
        door.ledger.commit_done(offsets)
        return True

    def _report(self, now: float) -> None:
        if now < self._reported + REPORT_S:
            return
        self._reported = now
        if self.stats.read != self._read_at_report:
            self._read_at_report = self.stats.read
            log.info("intake: %s", self.stats.line())


class _Owner(ConsumerRebalanceListener):  # type: ignore[misc]
    """Which logs are ours, and in which term: each decision of the group begins one."""

    def __init__(self) -> None:
        self.term = 0
        self.places: frozenset[TopicPartition] = frozenset()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """End the term: what was read and not appended is read again."""
        self.term += 1
        self.places = frozenset()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin a term, maybe with nothing: another intake has the logs then."""
        self.term += 1
        self.places = frozenset(assigned)
        if not self.places:
            log.info("intake stands by: another one has the CDC topics")
