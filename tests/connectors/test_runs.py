"""Runs on their way to ``analytics.runs``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

import asyncpg
import msgspec
import pytest

from connectors.postgres import SINK_ROLE, connect, quote
from connectors.runs import (
    CATCH_UP,
    DONE,
    ERROR_CHARACTERS,
    FAILED,
    RUNNING,
    RunRecord,
    encode_run,
    merge_run,
    read_run,
)
from connectors.settings import PostgresSettings

RUN = RunRecord(
    "w-1", CATCH_UP, RUNNING, 100.0, 101.5, counts={"rows": 3}, seconds={"fold": 0.25}
)
OVER = msgspec.structs.replace(
    RUN, status=DONE, updated=109.0, ended=109.0, first=date(2024, 1, 2)
)


@dataclass
class Reader:
    connection: asyncpg.Connection

    async def row(self) -> dict:
        return dict(await self.connection.fetchrow("SELECT * FROM analytics.runs"))


@pytest.fixture
async def reader(results: PostgresSettings):
    connection = await connect(results.dsn.get_secret_value(), "test")
    await connection.execute(f"SET ROLE {quote(SINK_ROLE)}")
    yield Reader(connection)
    await connection.close()


def test_a_record_is_read_as_it_was_written_and_a_long_error_is_cut():
    key, value = encode_run(OVER)
    assert key == b"w-1"
    assert read_run(value) == OVER
    long = msgspec.structs.replace(RUN, error="x" * 10_000)
    cut = read_run(encode_run(long)[1])
    assert cut is not None
    assert len(cut.error) == ERROR_CHARACTERS


@pytest.mark.parametrize("value", [None, b"", b"{}", b"no JSON", b'{"run": 1}'])
def test_what_is_no_run_is_none(value):
    assert read_run(value) is None


async def test_the_newest_record_of_a_run_counts_whichever_comes_last(reader):
    await merge_run(reader.connection, OVER)
    await merge_run(reader.connection, RUN)
    row = await reader.row()
    assert (row["status"], row["first_session"]) == (DONE, date(2024, 1, 2))
    assert (row["ended"] - row["started"]).total_seconds() == 9
    assert json.loads(row["counts"]) == {"rows": 3}
    assert json.loads(row["seconds"]) == {"fold": 0.25}
    assert row["error"] is None

    failed = msgspec.structs.replace(RUN, status=FAILED, updated=110.0, error="no disk")
    await merge_run(reader.connection, failed)
    row = await reader.row()
    assert (row["status"], row["error"]) == (FAILED, "no disk")
