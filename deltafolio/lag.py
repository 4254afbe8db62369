"""How far each process is behind what it reads: records, and how long they wait.

Read from the outside: where each log ends, and up to where its reader is done by its
own account (the group's offsets; the sink's table). What waits long is warned of, not
what is much: a bulk load is many records, and a reader that stands still may have one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from connectors.kafka import committed, places_of, started_admin, started_consumer
from connectors.postgres import Connection
from connectors.settings import Settings
from connectors.sink import FAMILIES

LATE_SECONDS = 60.0
"""What waits longer is warned of; a worker may take a checkpoint's time more."""

LOOK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a process is behind.

    Attributes
    ----------
    reader
        Which process.
    records
        How many it has not taken, or not put down.
    seconds
        How long the oldest of them waits; None if there is none, or it could not be
        read.
    limit
        From which on that is too long.
    """

    reader: str
    records: int
    seconds: float | None
    limit: float

    @property
    def is_late(self) -> bool:
        """Whether its oldest record waits too long."""
        return self.seconds is not None and self.seconds > self.limit


async def read_lags(settings: Settings, connection: Connection) -> list[Lag] | str:
    """Look at intake, the workers and the sink; a sentence if Kafka is away."""
    try:
        async with (
            started_admin(settings) as admin,
            started_consumer(settings, group_id=None) as consumer,
        ):
            return await _lags(settings, connection, admin, consumer)
    except KafkaError as error:
        return f"Kafka does not answer: {error}"


async def _lags(
    settings: Settings,
    connection: Connection,
    admin: AIOKafkaAdminClient,
    consumer: AIOKafkaConsumer,
) -> list[Lag]:
    from streams.intake import topics_read
    from streams.intake_group import group_of

    names = settings.topics
    read = {
        "intake": (topics_read(settings), group_of(settings)),
        "workers": ([names.portfolios], settings.worker.app_id),
    }
    lags = []
    for reader, (topics, group) in read.items():
        places = await places_of(admin, topics)
        done = {p: at.offset for p, at in (await committed(admin, group)).items()}
        extra = settings.worker.checkpoint_s if reader == "workers" else 0.0
        limit = LATE_SECONDS + extra
        lags.append(Lag(reader, *await behind(consumer, places, done), limit))
    places = await places_of(admin, [family.topic(names) for family in FAMILIES])
    sunk = await _sunk(connection)
    lags.append(Lag("sink", *await behind(consumer, places, sunk), LATE_SECONDS))
    return lags


async def behind(
    consumer: AIOKafkaConsumer,
    places: list[TopicPartition],
    done: Mapping[TopicPartition, int],
) -> tuple[int, float | None]:
    """Count records at ``places`` that are not done, and the age of the oldest."""
    if not places:
        return 0, None
    ends = await consumer.end_offsets(places)
    starts = await consumer.beginning_offsets(places)
    left = {
        place: at
        for place in places
        if (at := max(done.get(place, 0), starts[place])) < ends[place]
    }
    records = sum(ends[place] - at for place, at in left.items())
    return records, await _age(consumer, left)


async def _age(
    consumer: AIOKafkaConsumer, left: Mapping[TopicPartition, int]
) -> float | None:
    """Seconds since the oldest of the first records at these offsets was written."""
    if not left:
        return None
    consumer.assign(list(left))
    for place, at in left.items():
        consumer.seek(place, at)
    first: dict[TopicPartition, int] = {}
    end = time.monotonic() + LOOK_SECONDS
    while len(first) < len(left) and time.monotonic() < end:
        for place, records in (await consumer.getmany(timeout_ms=200)).items():
            first.setdefault(place, records[0].timestamp)
            consumer.pause(place)
    return time.time() - min(first.values()) / 1000 if first else None


async def _sunk(connection: Connection) -> dict[TopicPartition, int]:
    rows = await connection.fetch(
        "SELECT topic, partition, next_offset FROM analytics.sink_offsets"
    )
    return {TopicPartition(row[0], row[1]): row[2] for row in rows}
