"""From SQL to the journal; PostgreSQL, Debezium and Kafka are real."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from typer.testing import CliRunner

from analytics.rows import Change, Lot, Price
from connectors import capture_watch
from connectors.deadletters import DeadLetter, read_letters
from connectors.journal import Batch, decode
from connectors.kafka import (
    backlog,
    read_to_end,
    started_admin,
    started_consumer,
    started_producer,
)
from connectors.postgres import apply_schema, connect
from connectors.settings import CalendarSettings, Settings
from connectors.stack import StackInfo
from connectors.steps import Step
from connectors.topics import TopicError, ensure_topics
from deltafolio.cli import app as command
from deltafolio.local_app import save_settings
from streams.intake import Intake, topics_read
from streams.intake_group import group_of
from tests.connectors.envelopes import PRICE, envelope, marker, to_bytes
from tests.worlds import world_settings

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SECONDS = 60.0
LOTS = (
    "INSERT INTO positions (id, portfolio_id, symbol, position_type, "
    "investment_class, quantity, entry_price, entry_date) "
)
PRICES = "INSERT INTO market_data_cache (symbol, date, close) VALUES "
Key = tuple[str, tuple[int | str, ...], int | None]


class Crash(Exception):
    """Intake dies here."""


class Lab:
    """A captured database, its topics, and intakes that come and go."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def execute(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own."""
        dsn = self.settings.postgres.dsn.get_secret_value()
        connection = await connect(dsn, "test")
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    @asynccontextmanager
    async def intake(
        self, settings: Settings | None = None, **options: Any
    ) -> AsyncIterator[Intake]:
        """Run an intake, and stop it in good order."""
        made = Intake(settings or self.settings, **options)
        stop = asyncio.Event()
        running = asyncio.create_task(made.run(stop))
        try:
            yield made
        finally:
            stop.set()
            await running

    async def run_to_death(self, done: Callable[[Step], None], **options: Any) -> None:
        """Run an intake that is told of its steps, until it dies of one."""
        intake = Intake(self.settings, done=done, **options)
        await asyncio.wait_for(intake.run(asyncio.Event()), SECONDS)

    async def batches(self, topic: str) -> dict[int, list[Batch]]:
        found: dict[int, list[Batch]] = {}
        async for records in read_to_end(self.settings, topic):
            for record in records:
                found.setdefault(record.partition, []).append(decode(record.value))
        return found

    async def changes(self) -> list[Change]:
        topics = self.settings.topics
        return [
            change
            for topic in (topics.market, topics.portfolios)
            for batches in (await self.batches(topic)).values()
            for batch in batches
            for change in batch.changes
        ]

    async def state(self) -> dict[Key, Change]:
        """Newest version of each row, as the journal has it."""
        found: dict[Key, Change] = {}
        for change in await self.changes():
            key = (change.table, change.key, change.portfolio)
            if key not in found or change.version > found[key].version:
                found[key] = change
        return found

    async def is_streaming(self) -> bool:
        """Whether the initial snapshot is done."""
        dsn = self.settings.postgres.dsn.get_secret_value()
        connection = await connect(dsn, "test")
        try:
            query = "SELECT active FROM pg_replication_slots WHERE slot_name = $1"
            return bool(await connection.fetchval(query, self.settings.postgres.slot))
        finally:
            await connection.close()

    async def is_removed(self) -> bool:
        """Remove the connector and its slot; whether that went well."""
        try:
            await capture_watch.remove(self.settings)
        except asyncpg.ObjectInUseError:
            return False  # the connector has not let go yet
        return True

    async def rows(self, table: str) -> dict[tuple[Any, ...], Any]:
        """Rows of a table that are there, by key."""
        return {
            key: change.row
            for (name, key, _), change in (await self.state()).items()
            if name == table and change.row is not None
        }

    async def letters(self) -> list[DeadLetter]:
        return await read_letters(self.settings)

    async def until(self, what: Callable[[], Awaitable[bool]]) -> None:
        end = time.monotonic() + SECONDS
        while not await what():
            assert time.monotonic() < end, "not there in time"
            await asyncio.sleep(0.1)

    async def until_rows(self, table: str, count: int) -> dict[tuple[Any, ...], Any]:
        async def are_there() -> bool:
            return len(await self.rows(table)) >= count

        await self.until(are_there)
        return await self.rows(table)


