"""What only the sink in PostgreSQL can get wrong: spelling, crashes, rights."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from connectors.postgres import SINK_ROLE, connect
from connectors.settings import PostgresSettings
from connectors.sink import (
    FAMILIES,
    POSITIONS,
    SNAPSHOTS,
    Family,
    SinkSetupError,
    SinkUnavailableError,
    Written,
)
from connectors.sink_postgres import PostgresSink
from tests.connectors.result_records import (
    CAUSE,
    QUALITY,
    Made,
    made,
    positions_content,
    retraction,
    snapshot,
    snapshot_content,
)

DAY, D1 = "2024-01-02", date(2024, 1, 2)


@pytest.fixture
async def reader(results: PostgresSettings) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(results.dsn.get_secret_value(), "test")
    yield connection
    await connection.close()


def sink_of(postgres: PostgresSettings, family: Family = SNAPSHOTS) -> PostgresSink:
    return PostgresSink(postgres.dsn.get_secret_value(), family, f"t.{family.name}")


async def write(
    postgres: PostgresSettings, *records: Made, family: Family = SNAPSHOTS
) -> Written:
    sink = sink_of(postgres, family)
    try:
        await sink.open()
        return await sink.write(records, {r.partition: r.offset + 1 for r in records})
    finally:
        await sink.close()


# --- spelling -----------------------------------------------------------------------


async def test_every_column_of_a_snapshot(results, reader):
    await write(results, made(1, DAY, (4, 5, 6), snapshot_content(0.0001)))
    row = dict(await reader.fetchrow("SELECT * FROM analytics.portfolio_snapshots"))
    assert row.pop("portfolio_id") == 1
    assert row.pop("session") == D1
    assert row.pop("as_of") == datetime(2024, 1, 2, 21, 0, 0, 1, tzinfo=UTC)
    assert [row.pop(f"rev_{c}") for c in "pmv"] == [4, 5, 6]
    assert json.loads(row.pop("quality")) == QUALITY
    assert json.loads(row.pop("cause")) == CAUSE
    assert json.loads(row.pop("reasons")) == {"daily_return": "nav_not_positive"}
    assert [row.pop(n) for n in ("previous", "daily_return")] == [None, None]
    assert (row.pop("nav"), row.pop("status")) == (Decimal("0.0001"), "final")
    assert set(row.values()) == {1}


async def test_every_column_of_the_positions(results, reader):
    content = positions_content(
        [3, 2**62],
        price_date=[None, DAY],
        price=[1e-6, None],
        flags=[["date_clamped"], []],
        market_value=[922337203685477.5807, -0.0001],
    )
    await write(results, made(1, DAY, (1, 1, 1), content), family=POSITIONS)
    rows = await reader.fetch("SELECT * FROM analytics.position_values ORDER BY lot")
    assert [row["lot"] for row in rows] == [3, 2**62]
    assert [row["price_date"] for row in rows] == [None, D1]
    assert [row["price"] for row in rows] == [Decimal("0.000001"), None]
    assert [row["flags"] for row in rows] == ['["date_clamped"]', "[]"]
    assert [row["quantity"] for row in rows] == [Decimal("1.5")] * 2


async def test_a_portfolio_without_lots_is_an_empty_row(results, reader):
    record = made(1, DAY, (1, 1, 1), positions_content([]))
    await write(results, record, family=POSITIONS)
    assert await reader.fetchval("SELECT lot FROM analytics.position_arrays") == []
    assert await reader.fetchval("SELECT count(*) FROM analytics.position_values") == 0


NASTY = [
    "A",
    "",
    "null",
    "NULL",
    " ",
    " lead and trail ",
    "a,b",
    "{a}",
    "[a]",
    '"',
    "\\",
    '\\"',
    "tab\there",
    "line\nfeed\r",
    "\\N",
    "\\.",
    "\x01",
    "\x01\x01\t",
    "\x7f",
    "é€😀",
    "\u2028",
    "'",
    "]\t[",
]


@pytest.mark.parametrize("ascii_only", [False, True])
async def test_any_text_comes_back_verbatim(results, reader, ascii_only):
    content = positions_content(list(range(len(NASTY))), symbol=NASTY)
    record = made(1, DAY, (1, 1, 1), content)
    if ascii_only:
        record.value = json.dumps(json.loads(record.value)).encode()
    await write(results, record, family=POSITIONS)
    got = await reader.fetchval("SELECT symbol FROM analytics.position_arrays")
    assert got == NASTY


@pytest.mark.parametrize(
    "symbol", [s for s in NASTY if "\\" not in s and s.isprintable()]
)
async def test_a_text_alone_comes_back_verbatim(results, reader, symbol):
    """Alone, so that another one's escape does not choose the slow way for it."""
    record = made(1, DAY, (1, 1, 1), positions_content([1], symbol=[symbol]))
    await write(results, record, family=POSITIONS)
    got = await reader.fetchval("SELECT symbol FROM analytics.position_arrays")
    assert got == [symbol]


