"""How many rows a second intake takes, and how long one row takes.

``python -m bench.intake`` measures the door alone, in memory: envelope to journal
record. With ``--bootstrap HOST:PORT`` (a broker of ``deltafolio up`` will do) also the
process: rows a second from full topics, beside the raw pipe (the same bytes read, the
same number of bytes written, nothing in between), and the time from the
acknowledgement of a row in its CDC topic to its arrival from the journal at a steady
rate. The topics are made under names of their own and removed afterwards.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from secrets import token_hex
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition

from analytics.calendar import Calendar
from bench.machine import head, spread
from connectors.calendar import load_calendar
from connectors.debezium import decode
from connectors.journal import decode as decode_journal
from connectors.kafka import started_admin, started_consumer, started_producer
from connectors.settings import KafkaSettings, Settings, TopicSettings, WorkerSettings
from connectors.topics import ensure_topics, topics_of
from streams.door import Door
from streams.holdback import Holdback
from streams.intake import Intake, topics_read
from streams.intake_stats import IntakeStats
from streams.ledger import Ledger

DAY = 19_724  # 2024-01-02 as Debezium counts
ORDINAL = 719_163 + DAY
TX_ROWS = 100


def price(n: int, tx: int, order: int) -> bytes:
    """Make an update of a price, as Debezium sends it."""
    row = {
        "symbol": f"S{n % 500:04d}",
        "date": DAY,
        "open": "150.250000",
        "high": "151.900000",
        "low": "149.100000",
        "close": f"{100 + n % 97}.25{n % 10}000",
        "adj_close": 150.125,
        "volume": 1_234_567,
    }
    return envelope("market_data_cache", row, tx, order)


def lot(n: int, tx: int, order: int) -> bytes:
    """Make an update of a lot."""
    row = {
        "id": n,
        "portfolio_id": n % 1000 + 1,
        "symbol": f"S{n % 500:04d}",
        "position_type": "LONG",
        "investment_class": "PUBLIC",
        "quantity": f"{n % 1000}.5000",
        "entry_price": "10.250000",
        "entry_date": DAY,
        **dict.fromkeys(("exit_price", "exit_date", "underlying_symbol")),
        **dict.fromkeys(("strike_price", "expiration_date", "last_price")),
        "deleted_at": None,
    }
    return envelope("positions", row, tx, order)


def envelope(table: str, row: dict[str, Any], tx: int, order: int) -> bytes:
    """Wrap a row in all that goes with it."""
    commit = 29_000_000 + tx * 100_000
    lsn = commit + order * 100
    at = int(time.time() * 1_000_000)
    source = {
        "version": "3.6.3.Final",
        "connector": "postgresql",
        "name": "cdc",
        "ts_ms": at // 1000,
        "snapshot": "false",
        "db": "deltafolio",
        "sequence": f'["{commit}","{lsn}"]',
        "ts_us": at,
        "ts_ns": at * 1000,
        "schema": "public",
        "table": table,
        "txId": tx,
        "lsn": lsn,
        **dict.fromkeys(("xmin", "origin", "origin_lsn")),
    }
    place = {"id": f"{tx}:{lsn}", "total_order": order, "data_collection_order": order}
    message = {
        "before": row,
        "after": row,
        "source": source,
        "transaction": place,
        "op": "u",
        "ts_ms": at // 1000,
    }
    return json.dumps(message, separators=(",", ":")).encode()


def end(tx: int, rows: int) -> bytes:
    """Make the end of a transaction."""
    lsn = 29_000_000 + (tx + 1) * 100_000
    message = {"status": "END", "id": f"{tx}:{lsn}", "event_count": rows}
    return json.dumps(message).encode()


# --- in memory ---


def in_memory(settings: Settings, calendar: Calendar, rows: int) -> None:
    """Decode alone; then all that the door does, to the bytes of journal records."""
    head("Intake in memory: envelope to journal record, one core")
    for table, make in (("market_data_cache", price), ("positions", lot)):
        values = [make(n, n // TX_ROWS, n % TX_ROWS + 1) for n in range(rows)]
        speeds = [
            rows / _timed(lambda v=values: [decode(value, calendar) for value in v])
            for _ in range(3)
        ]
        print(f"{table}: decode and validate  {spread(speeds, 'rows a CPU second', 0)}")
        found = [
            rows / _through_the_door(settings, calendar, table, values) for _ in "abc"
        ]
        print(f"{table}: the whole door       {spread(found, 'rows a CPU second', 0)}")


def _timed(work: Callable[[], object]) -> float:
    """CPU seconds: others may use the machine too."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _through_the_door(
    settings: Settings, calendar: Calendar, table: str, values: list[bytes]
) -> float:
    ends = TopicPartition(settings.transaction_topic, 0)
    place = TopicPartition(settings.cdc_topic(table), 0)
    stats = IntakeStats()
    ledger = Ledger({}, {place: 0, ends: 0}, ends)
    door = Door(settings, calendar, ledger, Holdback(ORDINAL), stats)
    rows = [_record(place, n, value) for n, value in enumerate(values)]
    count = len(values) // TX_ROWS
    marks = [_record(ends, n, end(n, TX_ROWS)) for n in range(count)]
    began = time.process_time()
    for n, mark in enumerate(marks):
        for row in rows[n * TX_ROWS : (n + 1) * TX_ROWS]:
            door.take(place, row, 0.0)
        door.take(ends, mark, 0.0)
        if n % 20 == 19:  # as a round of the process does
            door.drain()
    door.drain()
    seconds = time.process_time() - began
    assert stats.changes == count * TX_ROWS  # noqa: S101 - or it measures nothing
    return seconds


