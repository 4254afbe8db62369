"""The process ``sink``: results topics into schema ``analytics``, each on its own.

A family is a topic, a table and a connection, in an endless loop; the numbers are those
of ``docs/delivery.md``:

* S1 become the only writer of the table and learn the next offsets (``Sink.open``);
* S2 read on from there, by partition (no consumer group: Kafka's committed offsets
  could be ahead of the table, or behind it);
* S3 keep the newest record of each key while a transaction is under way;
* S4 to S8 write records and offsets in one transaction (``Sink.write``); on to S3.

Whatever fails is closed and opened again after a pause: what was not committed is read
a second time, and what was is recognised by its revision. A topic that ends before the
offset we have read is another one of the same name, and that stops the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from connectors.health import Pulse, watched
from connectors.kafka import make_consumer
from connectors.memory import spare_the_collector
from connectors.settings import Settings
from connectors.sink import (
    FAMILIES,
    Family,
    Sink,
    SinkSetupError,
    SinkUnavailableError,
    Written,
)
from connectors.sink_postgres import PostgresSink
from connectors.sink_records import Backlog
from connectors.steps import Step, crash
from connectors.topics import ensure_topics
from streams.runs_sink import write_runs
from streams.sink_metrics import SinkMetrics

log = logging.getLogger(__name__)

T = TypeVar("T")
Records: TypeAlias = Mapping[TopicPartition, list[ConsumerRecord]]

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
REPORT_SECONDS = 10.0
STOP_SECONDS = 5.0
"""How long the last write may take when asked to stop."""

_PASSING = (SinkUnavailableError, KafkaError, OSError)
"""What is tried again."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is written at once, and how often.

    Attributes
    ----------
    gap_s
        Between the starts of two transactions while little is waiting. Ten ticks a
        second become a few transactions, and the machine has time for the workers.
    waiting_bytes
        So much is not left waiting for the gap; at twice as much reading pauses.
    fetch_records
        So many records are taken from the consumer at a time.
    """

    gap_s: float = 0.5
    waiting_bytes: int = 8_000_000
    fetch_records: int = 2_000


class Source(Protocol):
    """What is read from: a consumer of aiokafka."""

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Records:
        """Return the next records, by partition; none if there are none by then."""


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Write all families until ``stop`` is set.

    Raises
    ------
    SinkSetupError, TopicError
        When trying again is of no use; the message says what to do.
    """
    spare_the_collector()
    metrics, pulses = SinkMetrics(), {family: Pulse() for family in FAMILIES}
    await watched(
        settings.home,
        "sink",
        list(pulses.values()),
        write_families(settings, pulses, stop, metrics),
        metrics.registry,
        settings.sink.web_port,
    )


async def write_families(
    settings: Settings,
    pulses: Mapping[Family, Pulse],
    stop: asyncio.Event,
    metrics: SinkMetrics,
) -> None:
    """Write families, each by itself, and runs, until ``stop`` is set."""
    first = next(iter(pulses.values()))
    await keep_trying("topics", lambda: ensure_topics(settings), stop, first)
    try:
        async with asyncio.TaskGroup() as group:
            for family, pulse in pulses.items():
                group.create_task(write_family(settings, family, stop, metrics, pulse))
            group.create_task(
                keep_trying("runs", lambda: write_runs(settings, stop, metrics), stop)
            )
    except ExceptionGroup as several:
        raise several.exceptions[0] from several


async def write_family(
    settings: Settings,
    family: Family,
    stop: asyncio.Event,
    metrics: SinkMetrics,
    pulse: Pulse,
) -> None:
    """Write one family until ``stop`` is set, whatever goes away and comes back."""
    dsn, topic = settings.postgres.dsn.get_secret_value(), family.topic(settings.topics)

    async def attempt() -> None:
        sink = PostgresSink(dsn, family, topic, pulse.beat)
        try:
            offsets = await unless(stop, sink.open())  # S1
            crash.done(Step.S1)
            if offsets is not None:
                async with _reading(settings, topic, offsets) as consumer:  # S2
                    pump = Pump(
                        consumer, sink, family.name, metrics=metrics, pulse=pulse
                    )
                    await pump.run(stop)
        finally:
            await sink.close()

    await keep_trying(family.name, attempt, stop, pulse)