@pytest.fixture
async def open_lab(
    stack: StackInfo, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Lab]]]:
    """Open labs with ``await open_lab(*statements)``: rows that capture finds there."""
    async with AsyncExitStack() as exits:

        async def enter(*statements: str) -> Lab:
            return await exits.enter_async_context(_lab(stack, tmp_path, statements))

        yield enter


@asynccontextmanager
async def _lab(
    stack: StackInfo, home: Path, statements: tuple[str, ...]
) -> AsyncIterator[Lab]:
    lab = Lab(world_settings(stack, home))
    admin = await connect(stack.dsn, "test")
    try:
        await admin.execute(f"CREATE DATABASE {lab.settings.postgres.slot}")
    finally:
        await admin.close()
    await apply_schema(lab.settings.postgres)
    await lab.execute(*statements)
    stop = asyncio.Event()
    lab.settings.home.mkdir(parents=True, exist_ok=True)
    capture = asyncio.create_task(capture_watch.main(lab.settings, stop))
    try:
        await lab.until(lab.is_streaming)
        yield lab
    finally:
        stop.set()
        await capture
        await lab.until(lab.is_removed)


OpenLab = Callable[..., Awaitable[Lab]]


async def test_a_transaction_of_10_000_rows_lies_together_in_every_partition(
    open_lab: OpenLab,
) -> None:
    lab = await open_lab()
    await lab.execute(
        f"{LOTS} SELECT n, n % 50 + 1, 'S' || n % 20, 'LONG', 'PUBLIC', n, 1, "
        "'2024-01-02' FROM generate_series(1, 10000) AS n",
        "UPDATE positions SET quantity = quantity + 1",
    )
    async with lab.intake() as intake:
        rows = await lab.until_rows("positions", 10_000)

        async def is_updated() -> bool:
            return intake.stats.read >= 20_000

        await lab.until(is_updated)
    rows = await lab.rows("positions")
    assert {key[0]: row.quantity for key, row in rows.items()} == {
        n: (n + 1) * 10_000 for n in range(1, 10_001)
    }
    logs = await lab.batches(lab.settings.topics.portfolios)
    assert len(logs) == lab.settings.topics.partitions
    for batches in logs.values():
        names = [name for name, _ in itertools.groupby(b.tx for b in batches)]
        assert len(names) == len(set(names)) == 2
        for _, run in itertools.groupby(batches, key=lambda batch: batch.tx):
            *all_but_last, last = run
            assert all(batch.more for batch in all_but_last)
            assert not last.more
        assert not any(batch.partial for batch in batches)


async def test_rows_of_a_snapshot_and_what_happens_to_them_later(
    open_lab: OpenLab,
) -> None:
    lab = await open_lab(
        f"{LOTS} VALUES (1, 1, 'A', 'LONG', 'PUBLIC', 1, 1, '2024-01-02'), "
        "(2, 1, 'A', 'LONG', 'PUBLIC', 2, 1, '2024-01-02'), "
        "(3, 1, 'A', 'LONG', 'PUBLIC', 3, 1, '2024-01-02')",
        f"{PRICES} ('A', '2024-01-02', 5)",
    )
    async with lab.intake():
        await lab.until_rows("positions", 3)
        await lab.execute(
            "UPDATE positions SET portfolio_id = 7 WHERE id = 1",
            "DELETE FROM positions WHERE id = 2",
            "UPDATE positions SET id = 30 WHERE id = 3",
            f"{LOTS} VALUES (4, 2, 'A', 'LONG', 'PUBLIC', 4, 1, '2024-01-02')",
            "UPDATE market_data_cache SET date = '2024-01-03'",
        )

        async def is_there() -> bool:
            prices = await lab.rows("market_data_cache")
            day = date(2024, 1, 3).toordinal()
            return list(prices) == [("A", day)]

        await lab.until(is_there)
    lots = {
        (key[0], portfolio): None if change.row is None else change.row.quantity
        for (table, key, portfolio), change in (await lab.state()).items()
        if table == "positions"
        if isinstance(change.row, Lot | None)
    }
    assert lots == {
        (1, 1): None,
        (1, 7): 10_000,
        (2, 1): None,
        (3, 1): None,
        (30, 1): 30_000,
        (4, 2): 40_000,
    }
    assert await lab.letters() == []


