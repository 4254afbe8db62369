"""Refused results are told as long as nothing as new is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from connectors.postgres import connect
from connectors.refused import read_refused
from connectors.settings import PostgresSettings, TopicSettings
from connectors.sink import SNAPSHOTS, SYMBOLS, Family
from connectors.sink_postgres import PostgresSink
from tests.connectors.result_records import Made, retraction, snapshot

DAY = "2024-01-02"
TOPICS = TopicSettings()
TOO_LARGE = 1e40


@pytest.fixture
async def reader(results: PostgresSettings) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(results.dsn.get_secret_value(), "test")
    yield connection
    await connection.close()


async def write(
    results: PostgresSettings, *records: Made, family: Family = SNAPSHOTS
) -> None:
    topic = family.topic(TOPICS)
    sink = PostgresSink(results.dsn.get_secret_value(), family, topic)
    try:
        await sink.open()
        for record in records:
            await sink.write([record], {record.partition: record.offset + 1})
    finally:
        await sink.close()


async def test_a_refused_result_is_told_until_something_as_new_is_there(
    results, reader
):
    assert await read_refused(reader, TOPICS) is None
    await write(
        results,
        snapshot(1, DAY, (1, 1, 1), offset=1),
        snapshot(1, DAY, (2, 1, 1), TOO_LARGE, offset=2),
        snapshot(1, DAY, (3, 1, 1), TOO_LARGE, offset=3),
        snapshot(2, DAY, (1, 1, 1), TOO_LARGE, offset=4),
    )
    found = await read_refused(reader, TOPICS)
    assert found.count == 2
    assert found.newest.where == f"{TOPICS.snapshots}/0@4"
    assert found.newest.key == f"2|{DAY}"
    assert "numeric field overflow" in found.newest.reason
    await write(
        results,
        snapshot(1, DAY, (3, 1, 1), offset=5),
        retraction(2, DAY, (2, 1, 1), offset=6),
    )
    assert await read_refused(reader, TOPICS) is None


async def test_what_is_refused_and_older_than_the_row_is_no_matter(results, reader):
    await write(
        results,
        snapshot(1, DAY, (2, 1, 1), offset=1),
        snapshot(1, DAY, (1, 9, 9), TOO_LARGE, offset=2),
    )
    assert await read_refused(reader, TOPICS) is None


@pytest.mark.parametrize(
    "change",
    [
        {"key": None},
        {"key": b"\xff|no day"},
        {"key": b"99999999999999999999|2024-01-02"},
        {"value": b"?", "headers": []},
        {"value": b"?", "headers": [("r", b"99999999999999999999,1,1")]},
    ],
)
async def test_a_foreign_record_hides_no_result(results, reader, change):
    await write(results, replace(snapshot(1, DAY, (1, 1, 1), TOO_LARGE), **change))
    assert await reader.fetchval("SELECT count(*) FROM analytics.sink_refused") == 1
    assert await read_refused(reader, TOPICS) is None


async def test_a_record_that_is_refused_again_is_noted_anew(results, reader):
    record = snapshot(1, DAY, (1, 1, 1), TOO_LARGE, offset=1)
    await write(results, record)
    await reader.execute("UPDATE analytics.sink_refused SET rev_p = NULL")
    assert await read_refused(reader, TOPICS) is None
    await write(results, record)
    assert (await read_refused(reader, TOPICS)).count == 1


async def test_a_symbol_with_a_bar_in_its_name_is_found(results, reader):
    name = 'é|"x'
    record = Made(f"{name}|{DAY}".encode(), b"?", offset=1, headers=[("r", b"2,1,1")])
    await write(results, record, family=SYMBOLS)
    found = await read_refused(reader, TOPICS)
    assert (found.count, found.newest.key) == (1, f"{name}|{DAY}")
    row = "INSERT INTO analytics.symbol_statistics VALUES ($1, '2024-01-02', '{}', NULL"
    await reader.execute(row + ", NULL, NULL, 2, 1, 1)", name)
    assert await read_refused(reader, TOPICS) is None
