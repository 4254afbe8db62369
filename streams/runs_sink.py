"""Runs into ``analytics.runs``: a small compacted topic, read whole at each start.

There is nothing to lose: a record is merged by its run and time, whatever was merged
before, so no offsets are kept and any number of sinks may do it at once.
"""

from __future__ import annotations

import asyncio
import logging

from aiokafka import ConsumerRecord, TopicPartition

from connectors.kafka import started_consumer
from connectors.postgres import Connection, connect
from connectors.runs import RunRecord, merge_run, read_run
from connectors.settings import Settings
from connectors.sink import RefusedError, Written
from connectors.sink_postgres import become_sink, border
from streams.sink_metrics import SinkMetrics

log = logging.getLogger(__name__)

POLL_MS = 1000


async def write_runs(
    settings: Settings, stop: asyncio.Event, metrics: SinkMetrics
) -> None:
    """Merge what the topic says until ``stop`` is set; what is no run is refused.

    Raises
    ------
    SinkError, aiokafka.errors.KafkaError
        The first failure of either side; begin again.
    """
    with border():
        dsn = settings.postgres.dsn.get_secret_value()
        connection = await connect(dsn, "sink runs")
        try:
            await become_sink(connection)
            await _follow(settings, connection, stop, metrics)
        finally:
            connection.terminate()


async def _follow(
    settings: Settings,
    connection: Connection,
    stop: asyncio.Event,
    metrics: SinkMetrics,
) -> None:
    place = TopicPartition(settings.topics.runs, 0)
    async with started_consumer(settings, group_id=None) as consumer:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        while not stop.is_set():
            found = await consumer.getmany(place, timeout_ms=POLL_MS)
            for record in found.get(place, ()):
                metrics.written("runs", await take(connection, record))


async def take(connection: Connection, record: ConsumerRecord[bytes, bytes]) -> Written:
    """Merge one record, or refuse it."""
    try:
        await merge_run(connection, _run_of(record.value))
    except RefusedError as error:
        log.error("%s@%d is refused: %s", record.topic, record.offset, error)  # noqa: TRY400
        return Written(refused=1)
    return Written(stored=1)


def _run_of(value: bytes | None) -> RunRecord:
    run = read_run(value)
    if run is None:
        message = "it is no run"
        raise RefusedError(message)
    return run
