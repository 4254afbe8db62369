"""The sink on real Kafka and PostgreSQL: killed, cut off, and back; nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from connectors import health
from connectors.health import StalledError
from connectors.journal import partition_of
from connectors.kafka import started_producer
from connectors.postgres import apply_schema, connect
from connectors.settings import Settings
from connectors.sink import POSITIONS, SNAPSHOTS, SinkSetupError
from connectors.stack import Stack, StackInfo
from connectors.topics import ensure_topics
from deltafolio.local_app import LocalApp
from streams import sink
from tests.connectors.result_records import (
    Made,
    made,
    positions_content,
    retraction,
    snapshot_content,
)
from tests.worlds import world_settings

pytestmark = pytest.mark.integration

DAYS = [f"2024-01-{day:02d}" for day in range(2, 12)]
PORTFOLIOS = range(1, 101)


@pytest.fixture
async def place(stack: StackInfo, tmp_path: Path) -> AsyncIterator[Settings]:
    """A database with the schema and topics of its own; no process."""
    settings = world_settings(stack, tmp_path)
    name = settings.postgres.slot
    admin = await connect(stack.dsn, "test")
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    await apply_schema(settings.postgres)
    await ensure_topics(settings)
    yield settings
    admin = await connect(stack.dsn, "test")
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@asynccontextmanager
async def sinking(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """The sink, in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(sink.main(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(settings.postgres.dsn.get_secret_value(), "test")
    try:
        yield connection
    finally:
        await connection.close()


async def publish(settings: Settings, topic: str, records: Iterable[Made]) -> None:
    async with started_producer(settings) as producer:
        for record in records:
            portfolio = int(record.key.partition(b"|")[0])
            await producer.send(
                topic,
                record.value,
                record.key,
                partition_of(portfolio, settings.topics.partitions),
                headers=record.headers,
            )


def history(revision: int) -> list[Made]:
    return [
        made(portfolio, day, (revision, 1, 1), snapshot_content(revision))
        for day in DAYS
        for portfolio in PORTFOLIOS
    ]


async def rows_at(settings: Settings, nav: int) -> int:
    async with reading(settings) as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM analytics.portfolio_snapshots WHERE nav = $1", nav
        )
    return count


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)


async def until_all(settings: Settings, nav: int, seconds: float = 30) -> None:
    async def all_there() -> bool:
        return await rows_at(settings, nav) == len(DAYS) * len(PORTFOLIOS)

    await until(all_there, seconds)


async def assert_offsets_are_ends(settings: Settings, topic: str, records: int) -> None:
    async with reading(settings) as connection:
        total = await connection.fetchval(
            "SELECT sum(next_offset) FROM analytics.sink_offsets WHERE topic = $1",
            topic,
        )
    assert total == records


async def test_results_of_both_families_come_to_the_tables(place):
    topics = place.topics
    positions = made(1, DAYS[0], (1, 1, 1), positions_content([1, 2, 3]))
    async with sinking(place):
        await publish(place, topics.snapshots, history(1))
        await publish(place, topics.positions, [positions])
        await until_all(place, 1)
        async with reading(place) as connection:
            lots = "SELECT count(*) = 3 FROM analytics.position_values"
            await until(lambda: connection.fetchval(lots))
    await assert_offsets_are_ends(place, topics.snapshots, 1000)


async def test_after_a_stop_it_goes_on_where_it_was(place):
    topic = SNAPSHOTS.topic(place.topics)
    async with sinking(place):
        await publish(place, topic, history(1))
        await until_all(place, 1)
    gone = [retraction(p, DAYS[0], (2, 1, 1)) for p in PORTFOLIOS]
    await publish(place, topic, gone)

    async def fewer() -> bool:
        return await rows_at(place, 1) == 900

    async with sinking(place):
        await until(fewer)
    await assert_offsets_are_ends(place, topic, 1100)


async def test_killed_at_any_moment_it_loses_nothing_and_repeats_nothing(place):
    topic = SNAPSHOTS.topic(place.topics)
    app = LocalApp(place, names=["sink"])
    app.start()
    try:
        for revision in range(1, 7):
            await publish(place, topic, history(revision))
            app.kill("sink")
            await asyncio.sleep(0.3 * (revision % 3))
        await until_all(place, 6)
    finally:
        app.stop()
    await assert_offsets_are_ends(place, topic, 6000)


async def test_a_connection_that_is_cut_is_made_again(place):
    topic = SNAPSHOTS.topic(place.topics)
    async with sinking(place), reading(place) as connection:
        for revision in range(1, 6):
            await publish(place, topic, history(revision))
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'deltafolio sink%' "
                "AND datname = current_database()"
            )
        await until_all(place, 5)


@pytest.mark.parametrize("service", ["postgres", "broker"])
async def test_a_service_that_is_killed_and_comes_back(stack, place, service, request):
    if request.config.getoption("--stack") != "embedded":
        pytest.skip("kills a service of the embedded stack")
    services, topic = Stack(stack.home), SNAPSHOTS.topic(place.topics)
    async with sinking(place):
        await publish(place, topic, history(1))
        services.kill(service)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(services.start_service, service)
        await publish(place, topic, history(2))
        await until_all(place, 2, 60)


async def test_a_second_process_takes_over_when_the_first_dies(place):
    topic = SNAPSHOTS.topic(place.topics)
    first = LocalApp(place, names=["sink"])
    first.start()
    try:
        await publish(place, topic, history(1))
        await until_all(place, 1)
        async with sinking(place):
            await publish(place, topic, history(2))
            await until_all(place, 2)
            first.stop()
            await publish(place, topic, history(3))
            await until_all(place, 3)
    finally:
        first.stop()


async def test_a_topic_that_was_made_anew_stops_it_with_what_to_do(place):
    async with reading(place) as connection:
        await connection.execute(
            "INSERT INTO analytics.sink_offsets VALUES ($1, 0, 1000000)",
            POSITIONS.topic(place.topics),
        )
    with pytest.raises(SinkSetupError, match="not the same topic"):
        await asyncio.wait_for(sink.main(place, asyncio.Event()), 20)


async def test_a_write_that_hangs_ends_the_process_and_is_done_by_the_next(
    place, monkeypatch
):
    topic = SNAPSHOTS.topic(place.topics)
    with monkeypatch.context() as hasty:
        hasty.setattr(health, "STALL_S", 3.0)
        async with reading(place) as connection, connection.transaction():
            await connection.execute("LOCK analytics.portfolio_snapshots IN SHARE MODE")
            await publish(place, topic, history(1))
            with pytest.raises(StalledError, match="nothing was done for"):
                await asyncio.wait_for(sink.main(place, asyncio.Event()), 60)
    async with sinking(place):
        await until_all(place, 1)
