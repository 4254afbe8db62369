"""What every sink does: one suite for the one in memory and the one in PostgreSQL."""

# ruff: noqa: S311 - seeded on purpose

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from connectors.postgres import connect
from connectors.settings import PostgresSettings
from connectors.sink import SNAPSHOTS, Sink, Written
from connectors.sink_memory import MemorySink
from connectors.sink_postgres import PostgresSink
from connectors.sink_records import Backlog
from tests.connectors.result_records import Made, retraction, snapshot

D1, D2 = "2024-01-02", "2024-01-03"
TOPIC = "results.snapshots"


class InMemory:
    """The sink in memory: its instance is what survives."""

    def __init__(self) -> None:
        self._sink = MemorySink(SNAPSHOTS)

    def sink(self) -> Sink:
        return self._sink

    async def navs(self) -> dict[tuple[int, str], Decimal | None]:
        return {
            (key[0], str(key[1])): _decimal(bytes(content.nav))
            for key, content in self._sink.rows.items()
        }

    async def refused(self) -> set[tuple[int, int]]:
        return set(self._sink.refused)


@dataclass
class InPostgres:
    """The sink in PostgreSQL: each is a new connection."""

    dsn: str
    connection: asyncpg.Connection

    def sink(self) -> Sink:
        return PostgresSink(self.dsn, SNAPSHOTS, TOPIC)

    async def navs(self) -> dict[tuple[int, str], Decimal | None]:
        rows = await self.connection.fetch(
            "SELECT portfolio_id, session::text, nav FROM analytics.portfolio_snapshots"
        )
        return {(row[0], row[1]): row[2] for row in rows}

    async def refused(self) -> set[tuple[int, int]]:
        rows = await self.connection.fetch(
            'SELECT partition, "offset" FROM analytics.sink_refused'
        )
        return {tuple(row) for row in rows}


def _decimal(raw: bytes) -> Decimal | None:
    return None if raw == b"null" else Decimal(raw.decode())


Store = InMemory | InPostgres


@pytest.fixture
async def in_postgres(results: PostgresSettings) -> AsyncIterator[InPostgres]:
    dsn = results.dsn.get_secret_value()
    connection = await connect(dsn, "test")
    yield InPostgres(dsn, connection)
    await connection.close()


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return InMemory()
    found: Store = request.getfixturevalue("in_postgres")
    return found


async def write(store: Store, *records: Made) -> Written:
    """Open, write what is newest of each key, close; offsets follow the records."""
    sink = store.sink()
    try:
        await sink.open()
        return await sink.write(*backlog(*records).take())
    finally:
        await sink.close()


def backlog(*records: Made) -> Backlog:
    found = Backlog()
    found.add(records)
    return found


# --- newer, older, equal ------------------------------------------------------------


async def test_a_result_is_held_as_it_was_published(store):
    written = await write(store, snapshot(1, D1, (1, 1, 1), -12345678901.2345))
    assert written == Written(stored=1)
    assert await store.navs() == {(1, D1): Decimal("-12345678901.2345")}


async def test_a_null_is_null(store):
    await write(store, snapshot(1, D1, (1, 1, 1), None))
    assert await store.navs() == {(1, D1): None}


@pytest.mark.parametrize("newer", [(2, 0, 0), (1, 2, 0), (1, 1, 2)])
async def test_a_newer_revision_replaces(store, newer):
    await write(store, snapshot(1, D1, (1, 1, 1), 1))
    assert await write(store, snapshot(1, D1, newer, 2)) == Written(stored=1)
    assert await store.navs() == {(1, D1): 2}


@pytest.mark.parametrize("older", [(0, 9, 9), (1, 0, 9), (1, 1, 0), (1, 1, 1)])
async def test_an_older_or_equal_revision_leaves_no_trace(store, older):
    await write(store, snapshot(1, D1, (1, 1, 1), 1))
    assert await write(store, snapshot(1, D1, older, 2)) == Written(stale=1)
    assert await store.navs() == {(1, D1): 1}


async def test_a_stale_record_does_not_keep_others_of_its_batch_out(store):
    await write(store, snapshot(1, D1, (5, 1, 1), 1))
    written = await write(
        store, snapshot(1, D1, (4, 1, 1), 2), snapshot(1, D2, (4, 1, 1), 2)
    )
    assert written == Written(stored=1, stale=1)
    assert await store.navs() == {(1, D1): 1, (1, D2): 2}


# --- retractions --------------------------------------------------------------------


async def test_a_retraction_deletes_its_cell_only(store):
    await write(store, snapshot(1, D1, (1, 1, 1)), snapshot(1, D2, (1, 1, 1)))
    assert await write(store, retraction(1, D1, (2, 1, 1))) == Written(retracted=1)
    assert await store.navs() == {(1, D2): 1}


async def test_an_older_retraction_deletes_nothing(store):
    await write(store, snapshot(1, D1, (2, 1, 1)))
    assert await write(store, retraction(1, D1, (1, 9, 9))) == Written(stale=1)
    assert await store.navs() == {(1, D1): 1}


async def test_an_older_result_does_not_come_back_after_a_retraction(store):
    """A stalled former owner writes its record after the new owner retracted it."""
    await write(store, retraction(1, D1, (5, 1, 1)))
    assert await write(store, snapshot(1, D1, (4, 9, 9))) == Written(stale=1)
    assert await store.navs() == {}


async def test_a_newer_result_comes_back_and_can_be_retracted_again(store):
    await write(store, snapshot(1, D1, (1, 1, 1), 1))
    await write(store, retraction(1, D1, (2, 1, 1)))
    await write(store, snapshot(1, D1, (3, 1, 1), 3))
    assert await store.navs() == {(1, D1): 3}
    assert await write(store, retraction(1, D1, (2, 1, 1))) == Written(stale=1)
    assert await store.navs() == {(1, D1): 3}
    assert await write(store, retraction(1, D1, (4, 1, 1))) == Written(retracted=1)
    assert await store.navs() == {}