def _record(place: TopicPartition, offset: int, value: bytes) -> ConsumerRecord:
    return ConsumerRecord(
        place.topic, place.partition, offset, 0, 0, b"k", value, None, 1, 1, ()
    )


# --- through Kafka ---


async def through_kafka(settings: Settings, rows: int, seconds: float) -> None:
    """Rows a second from full topics, beside the raw pipe; then latency."""
    await ensure_topics(settings)
    try:
        async with started_producer(settings) as producer:
            await _fill(settings, producer, rows)
            head(f"Intake through Kafka: {rows} price rows in full topics")
            await _catch_up(settings, producer, rows)
            for rate in (200, 500, 1000):
                await _steady(settings, producer, rows, rate, seconds)
                rows += int(rate * seconds)
    finally:
        async with started_admin(settings) as admin:
            await admin.delete_topics([topic.name for topic in topics_of(settings)])


async def _fill(settings: Settings, producer: AIOKafkaProducer, rows: int) -> None:
    topic = settings.cdc_topic("market_data_cache")
    for n in range(rows):
        tx = n // TX_ROWS
        await producer.send(topic, price(n, tx, n % TX_ROWS + 1), partition=0)
        if n % TX_ROWS == TX_ROWS - 1:
            await producer.send(
                settings.transaction_topic, end(tx, TX_ROWS), partition=0
            )
    await producer.flush()


async def _catch_up(settings: Settings, producer: AIOKafkaProducer, rows: int) -> None:
    speeds, cpu = [], []
    size = 0
    for _ in range(3):
        fresh = WorkerSettings(app_id=f"bench{token_hex(4)}")
        intake = Intake(settings.model_copy(update={"worker": fresh}))
        stop = asyncio.Event()
        running = asyncio.create_task(intake.run(stop))
        await _until(lambda i=intake: i.stats.read > 0)
        before = intake.stats.changes
        began, used = time.perf_counter(), time.process_time()
        await _until(lambda i=intake: i.stats.changes >= rows)
        done = intake.stats.changes - before
        speeds.append(done / (time.perf_counter() - began))
        cpu.append(done / (time.process_time() - used))
        size = intake.stats.size // max(1, intake.stats.records)
        stop.set()
        await running
    print(f"intake    {spread(speeds, 'rows/s', 0)}")
    print(f"          {spread(cpu, 'rows a CPU second', 0)}")
    raw = [await _raw_pipe(settings, producer, rows, size) for _ in range(3)]
    print(f"raw pipe  {spread(raw, 'rows/s', 0)}")