async def test_bad_rows_are_dead_letters_and_absent(open_lab: OpenLab) -> None:
    lab = await open_lab()
    async with lab.intake(), started_producer(lab.settings) as producer:
        await lab.execute(
            f"{PRICES} ('A', '2024-01-02', 50), ('B', '2024-01-02', -1), "
            "('C', '2024-01-02', 'NaN'), ('D', '2024-01-06', 1), "
            "('E', '2024-01-02', 10000000000000), ('F', '2024-01-02', NULL), "
            "('G', 'infinity', 1)",
            "UPDATE market_data_cache SET close = -50 WHERE symbol = 'A'",
            f"{LOTS} VALUES (1, 1, 'A', 'LONG', 'PUBLIC', -1, 1, '2024-01-02'), "
            "(2, 1, 'A', 'LING', 'PUBLIC', 1, 1, '2024-01-02'), "
            "(3, 1, 'A', 'LONG', 'PUBLIC', 3, 1, '2024-01-02')",
            "TRUNCATE company_profiles",
        )
        topic = lab.settings.cdc_topic("positions")
        await producer.send_and_wait(topic, b"{broken")
        await producer.send_and_wait(topic, b'{"op": "c", "after": {}}')

        async def are_there() -> bool:
            return len(await lab.letters()) == 12

        await lab.until(are_there)
    reasons = Counter(letter.reason for letter in await lab.letters())
    assert reasons == {
        "not_positive": 2,  # B, and A's update
        "not_finite": 1,
        "not_a_session": 1,
        "too_large": 1,
        "null": 1,
        "date_outside_calendar": 1,
        "wrong_sign": 1,
        "unknown_word": 1,
        "truncate": 1,
        "broken_json": 1,
        "no_source": 1,
    }
    state = await lab.state()
    there = {key for key, change in state.items() if change.row is not None}
    assert there == {("positions", (3,), 1)}
    # A was there, and its refused update took it away.
    assert len([c for c in await lab.changes() if c.key[0] == "A"]) == 2


async def test_a_price_of_tomorrow_comes_tomorrow(open_lab: OpenLab) -> None:
    lab = await open_lab(f"{PRICES} ('A', '2024-01-02', 5), ('A', '2024-01-05', 8)")
    day = [datetime(2024, 1, 2, 15, tzinfo=UTC).timestamp()]
    async with lab.intake(now=lambda: day[0]) as intake:
        await lab.until_rows("market_data_cache", 1)

        async def is_held() -> bool:
            return intake.stats.held == 1

        await lab.until(is_held)
    async with lab.intake(now=lambda: day[0]):
        await lab.execute(
            f"{PRICES} ('A', '2024-01-03', 6), ('B', '2024-01-03', 1)",
            "UPDATE market_data_cache SET close = 7 WHERE date = '2024-01-03' "
            "AND symbol = 'A'",
            "DELETE FROM market_data_cache WHERE symbol = 'B'",
            f"{PRICES} ('C', '2024-01-02', 1)",
        )
        assert len(await lab.until_rows("market_data_cache", 2)) == 2
        # 05:00 UTC is midnight in New York.
        day[0] = datetime(2024, 1, 3, 4, 59, tzinfo=UTC).timestamp()
        await asyncio.sleep(0.5)
        assert len(await lab.rows("market_data_cache")) == 2
        day[0] += 61
        prices = await lab.until_rows("market_data_cache", 3)
        third = ("A", date(2024, 1, 3).toordinal())
        assert prices[third] == Price("A", third[1], 7_000_000, None)
    day[0] = datetime(2024, 1, 8, tzinfo=UTC).timestamp()
    async with lab.intake(now=lambda: day[0]):
        prices = await lab.until_rows("market_data_cache", 4)
        assert ("A", date(2024, 1, 5).toordinal()) in prices