@pytest.mark.parametrize("status", ["final", "null", "a\tb", "\x01", "", "\\N"])
async def test_a_text_column_comes_back_verbatim(results, reader, status):
    content = {**snapshot_content(1), "status": status}
    await write(results, made(1, DAY, (1, 1, 1), content))
    got = await reader.fetchval("SELECT status FROM analytics.portfolio_snapshots")
    assert got == status


@pytest.mark.parametrize("value", [5e-324, 1.7976931348623157e308, 0.1, 1 / 3, -1e-7])
async def test_a_double_comes_back_to_the_bit(results, reader, value):
    content = {**snapshot_content(1), "hhi": value}
    await write(results, made(1, DAY, (1, 1, 1), content))
    got = await reader.fetchval("SELECT hhi FROM analytics.portfolio_snapshots")
    assert math.copysign(1, got) == math.copysign(1, value)
    assert got == value


async def test_large_money_is_exact(results, reader):
    record = snapshot(1, DAY, (1, 1, 1), 1)
    record.value = record.value.replace(b'"nav":1,', b'"nav":922337203685477.5807,')
    await write(results, record)
    got = await reader.fetchval("SELECT nav FROM analytics.portfolio_snapshots")
    assert got == Decimal("922337203685477.5807")


# --- values that PostgreSQL refuses ---------------------------------------------------


async def test_one_refused_value_does_not_keep_the_others_out(results, reader):
    records = [snapshot(i, DAY, (1, 1, 1), offset=i) for i in range(1, 40)]
    records[7] = snapshot(8, DAY, (1, 1, 1), 1e40, offset=8)
    records[30] = made(
        31, DAY, (1, 1, 1), {**snapshot_content(1), "status": "\0"}, offset=31
    )
    written = await write(results, *records)
    assert written == Written(stored=37, refused=2)
    refused = await reader.fetch(
        'SELECT "offset", key FROM analytics.sink_refused ORDER BY 1'
    )
    assert [tuple(row) for row in refused] == [
        (8, b"8|2024-01-02"),
        (31, b"31|2024-01-02"),
    ]
    count = "SELECT count(*) FROM analytics.portfolio_snapshots"
    assert await reader.fetchval(count) == 37
    assert await reader.fetchval("SELECT next_offset FROM analytics.sink_offsets") == 40


async def test_who_takes_a_batch_apart_goes_on_and_looks_at_no_row_of_others(results):
    class Counting(PostgresSink):
        most = looks = 0

        async def _copy(self, connection, cells):
            written = await super()._copy(connection, cells)
            size = await connection.fetchval(
                "SELECT pg_relation_size('stage_snapshots')"
            )
            self.most = max(self.most, size / len(cells))
            return written

        def look(self) -> None:
            self.looks += 1

    await write(
        results, snapshot(1, DAY, (1, 1, 1), offset=0)
    )  # not the first any more
    dsn = results.dsn.get_secret_value()
    sink = Counting(dsn, SNAPSHOTS, "t.snapshots", lambda: sink.look())
    records = [
        snapshot(i, DAY, (2, 1, 1), 1e40 if i % 2 else 5.0, offset=i)
        for i in range(1, 400)
    ]
    try:
        await sink.open()
        assert await sink.write(records, {0: 400}) == Written(stored=199, refused=200)
    finally:
        await sink.close()
    assert sink.looks > 400, "who takes a batch apart is thought to stand still"
    assert 0 < sink.most < 100_000, "what failed before is looked through again"


