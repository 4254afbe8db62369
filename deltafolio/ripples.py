"""Listens to the results topics and notes what arrives, and when.

An open pair of ears, not a consumer group: it starts at the ends of the topics and
keeps every record that comes, with the time at which it came. The demonstration shows
with it what a correction moved; the latency bench measures with it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import msgspec
from aiokafka import TopicPartition

from connectors.kafka import make_consumer
from connectors.settings import Settings

FETCH_MS = 20


@dataclass(frozen=True, slots=True)
class Heard:
    """One record of a results topic.

    Attributes
    ----------
    topic
        Where it was published.
    owner, session
        Which cell: of a portfolio's id, or of a symbol.
    at
        When it arrived here, seconds since the epoch.
    body
        The record.
    """

    topic: str
    owner: int | str
    session: str
    at: float
    body: dict[str, Any]

    @property
    def known(self) -> float:
        """Commit time of the newest change it knows of, seconds since the epoch."""
        return datetime.fromisoformat(self.body["as_of"]).timestamp()


class Listener:
    """Hears everything that is published while it is open.

    Parameters
    ----------
    settings
        Of the brokers.
    topics
        What is heard; snapshots and positions when none is named.

    Examples
    --------
    >>> async with Listener(settings) as ears:  # doctest: +SKIP
    ...     await gauge.settle()
    ...     heard = ears.take()
    """

    def __init__(self, settings: Settings, *topics: str) -> None:
        names = settings.topics
        self._topics = topics or (names.snapshots, names.positions)
        self._partitions = [
            TopicPartition(topic, partition)
            for topic in self._topics
            for partition in range(names.partitions)
        ]
        self._consumer = make_consumer(settings, fetch_max_wait_ms=FETCH_MS)
        self._heard: list[Heard] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        await self._consumer.seek_to_end()
        # Only now is it known where the ends are: what comes after this is heard.
        for partition in self._partitions:
            await self._consumer.position(partition)
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    def take(self) -> list[Heard]:
        """Return what was heard since the last time."""
        heard, self._heard = self._heard, []
        return heard

    async def _listen(self) -> None:
        while True:
            batches = await self._consumer.getmany(timeout_ms=FETCH_MS)
            now = time.time()
            for partition, records in batches.items():
                for record in records:
                    self._note(partition.topic, record.key, record.value, now)

    def _note(self, topic: str, key: bytes, value: bytes | None, now: float) -> None:
        if value is None:
            return
        _, _, session = key.decode().rpartition("|")
        body = msgspec.json.decode(value)
        owner = body["portfolio"] if "portfolio" in body else body["symbol"]
        self._heard.append(Heard(topic, owner, session, now, body))