@pytest.mark.parametrize("step", [Step.I2, Step.I4])
async def test_what_was_under_way_when_intake_died_is_only_repeated(
    open_lab: OpenLab, step: Step
) -> None:
    lab = await open_lab()
    await lab.execute(
        *(f"{PRICES} ('A{n}', '2024-01-02', {n + 1})" for n in range(20)),
        f"{LOTS} SELECT n, n % 5, 'A', 'LONG', 'PUBLIC', 1, 1, '2024-01-02' "
        "FROM generate_series(1, 3000) AS n",
    )

    def die(done: Step) -> None:
        if done is step:
            raise Crash

    for _ in range(3):
        with pytest.raises(Crash):
            await lab.run_to_death(die)
    async with lab.intake():
        assert len(await lab.until_rows("positions", 3000)) == 3000
        assert len(await lab.until_rows("market_data_cache", 20)) == 20
    times = Counter((c.table, c.key, c.version) for c in await lab.changes())
    assert len(times) == 3020
    if step is Step.I4:
        assert max(times.values()) > 1


async def test_a_successor_takes_over_when_intake_is_killed(open_lab: OpenLab) -> None:
    lab = await open_lab()
    save_settings(lab.settings)
    doomed = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "deltafolio", "run", "intake"],
        env={
            **os.environ,
            "DELTAFOLIO_HOME": str(lab.settings.home),
            "DELTAFOLIO_CRASH_AT": "append:5",
        },
    )
    try:
        await lab.execute(f"{PRICES} ('A0', '2024-01-02', 1)")
        await lab.until_rows("market_data_cache", 1)
        async with lab.intake() as successor:
            for n in range(1, 60):
                await lab.execute(f"{PRICES} ('A{n}', '2024-01-02', 1)")
                await asyncio.sleep(0.02)
                read = successor.stats.read
                if doomed.poll() is None:
                    assert read == 0, "it stands by as long as the other lives"
            assert doomed.wait(1) == -signal.SIGKILL
            assert len(await lab.until_rows("market_data_cache", 60)) == 60
    finally:
        doomed.kill()
        doomed.wait()


async def test_of_two_intakes_one_stands_by(open_lab: OpenLab) -> None:
    lab = await open_lab()
    async with lab.intake() as first:
        await lab.execute(f"{PRICES} ('A', '2024-01-02', 1)")
        await lab.until_rows("market_data_cache", 1)
        async with lab.intake() as second:
            await asyncio.sleep(3)
            await lab.execute(f"{PRICES} ('B', '2024-01-02', 1)")
            await lab.until_rows("market_data_cache", 2)
            assert second.stats.read == 0
            assert first.stats.read > 0
    async with lab.intake():
        await lab.execute(f"{PRICES} ('C', '2024-01-02', 1)")
        await lab.until_rows("market_data_cache", 3)