async def test_arrays_of_arrays_are_refused(results, reader):
    record = made(1, DAY, (1, 1, 1), positions_content([1], pnl=[[1, 2]]))
    other = made(2, DAY, (1, 1, 1), positions_content([1], pnl=None), offset=1)
    written = await write(results, record, other, family=POSITIONS)
    assert written == Written(refused=2)


# --- into empty tables --------------------------------------------------------------


@pytest.fixture
async def first(results) -> AsyncIterator[PostgresSink]:
    """A sink of a family of which there is nothing yet: rows need no merge."""
    sink = sink_of(results)
    await sink.open()
    yield sink
    await sink.close()


NAVS = "SELECT array_agg(nav ORDER BY portfolio_id) FROM analytics.portfolio_snapshots"


async def test_what_meets_the_first_rows_is_merged(first, reader):
    records = [snapshot(p, DAY, (1, 1, 1), 10 * p, offset=p) for p in (1, 2)]
    assert await first.write(records, {0: 3}) == Written(stored=2)
    more = [
        snapshot(3, DAY, (1, 1, 1), 30, offset=3),
        snapshot(1, DAY, (2, 1, 1), 11, offset=4),
        snapshot(2, DAY, (0, 9, 9), 22, offset=5),
    ]
    assert await first.write(more, {0: 6}) == Written(stored=2, stale=1)
    assert await reader.fetchval(NAVS) == [11, 20, 30]


async def test_a_retraction_before_any_row_holds_an_older_one_back(first, reader):
    await first.write([retraction(1, DAY, (5, 1, 1))], {0: 1})
    late = [snapshot(p, DAY, (4, 1, 1), 10, offset=p) for p in (1, 2)]
    assert await first.write(late, {0: 3}) == Written(stored=1, stale=1)
    assert await reader.fetchval(NAVS) == [10]


async def test_a_retraction_of_another_day_is_remembered_by_the_next_sink(
    results, reader
):
    await write(results, retraction(1, DAY, (5, 1, 1)))
    late = [snapshot(p, DAY, (4, 1, 1), 10, offset=p) for p in (1, 2)]
    assert await write(results, *late) == Written(stored=1, stale=1)


# --- crashes --------------------------------------------------------------------------


async def end_sinks(reader: asyncpg.Connection) -> None:
    await reader.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'deltafolio sink%' "
        "AND datname = current_database()"
    )


async def test_an_ended_connection_is_unavailable_and_can_be_opened_again(
    results, reader
):
    sink = sink_of(results)
    await sink.open()
    await end_sinks(reader)
    with pytest.raises(SinkUnavailableError):
        await sink.write([snapshot(1, DAY, (1, 1, 1))], {0: 1})
    await sink.close()
    assert await sink.open() == {}
    await sink.write([snapshot(1, DAY, (1, 1, 1))], {0: 1})
    await sink.close()


STEPS = {
    "S5": "portfolio_snapshots",
    "S6": "sink_retractions",
    "S7": "sink_refused",
    "S8": "sink_offsets",
}


@pytest.mark.parametrize("step", STEPS)
async def test_a_death_within_a_step_leaves_nothing_of_any(results, reader, step):
    await write(results, snapshot(2, DAY, (1, 1, 1), offset=0))
    records = [
        snapshot(1, DAY, (1, 1, 1), offset=1),
        retraction(2, DAY, (2, 1, 1), offset=2),
        snapshot(3, DAY, (1, 1, 1), 1e40, offset=3),
    ]
    before = await everything(reader)
    await reader.execute(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$; "
        f"CREATE TRIGGER die BEFORE INSERT ON analytics.{STEPS[step]} "
        "FOR EACH ROW EXECUTE FUNCTION die()"
    )
    try:
        with pytest.raises(SinkUnavailableError):
            await write(results, *records)
    finally:
        await reader.execute("DROP FUNCTION die CASCADE")
    assert await everything(reader) == before
    written = await write(results, *records)
    assert written == Written(stored=1, retracted=1, refused=1)
    assert await reader.fetchval("SELECT next_offset FROM analytics.sink_offsets") == 4


