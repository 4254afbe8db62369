"""The worker's own producer: whole batches, awaited, and whose they are.

One idempotent producer (acks=all) writes results, checkpoints and nothing else;
records of a partition go out as whole batches (`send_batch`), not one by one.

*Sole writer.* Whoever owns partition q of the journal is the only one to write
partition q of every topic of this worker. So the offsets that the broker returns
must follow on each other; a gap, or an end that moved while nothing was sent,
shows records of somebody else: a former owner that was stopped and woke up. A
`Lane` notes such stretches; the worker repairs them (``docs/delivery.md``, R1 to R3).
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from analytics.results import Result
from connectors.kafka import make_producer
from connectors.settings import Settings
from streams.metrics import Metrics, Phase
from streams.record import Record, RecordWriter

BATCH_BYTES = 512 * 1024
"""Under the default limit of a broker (1 MiB) also when nothing compresses."""


Given: TypeAlias = list[tuple[int, "asyncio.Future[Any]"]]
"""Batches handed to the producer: how many records, and what their storage tells."""


class NotOwnerError(Exception):
    """A partition was lost, or the group has not confirmed us for too long.

    What was not sent must not be sent: the partition's state is dropped and
    restored by whoever owns it next.
    """


@dataclass(eq=False)
class Lane:
    """One partition of one topic that only this worker may write.

    Attributes
    ----------
    topic, partition
        Where.
    expected
        The offset that our next record must get; None before it is known.
    foreign
        Stretches [start, end) that somebody else wrote.
    sending
        Batches handed to the producer and not yet acknowledged.
    """

    topic: str
    partition: int
    expected: int | None = None
    foreign: list[tuple[int, int]] = field(default_factory=list)
    sending: int = 0

    @property
    def place(self) -> TopicPartition:
        """Topic and partition."""
        return TopicPartition(self.topic, self.partition)

    def acknowledged(self, base: int, count: int) -> None:
        """Account for one batch of ours that the broker put at ``base``.

        A retry that the broker had already stored can come back without an
        offset (-1); then the end that is seen next looks foreign, and what we
        wrote is read and published once more: harmless.
        """
        self.sending -= 1
        if base >= 0:
            self.seen_end(base)
            self.expected = base + count

    def seen_end(self, end: int) -> None:
        """Account for an end of the log, seen while nothing of ours is underway."""
        if self.expected is not None and end > self.expected:
            self.foreign.append((self.expected, end))
        self.expected = max(end, self.expected or 0)

    def take_foreign(self) -> list[tuple[int, int]]:
        """Stretches noted since the last call."""
        taken, self.foreign = self.foreign, []
        return taken


class Publisher:
    """Sends results and checkpoints, and knows what it may send.

    Parameters
    ----------
    settings
        Of the brokers, and the topic of each family of results.
    writer
        Makes records of results.
    permit
        Asked right before each batch whether this partition may be written; it
        waits while that cannot be known.
    metrics
        Told how long encoding took.

    Attributes
    ----------
    batches
        How many were stored.
    encoding
        Seconds that encoding has taken.
    """

    def __init__(
        self,
        settings: Settings,
        writer: RecordWriter,
        permit: Callable[[int], Awaitable[bool]],
        metrics: Metrics,
    ) -> None:
        self._producer = make_producer(settings, max_batch_size=BATCH_BYTES)
        topics = settings.topics
        self._topics: dict[str, str] = {
            name: getattr(topics, name) for name in settings.worker.families
        }
        self._writer = writer
        self._permit = permit
        self._metrics = metrics
        self._lanes: dict[tuple[str, int], Lane] = {}
        self.encoding = 0.0
        self.batches = 0

    async def start(self) -> None:
        """Connect."""
        await self._producer.start()

    async def stop(self) -> None:
        """Send what was handed over, then disconnect."""
        await self._producer.stop()

    # --- lanes ---

    def lane(self, topic: str, partition: int) -> Lane:
        """Find the lane of a partition; it is made at the first call."""
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane(topic, partition)
        return lane

    def result_lanes(self, partition: int) -> dict[str, Lane]:
        """By family, the lanes of the results of a partition."""
        return {name: self.lane(at, partition) for name, at in self._topics.items()}

    def lanes(self, partition: int) -> list[Lane]:
        """Every lane of a partition."""
        return [lane for place, lane in self._lanes.items() if place[1] == partition]

    def forget(self, partition: int) -> None:
        """Forget the lanes of a partition that another worker owns now."""
        for place in [place for place in self._lanes if place[1] == partition]:
            del self._lanes[place]

    # --- sending ---

    async def publish(
        self, results: Iterable[Result], handed: asyncio.Event
    ) -> set[int]:
        """E4: publish results and wait until all are stored.

        Parameters
        ----------
        results
            Of any partitions and families.
        handed
            Set when all of them are with the producer, or will not be.

        Returns
        -------
        set of int
            Partitions of which something was not sent because they are not ours
            any more. What the engine believes to have said of them is not so.

        Raises
        ------
        aiokafka.errors.KafkaError
            If the brokers did not take a batch within the request time-out.
        """
        by_lane: dict[Lane, list[Result]] = defaultdict(list)
        for result in results:
            lane = self.lane(self._topics[result.family], result.partition)
            by_lane[lane].append(result)
        record = self._writer.record
        try:
            given = await asyncio.gather(
                *(
                    self._give(lane, map(record, mine))
                    for lane, mine in by_lane.items()
                ),
                return_exceptions=True,
            )
        finally:
            handed.set()
        self._writer.forget()
        outcomes = await asyncio.gather(
            *(
                self._stored(lane, one)
                for lane, one in zip(by_lane, given, strict=True)
            ),
            return_exceptions=True,
        )
        return _lost(list(by_lane), outcomes)

    async def send(self, lane: Lane, records: Iterable[Record]) -> None:
        """Append records to a lane in whole batches, in order, and wait for all.

        Records that fit one batch are stored together or not at all.

        Raises
        ------
        NotOwnerError
            If the partition may not be written; batches before may be stored.
        """
        await self._stored(lane, await self._give(lane, records))

    async def _give(self, lane: Lane, records: Iterable[Record]) -> Given:
        """Hand records to the producer in whole batches."""
        waiting: Given = []
        left = iter(records)
        record = next(left, None)
        while record is not None:
            batch = self._producer.create_batch()
            began = perf_counter()
            record = _fill(batch, record, left)
            self._encoded(perf_counter() - began)
            waiting.append(await self._hand_over(lane, batch))
        return waiting

    async def _stored(self, lane: Lane, given: Given | BaseException) -> None:
        """Wait until what was handed over is stored; raise why it could not be."""
        if isinstance(given, BaseException):
            raise given
        for count, future in given:
            lane.acknowledged((await future).offset, count)
            self.batches += 1

    def _is_current(self, lane: Lane) -> bool:
        """Whether a lane was not forgotten since; what was made for it then is void."""
        return self._lanes.get((lane.topic, lane.partition)) is lane

    def _encoded(self, seconds: float) -> None:
        self.encoding += seconds
        self._metrics.spent(Phase.ENCODE, seconds)

    async def append(self, topic: str, record: Record) -> None:
        """Append a record to a topic of one partition that is not ours alone."""
        batch = self._producer.create_batch()
        _append(batch, record)
        await (await self._producer.send_batch(batch, topic, partition=0))

    async def _hand_over(
        self, lane: Lane, batch: BatchBuilder
    ) -> tuple[int, asyncio.Future[Any]]:
        if not await self._permit(lane.partition) or not self._is_current(lane):
            raise NotOwnerError(lane.partition)
        batch.close()
        lane.sending += 1
        count = batch.record_count()
        future = await self._producer.send_batch(
            batch, lane.topic, partition=lane.partition
        )
        return count, future


def _fill(batch: BatchBuilder, record: Record, left: Iterator[Record]) -> Record | None:
    """Append a record and what follows while there is room; what is next, if any."""
    _append(batch, record)
    for following in left:
        if not _append(batch, following):
            return following
    return None


def _append(batch: BatchBuilder, record: Record) -> bool:
    key, value, headers = record
    appended = batch.append(timestamp=None, key=key, value=value, headers=headers)
    return appended is not None


def _lost(lanes: Sequence[Lane], outcomes: Sequence[BaseException | None]) -> set[int]:
    """Partitions that were not ours; any other failure is raised."""
    lost = set()
    for lane, outcome in zip(lanes, outcomes, strict=True):
        if isinstance(outcome, NotOwnerError):
            lost.add(lane.partition)
        elif outcome is not None:
            raise outcome
    return lost
