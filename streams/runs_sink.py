"""Runs into ``analytics.runs``: a small compacted topic, read whole at each start.

There is nothing to lose: a record is merged by its run and time, whatever was merged
before, so no offsets are kept and any number of sinks may do it at once.
"""

from __future__ import annotations

import asyncio
import logging

from aiokafka import TopicPartition

from connectors.kafka import started_consumer
from connectors.postgres import Connection, connect
from connectors.runs import merge_run, read_run
from connectors.settings import Settings
from connectors.sink_postgres import become_sink, border

log = logging.getLogger(__name__)

POLL_MS = 1000


async def write_runs(settings: Settings, stop: asyncio.Event) -> None:
    """Merge what the topic says until ``stop`` is set.

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
            await _follow(settings, connection, stop)
        finally:
            connection.terminate()


async def _follow(
    settings: Settings, connection: Connection, stop: asyncio.Event
) -> None:
    place = TopicPartition(settings.topics.runs, 0)
    async with started_consumer(settings, group_id=None) as consumer:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        while not stop.is_set():
            found = await consumer.getmany(place, timeout_ms=POLL_MS)
            for record in found.get(place, ()):
                run = read_run(record.value)
                if run is None:
                    log.error("%s@%d is no run", place.topic, record.offset)
                else:
                    await merge_run(connection, run)