async def everything(reader: asyncpg.Connection) -> list[str]:
    return [
        await reader.fetchval(
            f"SELECT coalesce(string_agg(t::text, ';' ORDER BY t::text), '') "
            f"FROM analytics.{table} AS t"
        )
        for table in STEPS.values()
    ]


async def test_the_guard_is_released_by_the_death_of_its_holder(results, reader):
    first, second = sink_of(results), sink_of(results)
    await first.open()
    waiting = asyncio.create_task(second.open())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await end_first(reader)
    await asyncio.wait_for(waiting, 5)
    with pytest.raises(SinkUnavailableError):
        await first.write([], {0: 1})
    await first.close()
    await second.close()


async def end_first(reader: asyncpg.Connection) -> None:
    await reader.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
        "AND granted AND pid <> pg_backend_pid() "
        "AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )


async def test_two_families_are_written_side_by_side(results, reader):
    sinks = [sink_of(results, family) for family in FAMILIES]
    for sink in sinks:
        await asyncio.wait_for(sink.open(), 5)
    for sink in sinks:
        await sink.close()


async def test_a_server_that_is_not_there_is_unavailable():
    sink = PostgresSink("postgresql://x@127.0.0.1:1/x", SNAPSHOTS, "t")
    with pytest.raises(SinkUnavailableError):
        await sink.open()
    with pytest.raises(SinkUnavailableError):
        await sink.write([], {})
    await sink.close()


# --- setup and rights -----------------------------------------------------------------


async def test_a_missing_schema_is_said(postgres):
    with pytest.raises(SinkSetupError, match="analytics"):
        await sink_of(postgres).open()


async def test_a_schema_of_before_is_said_when_the_sink_begins(results, reader):
    """Not when the first record is refused, which may be months later."""
    rename = "ALTER TABLE analytics.sink_refused RENAME {} TO {}"
    await reader.execute(rename.format("rev_v", "other"))
    try:
        with pytest.raises(SinkSetupError, match=r"not as expected .*rev_v"):
            await sink_of(results).open()
    finally:
        await reader.execute(rename.format("other", "rev_v"))


async def test_a_string_that_is_no_address_is_not_tried_again():
    with pytest.raises(SinkSetupError, match="connection string"):
        await PostgresSink("nonsense", SNAPSHOTS, "t").open()


async def test_a_login_that_is_only_a_member_of_the_role_is_enough(results, reader):
    user = results.capture_user.replace("capture", "writer")
    await reader.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'w' IN ROLE {SINK_ROLE}")
    url = urlsplit(results.dsn.get_secret_value())
    dsn = urlunsplit(url._replace(netloc=f"{user}:w@{url.hostname}:{url.port}"))
    for family, content in (
        (SNAPSHOTS, snapshot_content(1)),
        (POSITIONS, positions_content([1])),
    ):
        sink = PostgresSink(dsn, family, "t")
        await sink.open()
        await sink.write([made(1, DAY, (1, 1, 1), content)], {0: 1})
        await sink.write([retraction(1, DAY, (2, 1, 1))], {0: 2})
        await sink.close()


async def test_a_login_without_rights_is_told_so(results, reader):
    user = results.capture_user.replace("capture", "nobody")
    await reader.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'n'")
    url = urlsplit(results.dsn.get_secret_value())
    dsn = urlunsplit(url._replace(netloc=f"{user}:n@{url.hostname}:{url.port}"))
    sink = PostgresSink(dsn, SNAPSHOTS, "t")
    with pytest.raises(SinkSetupError, match="permission denied"):
        await sink.open()
    await sink.close()
