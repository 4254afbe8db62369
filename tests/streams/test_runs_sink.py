"""Foreign records on the topic of runs are refused, and the sink goes on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import msgspec
import pytest

from connectors.postgres import apply_schema, connect
from connectors.runs import CATCH_UP, RUNNING, RunRecord, encode_run
from connectors.sink import Written
from connectors.sink_postgres import become_sink
from streams.runs_sink import take
from tests.connectors.conftest import create_database, postgres_server, settings_of

__all__ = ["postgres_server"]

RUN = RunRecord("w-1", CATCH_UP, RUNNING, 100.0, 101.5)


@pytest.fixture
async def connection(postgres_server: str) -> AsyncIterator[asyncpg.Connection]:
    postgres = settings_of(await create_database(postgres_server))
    await apply_schema(postgres)
    made = await connect(postgres.dsn.get_secret_value(), "sink runs")
    await become_sink(made)
    yield made
    await made.close()


def record(value: bytes | None) -> Any:
    return SimpleNamespace(topic="runs", offset=7, value=value)


@pytest.mark.parametrize(
    "foreign",
    [
        {"error": "a\x00b"},
        {"counts": {"a\x00b": 1}},
        {"started": 1e300},
        {"ended": -1e300},
        {"seconds": {"total": 1e308, "fold": -1e308}, "run": "x\x00"},
        {"run": "".join(chr(0x4E00 + n) for n in range(9000))},
    ],
    ids=lambda foreign: next(iter(foreign)),
)
async def test_what_the_table_cannot_hold_is_refused_and_the_next_one_is_not(
    connection: asyncpg.Connection,
    foreign: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    value = msgspec.json.encode(msgspec.structs.replace(RUN, **foreign))
    assert await take(connection, record(value)) == Written(refused=1)
    assert "runs@7 is refused" in caplog.text
    assert await take(connection, record(encode_run(RUN)[1])) == Written(stored=1)
    assert await connection.fetchval("SELECT count(*) FROM analytics.runs") == 1


async def test_what_is_no_run_is_refused(connection: asyncpg.Connection) -> None:
    assert await take(connection, record(None)) == Written(refused=1)
