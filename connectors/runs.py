"""Runs: catch-ups of live workers and replays, as records on their way to PostgreSQL.

Who does a run writes what is known of it to the topic ``runs`` when it begins and when
it ends, under its name; the sink brings the newest record of each to
``analytics.runs``. So neither workers nor replays need a right in the database.
"""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import msgspec
from aiokafka.errors import KafkaError

from connectors.kafka import started_producer
from connectors.postgres import Connection
from connectors.settings import Settings
from connectors.sink import RefusedError

log = logging.getLogger(__name__)

CATCH_UP, REPLAY = "catch-up", "replay"
RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"
ERROR_CHARACTERS = 2000


class RunRecord(msgspec.Struct, frozen=True):
    """What is known of a run.

    Attributes
    ----------
    run, kind
        Its name; ``catch-up`` or ``replay``.
    status
        ``running``, ``done``, ``failed``, ``stopped``; of a replay also its phase,
        ``paused``, ``cancelled``. Who is killed says nothing more: the last is left.
    first, last
        Sessions that it derives; of a catch-up, of which it has published.
    started, updated, ended
        Seconds since the epoch; the newest ``updated`` of a run counts.
    counts
        What was folded, derived, published, refused.
    seconds
        By phase; ``total`` from its start to its end, ``cpu`` of its processes.
    error
        Why it failed.
    """

    run: str
    kind: str
    status: str
    started: float
    updated: float
    first: datetime.date | None = None
    last: datetime.date | None = None
    ended: float | None = None
    counts: dict[str, int] = {}
    seconds: dict[str, float] = {}
    error: str = ""


_decode = msgspec.json.Decoder(RunRecord).decode


def encode_run(record: RunRecord) -> tuple[bytes, bytes]:
    """Key and value of a record of the topic."""
    short = msgspec.structs.replace(record, error=record.error[:ERROR_CHARACTERS])
    return record.run.encode(), msgspec.json.encode(short)


def read_run(value: bytes | None) -> RunRecord | None:
    """Inverse of ``encode_run``; None for what is none."""
    try:
        return _decode(value or b"")
    except msgspec.MsgspecError:
        return None


async def tell_run(settings: Settings, record: RunRecord) -> None:
    """Write a run's record; a run does not fail because nobody listens."""
    key, value = encode_run(record)
    try:
        async with started_producer(settings) as producer:
            await producer.send_and_wait(settings.topics.runs, value, key=key)
    except KafkaError as error:
        log.warning("run %s is not written down: %r", record.run, error)


MERGE = """
INSERT INTO analytics.runs AS t (
    run, kind, status, first_session, last_session, started, updated, ended,
    counts, seconds, error
) VALUES (
    $1, $2, $3, $4, $5, to_timestamp($6), to_timestamp($7), to_timestamp($8),
    $9::text::jsonb, $10::text::jsonb, nullif($11, '')
) ON CONFLICT (run) DO UPDATE SET
    status = excluded.status, first_session = excluded.first_session,
    last_session = excluded.last_session, updated = excluded.updated,
    ended = excluded.ended, counts = excluded.counts, seconds = excluded.seconds,
    error = excluded.error
WHERE excluded.updated >= t.updated
"""


async def merge_run(connection: Connection, record: RunRecord) -> None:
    """Bring a record to ``analytics.runs`` if it is newer than what is there.

    Raises
    ------
    RefusedError
        If the table cannot hold it: a time beyond its calendar, a NUL, a name of
        thousands of characters. Ours have none; anybody may write to the topic.
    """
    rounded = {name: round(value, 3) for name, value in record.seconds.items()}
    words: list[Any] = [record.run, record.kind, record.status]
    words += [record.first, record.last]
    words += [record.started, record.updated, record.ended]
    words += [json.dumps(record.counts), json.dumps(rounded), record.error]
    try:
        await connection.execute(MERGE, *words)
    except (asyncpg.DataError, asyncpg.ProgramLimitExceededError) as error:
        raise RefusedError(str(error)) from error