async def test_a_repeated_retraction_is_stale(store):
    await write(store, retraction(1, D1, (2, 1, 1)))
    assert await write(store, retraction(1, D1, (2, 1, 1))) == Written(stale=1)


# --- offsets and the guard ----------------------------------------------------------


async def test_offsets_come_back_at_the_next_opening(store):
    await write(
        store,
        snapshot(1, D1, (1, 1, 1), partition=3, offset=7),
        snapshot(2, D1, (1, 1, 1), partition=5, offset=2),
    )
    await write(store, snapshot(1, D2, (1, 1, 1), partition=3, offset=8))
    sink = store.sink()
    assert await sink.open() == {3: 9, 5: 3}
    await sink.close()


async def test_offsets_without_records_are_kept(store):
    sink = store.sink()
    await sink.open()
    assert await sink.write([], {0: 5}) == Written()
    await sink.close()
    assert await sink.open() == {0: 5}
    await sink.close()


async def test_a_second_sink_waits_until_the_first_is_closed(store):
    first, second = store.sink(), store.sink()
    await first.open()
    waiting = asyncio.create_task(second.open())
    await asyncio.sleep(0.4)
    assert not waiting.done()
    await first.close()
    await asyncio.wait_for(waiting, 5)
    await second.close()


# --- what is no result --------------------------------------------------------------


def bad(**change: Any) -> Made:
    return replace(snapshot(9, D2, (1, 1, 1), partition=1, offset=4), **change)


@pytest.mark.parametrize(
    "strange",
    [
        bad(value=None),
        bad(value=b"not json"),
        bad(value=b"[1]"),
        bad(value=b"{}"),
        bad(value=bad().value.replace(b'"nav"', b'"NAV"')),
        bad(value=bad().value.replace(b'"p":1', b'"p":-1')),
        bad(value=bad().value.replace(b'"p":1', b'"p":99999999999999999999')),
        bad(value=bad().value.replace(b"2024-01-03", b"2024-13-03")),
        bad(key=b"8|2024-01-03"),
        bad(key=None),
        bad(value=json.dumps({"retracted": True}).encode()),
    ],
)
async def test_what_is_no_result_is_said_and_passed(store, strange):
    written = await write(store, snapshot(1, D1, (1, 1, 1)), strange)
    assert written == Written(stored=1, refused=1)
    assert await store.navs() == {(1, D1): 1}
    assert await store.refused() == {(1, 4)}


async def test_a_field_that_is_not_known_is_let_pass(store):
    record = snapshot(1, D1, (1, 1, 1))
    record.value = record.value.replace(b'"nav"', b'"new_field":[1,{}],"nav"')
    assert await write(store, record) == Written(stored=1)


# --- thinning -----------------------------------------------------------------------


def test_a_backlog_keeps_the_newest_revision_of_a_key_not_the_last():
    found = backlog(
        snapshot(1, D1, (2, 1, 1), 2, offset=0),
        snapshot(1, D1, (3, 1, 1), 3, offset=1),
        snapshot(1, D1, (1, 1, 1), 1, offset=2),
        snapshot(1, D2, (1, 1, 1), 1, offset=3, partition=4),
    )
    records, offsets = found.take()
    assert [record.offset for record in records] == [1, 3]
    assert offsets == {0: 3, 4: 4}
    assert (len(found), found.size, found.take()) == (0, 0, ([], {}))


def test_a_backlog_knows_its_size():
    one, two = snapshot(1, D1, (1, 1, 1), 1), snapshot(1, D1, (2, 1, 1), 1234567)
    found = backlog(one)
    assert found.size == len(one.value)
    found.add([two])
    assert found.size == len(two.value)


def test_a_record_without_a_header_is_compared_by_its_content():
    newer = replace(snapshot(1, D1, (3, 1, 1)), headers=[], offset=1)
    older = replace(snapshot(1, D1, (2, 1, 1)), headers=[], offset=2)
    assert [record.offset for record in backlog(newer, older).take()[0]] == [1]


def test_a_strange_record_does_not_hide_a_result():
    good = snapshot(1, D1, (0, 0, 0), offset=1)
    strange = replace(good, value=b"?", headers=[("r", b"x")], offset=2)
    assert [record.offset for record in backlog(good, strange).take()[0]] == [1]
    assert [record.offset for record in backlog(strange, good).take()[0]] == [1]


# --- in any order -------------------------------------------------------------------


def history(seed: int) -> tuple[list[Made], list[Made]]:
    """Records of a few cells, one a revision; and the same mixed, some repeated."""
    chance = random.Random(seed)
    keys = {
        (
            seed * 10 + chance.randint(1, 2),
            chance.choice([D1, D2]),
            chance.randint(0, 4),
        )
        for _ in range(12)
    }
    made = [
        retraction(portfolio, session, (p, 1, 1))
        if chance.random() < 0.4
        else snapshot(portfolio, session, (p, 1, 1), nav=p)
        for portfolio, session, p in sorted(keys)
    ]
    return made, chance.sample(made, len(made)) + chance.sample(made, len(made) // 2)


async def test_order_batching_and_repetition_do_not_matter(store):
    sink, expected = store.sink(), InMemory()
    await sink.open()
    for seed in range(40):
        chance = random.Random(seed)
        made, mixed = history(seed)
        await write(expected, *made)
        while mixed:
            size = chance.randint(1, 5)
            batch, mixed = mixed[:size], mixed[size:]
            await sink.write(*backlog(*batch).take())
        assert await store.navs() == await expected.navs(), seed
    await sink.close()
