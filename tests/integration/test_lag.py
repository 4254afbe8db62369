"""How far readers are behind, on real topics with nobody reading but the test."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import TopicPartition

from connectors.kafka import started_consumer, started_producer
from connectors.postgres import connect
from connectors.settings import Settings
from deltafolio.lag import LATE_SECONDS, Lag, read_lags
from deltafolio.status import lag_lines
from streams.intake_group import group_of
from tests.integration.test_sink import place  # noqa: F401 - a fixture

pytestmark = pytest.mark.integration

OLD_SECONDS = 200


async def lags_of(settings: Settings) -> dict[str, Lag]:
    connection = await connect(settings.postgres.dsn.get_secret_value(), "test")
    try:
        found = await read_lags(settings, connection)
    finally:
        await connection.close()
    assert not isinstance(found, str), found
    return {lag.reader: lag for lag in found}


async def done(settings: Settings, group: str, offset: int, topic: str) -> None:
    """Say that a group has done a topic's partition 0 up to an offset."""
    where = TopicPartition(topic, 0)
    async with started_consumer(settings, group_id=group) as consumer:
        consumer.assign([where])
        await consumer.commit({where: offset})


async def sunk(settings: Settings, topic: str, offset: int) -> None:
    connection = await connect(settings.postgres.dsn.get_secret_value(), "test")
    try:
        await connection.execute(
            "INSERT INTO analytics.sink_offsets VALUES ($1, 0, $2)", topic, offset
        )
    finally:
        await connection.close()


async def test_what_waits_is_counted_and_what_waits_long_is_warned_of(place):  # noqa: F811
    names, prices = place.topics, place.cdc_topic("market_data_cache")
    empty = await lags_of(place)
    assert {(lag.records, lag.seconds) for lag in empty.values()} == {(0, None)}

    written = (time.time() - OLD_SECONDS) * 1000
    counts = {prices: 3, names.portfolios: 4, names.snapshots: 5}
    async with started_producer(place) as producer:
        for topic, count in counts.items():
            for number in range(count):
                # The first is the oldest by far; the others are of now.
                at = int(written) if number == 0 else None
                await producer.send_and_wait(
                    topic, b"x", key=b"k", partition=0, timestamp_ms=at
                )
    found = await lags_of(place)
    assert {name: lag.records for name, lag in found.items()} == {
        "intake": 3,
        "workers": 4,
        "sink": 5,
    }
    for lag in found.values():
        assert lag.is_late
        assert lag.seconds == pytest.approx(OLD_SECONDS, abs=30)
    said = "\n".join(lag_lines(list(found.values())))
    assert said.count("DOES NOT KEEP UP") == 3

    # The oldest ones are done: the rest waits, and not for long yet.
    await asyncio.gather(
        done(place, group_of(place), 1, prices),
        done(place, place.worker.app_id, 2, names.portfolios),
        sunk(place, names.snapshots, 5),
    )
    found = await lags_of(place)
    assert [lag.records for lag in found.values()] == [2, 2, 0]
    assert found["sink"].seconds is None
    assert not any(lag.is_late for lag in found.values())
    assert found["workers"].limit > LATE_SECONDS


async def test_a_kafka_that_is_away_is_said(place):  # noqa: F811
    away = place.kafka.model_copy(update={"bootstrap": "127.0.0.1:9"})
    connection = await connect(place.postgres.dsn.get_secret_value(), "test")
    try:
        settings = place.model_copy(update={"kafka": away})
        said = await read_lags(settings, connection)
    finally:
        await connection.close()
    assert isinstance(said, str)
    assert "127.0.0.1:9 by PLAINTEXT" in said
