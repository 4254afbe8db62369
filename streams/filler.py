"""Reading a stretch of a log: what Faust may have skipped, tails, checkpoints.

A plain consumer without a group: it is told where to begin and stops at an end
that was asked for before. It does not commit and is in nobody's way.
"""

import asyncio
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from connectors.kafka import make_consumer
from connectors.settings import Settings
from streams.metrics import Metrics, Phase

logger = logging.getLogger(__name__)

POLL_MS = 200
QUIET_POLLS = 10
"""Empty polls after which a compacted stretch is taken as read to its end."""


class MissingRecordsError(RuntimeError):
    """A log that must be whole lacks records that a state needs, or is made of.

    It was cut (the journal is kept for ever: ``retention.ms=-1``, ``cleanup.policy=
    delete``), made anew, or a broker lost its end. Fill it again from PostgreSQL:
    "Kafka lost the journal" in ``docs/operations.md``.
    """


def must_reach(
    ends: Mapping[TopicPartition, int], states: Mapping[TopicPartition, int]
) -> None:
    """Check that no log ends before what a state has folded of it.

    What is appended to such a log would be taken for records that are folded already.

    Parameters
    ----------
    ends
        Next offset of logs, asked for *after* the states were looked at: a state that
        goes on meanwhile may be ahead of an older answer.
    states
        Next offset that a state needs, of any logs.

    Raises
    ------
    MissingRecordsError
        If one does.

    Examples
    --------
    >>> place = TopicPartition("journal", 3)
    >>> must_reach({place: 2}, {place: 2})
    >>> must_reach({place: 2}, {place: 5})
    Traceback (most recent call last):
    streams.filler.MissingRecordsError: journal[3] ends at 2, the state is at 5
    """
    for place, state in states.items():
        if place in ends and ends[place] < state:
            message = f"{place.topic}[{place.partition}] ends at {ends[place]}, "
            message += f"the state is at {state}"
            raise MissingRecordsError(message)


class Filler:
    """One plain consumer, used for one stretch at a time.

    Parameters
    ----------
    settings
        Of the brokers.
    metrics
        Told how long records were waited for.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._consumer = make_consumer(
            settings, auto_offset_reset="none", fetch_max_wait_ms=POLL_MS
        )
        self._metrics = metrics
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[Any, int]:
        """Next offset of each partition; waits for brokers that are away."""
        wanted = list(partitions)
        return await _answer(lambda: self.ends_now(wanted))

    async def ends_now(self, partitions: Iterable[TopicPartition]) -> dict[Any, int]:
        """Next offset of each partition.

        Raises
        ------
        aiokafka.errors.KafkaError
            If no broker tells within the request time-out.
        """
        wanted = list(partitions)
        return dict(await self._consumer.end_offsets(wanted)) if wanted else {}

    async def stretch(
        self, partition: TopicPartition, start: int, end: int, *, whole: bool
    ) -> AsyncIterator[Sequence[ConsumerRecord[bytes, bytes]]]:
        """Read the records of [start, end), some at a time, in order.

        Parameters
        ----------
        partition
            Where.
        start, end
            First offset and the one behind the last.
        whole
            Whether the log has no holes. If not (it is compacted), the end is
            reached when the position is behind it or nothing more arrives.

        Raises
        ------
        MissingRecordsError
            If the log is whole and does not begin with ``start``.
        """
        if start >= end:
            return
        async with self._lock:
            self._consumer.assign([partition])
            try:
                async for records in self._read(partition, start, end, whole=whole):
                    yield records
            finally:
                self._consumer.unsubscribe()

    async def _read(
        self, partition: TopicPartition, start: int, end: int, *, whole: bool
    ) -> AsyncIterator[Sequence[ConsumerRecord[bytes, bytes]]]:
        starts = await _answer(lambda: self._consumer.beginning_offsets([partition]))
        first = starts[partition]
        if whole and start < first:
            message = f"{partition.topic}[{partition.partition}] begins with {first}, "
            message += f"the state needs {start}"
            raise MissingRecordsError(message)
        self._consumer.seek(partition, position := max(start, first))
        quiet = 0
        while position < end and (whole or quiet < QUIET_POLLS):
            records = await self._poll(partition)
            quiet = 0 if records else quiet + 1
            wanted = [record for record in records if record.offset < end]
            if wanted:
                yield wanted
            position = await self._consumer.position(partition)

    async def _poll(
        self, partition: TopicPartition
    ) -> Sequence[ConsumerRecord[bytes, bytes]]:
        with self._metrics.spending(Phase.READ):
            found = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=500)
        records: Sequence[ConsumerRecord[bytes, bytes]] = found.get(partition, ())
        return records


async def _answer(ask: Callable[[], Awaitable[dict[Any, int]]]) -> dict[Any, int]:
    """Ask until the brokers answer.

    They may restart for longer than a request waits, and a worker need not end for
    that: it has nothing to do meanwhile. Its watch says that it is not ready, and ends
    it when a broker that answers again brings no progress.
    """
    while True:
        try:
            return await ask()
        except KafkaError as error:
            if not (error.retriable or isinstance(error, KafkaTimeoutError)):
                raise
            logger.warning("a log's bounds are not known yet: %r", error)
            await asyncio.sleep(POLL_MS / 1000)
