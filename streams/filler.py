"""Reading a stretch of a log: what Faust may have skipped, tails, checkpoints.

A plain consumer without a group: it is told where to begin and stops at an end
that was asked for before. It does not commit and is in nobody's way.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from connectors.kafka import make_consumer
from connectors.settings import Settings
from streams.metrics import Metrics, Phase

POLL_MS = 200
QUIET_POLLS = 10
"""Empty polls after which a compacted stretch is taken as read to its end."""


class MissingRecordsError(RuntimeError):
    """A log that must be whole lacks records: the topic's retention is wrong.

    The journal is kept for ever. Set ``retention.ms=-1`` and ``cleanup.policy=
    delete`` on it and fill it again from PostgreSQL.
    """


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
        """Next offset of each partition, asked of the brokers now."""
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
        first = (await self._consumer.beginning_offsets([partition]))[partition]
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
