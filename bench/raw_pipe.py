"""The raw pipe: the same bytes read, the same bytes written, no arithmetic.

What Kafka, the client and the copies alone cost for the work of a cold start. As many
processes as there are workers read the whole market and their share of the portfolios'
journal, and write their share of the results' records to topics of their own, batched
and compressed as a worker does. Ready records are in memory before the time begins.

Used by ``bench.cold_start`` and ``bench.backfill``, which measure both in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from analytics.results import ALL_FAMILIES
from connectors.kafka import make_consumer, make_producer
from connectors.settings import Settings
from connectors.topics import ensure_topics
from streams.publisher import BATCH_BYTES

Ready = dict[TopicPartition, list[tuple[bytes, bytes, list[tuple[str, bytes]]]]]


class Pipe(NamedTuple):
    """What a raw pipe did: seconds, and bytes before compression."""

    seconds: float
    read: int
    written: int
    records: int


async def run(settings: Settings, workers: int) -> Pipe:
    """Run one raw pipe beside the results of ``settings``."""
    await ensure_topics(scratch(settings))
    children = [await _start(settings.home, i, workers) for i in range(workers)]
    for child in children:
        assert child.stdout  # noqa: S101 - a pipe
        await child.stdout.readline()
    began = time.time()
    for child in children:
        assert child.stdin  # noqa: S101 - a pipe
        child.stdin.write(b"go\n")
    told = [await child.communicate() for child in children]
    seconds = time.time() - began
    codes = [child.returncode for child in children]
    if any(codes):
        message = f"the raw pipe failed: exit codes {codes}"
        raise RuntimeError(message)
    counts = [map(int, out.split()) for out, _ in told]
    read, written, records = map(sum, zip(*counts, strict=True))
    return Pipe(seconds, read, written, records)


def scratch(settings: Settings) -> Settings:
    """Make settings with other names for the topics that are written."""
    topics = settings.topics
    names = {
        field: f"raw.{getattr(topics, field)}"
        for field in (*ALL_FAMILIES, "market_checkpoint")
    }
    return settings.model_copy(update={"topics": topics.model_copy(update=names)})


async def _start(home: Path, number: int, of: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.raw_pipe",
        str(home),
        str(number),
        str(of),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def child(home: Path, number: int, of: int) -> None:
    """Be one process of the pipe: say that it is ready, wait for a line, do it."""
    settings = Settings.load(home)
    names = settings.topics
    mine = [p for p in range(names.partitions) if p % of == number]
    ready = await _results(settings, mine)
    consumer = make_consumer(settings)
    producer = make_producer(settings, max_batch_size=BATCH_BYTES)
    await consumer.start()
    await producer.start()
    try:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        journal = await _read(
            consumer,
            [TopicPartition(names.market, 0)]
            + [TopicPartition(names.portfolios, p) for p in mine],
        )
        await _write(producer, ready)
    finally:
        await consumer.stop()
        await producer.stop()
    written = [
        len(key) + len(value) for some in ready.values() for key, value, _ in some
    ]
    print(sum(len(r.value) for r in journal), sum(written), len(written), flush=True)


async def _results(settings: Settings, partitions: list[int]) -> Ready:
    names, target = settings.topics, scratch(settings).topics
    ready: Ready = {}
    consumer = make_consumer(settings)
    await consumer.start()
    try:
        for family in settings.worker.families:
            for p in partitions:
                place = TopicPartition(getattr(names, family), p)
                records = await _read(consumer, [place])
                ready[TopicPartition(getattr(target, family), p)] = [
                    (r.key, r.value, list(r.headers)) for r in records
                ]
    finally:
        await consumer.stop()
    return ready


async def _read(consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> list:
    consumer.assign(places)
    await consumer.seek_to_beginning()
    ends = await consumer.end_offsets(places)
    found, open_places = [], [place for place in places if ends[place]]
    while open_places:
        for records in (await consumer.getmany(*open_places, timeout_ms=200)).values():
            found += records
        open_places = [
            place
            for place in open_places
            if await consumer.position(place) < ends[place]
        ]
    return found


async def _write(producer: AIOKafkaProducer, ready: Ready) -> None:
    waiting = []
    for place, records in ready.items():
        batch = producer.create_batch()
        for key, value, headers in records:
            if batch.append(timestamp=None, key=key, value=value, headers=headers):
                continue
            waiting.append(await _send(producer, batch, place))
            batch = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=headers)
        if batch.record_count():
            waiting.append(await _send(producer, batch, place))
    await asyncio.gather(*waiting)


async def _send(producer, batch, place):
    batch.close()
    return await producer.send_batch(batch, place.topic, partition=place.partition)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("of", type=int)
    args = parser.parse_args()
    asyncio.run(child(args.home, args.number, args.of))