async def _raw_pipe(
    settings: Settings, producer: AIOKafkaProducer, rows: int, size: int
) -> float:
    """Read the same records; write as many bytes as intake would."""
    filler, read = bytes(size), 0
    log = settings.topics.portfolios  # nothing else is in it here
    async with started_consumer(settings, group_id=None) as consumer:
        places = [TopicPartition(topic, 0) for topic in topics_read(settings)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        began = time.perf_counter()
        while read < rows + rows // TX_ROWS:
            found = await consumer.getmany(timeout_ms=200, max_records=2000)
            count = sum(map(len, found.values()))
            read += count
            sent = [
                await producer.send(log, filler, partition=0)
                for _ in range(-(-count // settings.intake.rows_per_record))
            ]
            await asyncio.gather(*sent)
        return rows / (time.perf_counter() - began)


async def _steady(
    settings: Settings,
    producer: AIOKafkaProducer,
    rows: int,
    rate: int,
    seconds: float,
) -> None:
    """Time from a row's acknowledgement by its topic to the journal's reader."""
    fresh = WorkerSettings(app_id=f"bench{token_hex(4)}")
    own = settings.model_copy(update={"worker": fresh})
    intake, stop = Intake(own), asyncio.Event()
    running = asyncio.create_task(intake.run(stop))
    await _until(lambda: intake.stats.changes >= rows)
    first = 10_000_000 + rate * 1_000
    sent: dict[int, float] = {}
    async with started_consumer(own, group_id=None) as consumer:
        market = TopicPartition(own.topics.market, 0)
        consumer.assign([market])
        await consumer.seek_to_end(market)
        listening = asyncio.create_task(_listen(consumer, sent, int(rate * seconds)))
        began = time.perf_counter()
        for n in range(int(rate * seconds)):
            pause = began + n / rate - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            await _send_one(own, producer, first + n, sent)
        with suppress(TimeoutError):
            took = await asyncio.wait_for(listening, 30)
            took.sort()
            p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
            print(
                f"{rate} rows/s, one a transaction: p50 {p50 * 1e3:.1f}, "
                f"p99 {p99 * 1e3:.1f}, max {took[-1] * 1e3:.1f} ms (n {len(took)})"
            )
    stop.set()
    await running


async def _until(what: Callable[[], bool]) -> None:
    while True:
        if what():
            return
        await asyncio.sleep(0.002)


async def _send_one(
    settings: Settings, producer: AIOKafkaProducer, tx: int, sent: dict[int, float]
) -> None:
    topic = settings.cdc_topic("market_data_cache")
    future = await producer.send(topic, price(tx, tx, 1), partition=0)
    await producer.send(settings.transaction_topic, end(tx, 1), partition=0)
    commit = 29_000_000 + tx * 100_000
    future.add_done_callback(lambda _: sent.setdefault(commit, time.perf_counter()))


async def _listen(consumer: Any, sent: dict[int, float], wanted: int) -> list[float]:
    took: list[float] = []
    while len(took) < wanted:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            at = time.perf_counter()
            took += [at - sent.pop(c, at) for r in records for c in _commits(r.value)]
    return took


def _commits(value: bytes) -> Iterator[int]:
    return (change.version.commit for change in decode_journal(value).changes)


def main() -> None:
    """Ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--bootstrap", help="a broker; without it: in memory only")
    args = parser.parse_args()
    settings = Settings()
    bounds = settings.calendar
    in_memory(settings, load_calendar(bounds.name, bounds.start, bounds.end), args.rows)
    if args.bootstrap:
        asyncio.run(through_kafka(_own(args.bootstrap), args.rows, args.seconds))


def _own(bootstrap: str) -> Settings:
    prefix = f"bench{token_hex(4)}"
    names = {
        field: f"{prefix}.{value}"
        for field, value in TopicSettings().model_dump().items()
        if isinstance(value, str)
    }
    return Settings(
        kafka=KafkaSettings(bootstrap=bootstrap), topics=TopicSettings(**names)
    )


if __name__ == "__main__":
    main()