async def test_a_dead_letter_is_redriven_when_the_rules_have_changed(
    open_lab: OpenLab,
) -> None:
    lab = await open_lab()
    whole = lab.settings
    short = CalendarSettings(start=date(2020, 1, 1), end=date(2023, 12, 31))
    narrow = whole.model_copy(update={"calendar": short})
    async with lab.intake(narrow):
        await lab.execute(
            f"{PRICES} ('A', '2024-01-02', 50), ('B', '2024-01-02', -1), "
            "('C', '2024-01-02', 5)",
            "UPDATE market_data_cache SET close = 6 WHERE symbol = 'C'",
        )

        async def are_there() -> bool:
            return len(await lab.letters()) == 4

        await lab.until(are_there)
    save_settings(whole)
    async with lab.intake():
        first = next(
            one for one in await lab.letters() if one.row and one.row[0] == "C"
        )
        code, _ = await dlq(whole, "redrive", first.id)
        assert code == 0
        newest = ("C", date(2024, 1, 2).toordinal())
        # Its UPDATE, still refused, is newer.
        assert newest not in await lab.rows("market_data_cache")
        code, output = await dlq(whole, "redrive", "--all", "--json")
        assert code == 1
        outcomes = [json.loads(line)["outcome"] for line in output.splitlines()]
        assert Counter(o.split(":")[0] for o in outcomes) == {
            "accepted": 2,
            "still refused": 1,
        }
        prices = await lab.rows("market_data_cache")
    assert {key[0]: row.close for key, row in prices.items()} == {
        "A": 50_000_000,
        "C": 6_000_000,
    }
    [left] = await lab.letters()
    assert left.row == ("B", date(2024, 1, 2).toordinal())
    code, output = await dlq(whole, "list")
    assert code == 0
    assert left.id in output
    code, output = await dlq(whole, "show", left.id, "--json")
    assert code == 0
    assert json.loads(output)["payload"] == left.payload
    assert (await dlq(whole, "show", "no/0/1"))[0] == 1
    assert (await dlq(whole, "redrive", "no/0/1"))[0] == 1
    assert (await dlq(whole, "redrive"))[0] == 2