async def keep_trying(
    what: str,
    attempt: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    pulse: Pulse | None = None,
) -> None:
    """Attempt until it succeeds or ``stop`` is set; pauses grow while it fails."""
    loop, pause = asyncio.get_running_loop(), FIRST_PAUSE
    while not stop.is_set():
        began = loop.time()
        try:
            await attempt()
        except _PASSING as error:
            if loop.time() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            log.warning("%s: %s; again in %.1f s", what, error, pause)
            if pulse:
                pulse.beat(f"{what}: {error}")
            await unless(stop, asyncio.sleep(pause))
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            return


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Do work, or give it up when ``stop`` is set first (None)."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        await cancel(task, stopped)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _reading(
    settings: Settings, topic: str, offsets: Mapping[int, int]
) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer of all partitions of a topic, at the given offsets."""
    consumer = make_consumer(
        settings,
        group_id=None,
        # A hole is a question for `position`, not for the client.
        auto_offset_reset="none",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=2_000_000,
    )
    try:
        await consumer.start()
        places = [TopicPartition(topic, p) for p in range(settings.topics.partitions)]
        consumer.assign(places)
        first = await consumer.beginning_offsets(places)
        end = await consumer.end_offsets(places)
        for place in places:
            at = offsets.get(place.partition, 0)
            consumer.seek(place, position(place, at, first[place], end[place]))
        crash.done(Step.S2)
        yield consumer
    finally:
        await consumer.stop()


def position(place: TopicPartition, at: int, first: int, end: int) -> int:
    """Where to read on; what was cut from the start of the log is passed over.

    Raises
    ------
    SinkSetupError
        When the log ends before: it was made anew, and its revisions start again.
    """
    if at > end:
        message = (
            f"topic {place.topic}, partition {place.partition}, was read to {at} and "
            f"ends at {end}: it is not the same topic any more. If the journal was "
            "made anew, empty what came from the old one: TRUNCATE "
            "analytics.portfolio_snapshots, analytics.position_arrays, "
            "analytics.portfolio_risk, analytics.symbol_statistics, "
            "analytics.sink_retractions, analytics.symbol_retractions, "
            "analytics.sink_offsets, analytics.sink_refused"
        )
        raise SinkSetupError(message)
    return max(at, first)


class Pump:
    """Reads and writes at the same time; what waits between is thinned.

    Parameters
    ----------
    source
        Where records come from, positioned.
    sink
        An open sink.
    name
        For the log.
    pace
        How much, how often.
    metrics
        Told what became of records, and how long it took.
    pulse
        Beats while both sides go on.

    Attributes
    ----------
    total
        What became of all records so far.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        name: str,
        pace: Pace | None = None,
        metrics: SinkMetrics | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self.total = Written()
        self._source = source
        self._sink = sink
        self._name = name
        self._pace = pace or Pace()
        self._metrics = metrics or SinkMetrics()
        self._pulse = pulse or Pulse()
        self._busy = False
        self._backlog = Backlog()
        self._waiting = asyncio.Event()
        self._much = asyncio.Event()
        self._room = asyncio.Event()
        self._ending = False
        self._reported = 0.0

    async def run(self, stop: asyncio.Event, patience: float = STOP_SECONDS) -> None:
        """Work until ``stop`` is set, then write what was read and return.

        Parameters
        ----------
        stop
            Asks for the end.
        patience
            Seconds that the last write may take; what is given up is read again.

        Raises
        ------
        SinkError, aiokafka.errors.KafkaError
            The first failure of either side.
        """
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write())
        stopped = asyncio.create_task(stop.wait())
        tasks = (reading, writing, stopped)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            await cancel(reading)
            self._ending = True
            self._waiting.set()
            self._much.set()
            done, _ = await asyncio.wait({writing}, timeout=patience)
            for task in done:
                task.result()
        finally:
            await cancel(*tasks)

    async def _read(self) -> None:
        """S3: take records in, unless too many wait already."""
        while True:
            found = await self._source.getmany(
                timeout_ms=200, max_records=self._pace.fetch_records
            )
            if not self._busy:  # a write that hangs must show
                self._pulse.beat()
            for records in found.values():
                self._backlog.add(records)
            if found:
                crash.done(Step.S3)
                self._waiting.set()
            if self._backlog.size >= self._pace.waiting_bytes:
                self._much.set()
            if self._backlog.size >= 2 * self._pace.waiting_bytes:
                self._room.clear()
                await self._room.wait()
            # Records that are there already are given without a pause.
            await asyncio.sleep(0)

    async def _write(self) -> None:
        """S4 to S8: write what waits, in whole transactions, not too often."""
        loop = asyncio.get_running_loop()
        while not (self._ending and not self._backlog):
            await self._waiting.wait()
            self._waiting.clear()
            self._much.clear()
            next_at = loop.time() + self._pace.gap_s
            records, offsets = self._backlog.take()
            self._room.set()
            if offsets:
                self._busy = True
                with self._metrics.writing(self._name):
                    written = await self._sink.write(records, offsets)
                self._busy = False
                # While there is always more, reading never meets an idle writer.
                self._pulse.beat()
                self._metrics.written(self._name, written)
                self.total += written
                self._report(loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_at):
                    await self._much.wait()

    def _report(self, now: float) -> None:
        if now - self._reported >= REPORT_SECONDS:
            log.info("%s: %s so far", self._name, self.total)
            self._reported = now