async def dlq(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Exit status and output of ``deltafolio dlq``."""

    def run() -> tuple[int, str]:
        options = ["--home", str(settings.home), "dlq", *arguments]
        result = CliRunner().invoke(command, options)
        return result.exit_code, result.stdout

    try:
        return await asyncio.to_thread(run)
    finally:
        os.environ.pop("DELTAFOLIO_HOME", None)


async def test_topics_are_there_and_a_letter_never_repeats(open_lab: OpenLab) -> None:
    lab = await open_lab()
    await ensure_topics(lab.settings)

    def die(done: Step) -> None:
        if done is Step.I4:
            raise Crash

    await lab.execute(f"{PRICES} ('B', '2024-01-02', -1)")
    for _ in range(2):
        with pytest.raises(Crash):
            await lab.run_to_death(die)
    assert len(await lab.letters()) == 1


@pytest.fixture
async def lab(stack: StackInfo, tmp_path: Path) -> Lab:
    """Topics that nobody writes to but the test."""
    made = Lab(world_settings(stack, tmp_path))
    await ensure_topics(made.settings)
    return made


def price_row(n: int, tx: int | None = None) -> bytes:
    row = PRICE | {"symbol": f"S{n}", "date": 19_724}
    at = {"commit": 1000, "lsn": 1001 + n, "tx": tx, "order": n + 1}
    return to_bytes(envelope("c", "market_data_cache", after=row, **at))


async def test_rows_that_kafka_removed_before_they_were_read_are_reported(
    lab: Lab,
) -> None:
    topic = lab.settings.cdc_topic("market_data_cache")
    async with started_producer(lab.settings) as producer:
        for n in range(5):
            await producer.send_and_wait(topic, price_row(n), partition=0)
        async with lab.intake():
            await lab.until_rows("market_data_cache", 5)
        for n in range(5, 20):
            await producer.send_and_wait(topic, price_row(n), partition=0)
    place = TopicPartition(topic, 0)
    async with started_admin(lab.settings) as admin:
        await admin.delete_records({place: RecordsToDelete(before_offset=12)})
    async with lab.intake() as intake:
        assert len(await lab.until_rows("market_data_cache", 13)) == 13
    assert intake.stats.lost == 7
    [letter] = await lab.letters()
    assert (letter.id, letter.value) == (f"{topic}/0/5", "5 to 11")


async def some_prices(lab: Lab, *numbers: int) -> TopicPartition:
    """Append closes to their CDC topic, whoever reads it."""
    topic = lab.settings.cdc_topic("market_data_cache")
    async with started_producer(lab.settings) as producer:
        for n in numbers:
            await producer.send_and_wait(topic, price_row(n), partition=0)
    return TopicPartition(topic, 0)


async def test_a_log_that_was_cut_to_nothing_is_reported(lab: Lab) -> None:
    place = await some_prices(lab, *range(5))
    async with lab.intake():
        await lab.until_rows("market_data_cache", 5)
    await some_prices(lab, *range(5, 9))
    async with started_admin(lab.settings) as admin:
        await admin.delete_records({place: RecordsToDelete(before_offset=9)})
    async with lab.intake() as intake:

        async def is_told() -> bool:
            return bool(await lab.letters())

        await lab.until(is_told)
    assert intake.stats.lost == 4
    assert [one.value for one in await lab.letters()] == ["5 to 8"]


async def test_what_was_removed_before_intake_ever_came_is_reported(lab: Lab) -> None:
    place = await some_prices(lab, *range(5))
    async with started_admin(lab.settings) as admin:
        await admin.delete_records({place: RecordsToDelete(before_offset=2)})
    async with lab.intake():
        assert len(await lab.until_rows("market_data_cache", 3)) == 3
    [letter] = await lab.letters()
    assert (letter.id, letter.value) == (f"{place.topic}/0/0", "0 to 1")


async def test_a_log_that_ends_before_the_committed_offset_ends_intake(
    lab: Lab,
) -> None:
    place = await some_prices(lab, 7)
    group = group_of(lab.settings)
    async with started_consumer(lab.settings, group_id=group) as consumer:
        consumer.assign([place])
        await consumer.commit({place: 5})
    with pytest.raises(TopicError, match="was read to 5 and now is at 1"):
        await lab.run_to_death(lambda _: None)


async def test_markers_of_a_transactional_connect_are_no_loss(lab: Lab) -> None:
    topic = lab.settings.cdc_topic("market_data_cache")
    name = lab.settings.worker.app_id
    async with started_producer(lab.settings, transactional_id=name) as producer:
        for n in range(5):
            async with producer.transaction():
                await producer.send(topic, price_row(n, 7), partition=0)
        end = to_bytes(marker("END", 7, 2000, 5))
        async with producer.transaction():
            await producer.send(lab.settings.transaction_topic, end, partition=0)
        async with lab.intake() as intake:
            await lab.until_rows("market_data_cache", 5)
        assert intake.stats.lost == 0
        group = group_of(lab.settings)
        assert await backlog(lab.settings, group, topics_read(lab.settings)) == 0
    assert await lab.letters() == []


async def test_what_stays_incomplete_goes_on_as_a_part_and_is_closed_by_a_successor(
    lab: Lab,
) -> None:
    topic = lab.settings.cdc_topic("market_data_cache")
    async with started_producer(lab.settings) as producer:
        for n in range(3):
            await producer.send_and_wait(topic, price_row(n, 7), partition=0)
        async with lab.intake():
            await lab.until_rows("market_data_cache", 3)
        [part] = (await lab.batches(lab.settings.topics.market))[0]
        assert (part.tx, part.partial) == ("7", True)
        await producer.send_and_wait(topic, price_row(3, 7), partition=0)
        end = to_bytes(marker("END", 7, 2000, 4))
        markers = lab.settings.transaction_topic
        await producer.send_and_wait(markers, end, partition=0)
    async with lab.intake():
        await lab.until_rows("market_data_cache", 4)
    batches = (await lab.batches(lab.settings.topics.market))[0]
    assert [(b.tx, b.partial) for b in batches] == [("7", True), ("7", False)]
    others = await lab.batches(lab.settings.topics.portfolios)
    assert len(others) == lab.settings.topics.partitions
    for [closing] in others.values():
        assert (closing.tx, closing.partial, closing.changes) == ("7", False, [])
