"""A process dies right after each step of ``docs/delivery.md``; nothing is wrong after.

Some of it is in `make test` already (``tests/integration``); here is all of it, and
``tests/connectors/test_steps.py`` holds `TESTED` to the list of steps.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path

import pytest

from connectors.kafka import started_producer
from connectors.settings import Settings
from connectors.stack import StackInfo
from connectors.steps import CRASH_VARIABLE, Step, steps_of
from deltafolio.local_app import save_settings
from tests.connectors.envelopes import marker, to_bytes
from tests.connectors.result_records import Made, made, retraction, snapshot_content
from tests.integration.test_intake import (  # noqa: F401 - lab, open_lab are fixtures
    LOTS,
    PRICES,
    Crash,
    Lab,
    OpenLab,
    lab,
    open_lab,
    price_row,
)
from tests.integration.test_sink import (  # noqa: F401 - place is a fixture
    DAYS,
    PORTFOLIOS,
    assert_offsets_are_ends,
    history,
    place,
    publish,
    rows_at,
    sinking,
    until,
)
from tests.integration.test_worker import kill_after, speak_over
from tests.streams.journal_world import JournalWorld, open_journal_world

pytestmark = [pytest.mark.faults, pytest.mark.integration]

INTAKE, SINK = steps_of("I"), steps_of("S")
WORK, REPAIR, END = steps_of("ET"), steps_of("R"), steps_of("Z")
TESTED = {*INTAKE, *SINK, *WORK, *REPAIR, *END}
ONCE = {Step.T1, Step.T2}
"""Steps that a process does once."""


@pytest.fixture
async def world(stack: StackInfo, tmp_path: Path) -> AsyncIterator[JournalWorld]:
    async with open_journal_world(stack.bootstrap, tmp_path) as world:
        await world.load(portfolios=24, sessions=10, symbols=8)
        yield world


async def assert_a_successor_makes_it_right(world: JournalWorld) -> None:
    worker = world.start_worker()
    await worker.ready()
    for _ in range(3):
        await world.tick()
    found = await world.settle()
    assert found.none(), (found, worker.log_tail())
    await world.stop_workers()
    await world.assert_no_record_skipped()


@pytest.mark.parametrize("step", WORK)
async def test_a_worker_at_work_or_taking_over(world, step):
    await kill_after(world, step, 1 if step in ONCE else 2)
    await assert_a_successor_makes_it_right(world)


@pytest.mark.parametrize("step", REPAIR)
async def test_a_worker_that_repairs_what_a_stranger_wrote(world, step):
    worker = world.start_worker(crash_at=step)
    await worker.ready()
    assert (await world.settle()).none()
    # Above our revision first: then R3 has something to publish again.
    await speak_over(world, worker, "ahead behind")
    for _ in range(20):
        if worker.running:
            await world.tick()
            await asyncio.sleep(0.2)
    assert await worker.ended(20) == -signal.SIGKILL, worker.log_tail()
    await assert_a_successor_makes_it_right(world)


@pytest.mark.parametrize("step", END)
async def test_a_worker_that_ends(world, step):
    worker = world.start_worker(crash_at=step)
    await worker.ready()
    done = asyncio.Event()
    load = asyncio.create_task(world.keep_busy(done))
    try:
        await asyncio.sleep(1)
        worker.signal(signal.SIGTERM)
        code = await worker.ended(20)
    finally:
        done.set()
        await load
    assert code == -signal.SIGKILL, worker.log_tail()
    await assert_a_successor_makes_it_right(world)


# --- intake: each step, three times --------------------------------------------------

SCENE = (
    *(f"{PRICES} ('A{n}', '2024-01-02', {n + 1})" for n in range(20)),
    f"{LOTS} SELECT n, n % 5, 'A', 'LONG', 'PUBLIC', 1, 1, '2024-01-02' "
    "FROM generate_series(1, 3000) AS n",
    f"{PRICES} ('F', '2024-01-05', 7)",  # ahead of the clock: held
)


@pytest.mark.parametrize("step", [step for step in INTAKE if step is not Step.I3])
async def test_intake(open_lab, step):  # noqa: F811
    lab = await open_lab()  # noqa: F811
    clock = [_noon("2024-01-04")]
    if step is Step.I5:
        await _let_be_held(lab, clock)
    else:
        await lab.execute(*SCENE)

    def die(done: Step) -> None:
        if done is step:
            raise Crash

    for _ in range(3):
        with pytest.raises(Crash):
            await lab.run_to_death(die, now=lambda: clock[0])
        if step is Step.I5:
            break  # what was removed is not removed again
    clock[0] = _noon("2024-01-05")
    async with lab.intake(now=lambda: clock[0]):
        assert len(await lab.until_rows("positions", 3000)) == 3000
        assert len(await lab.until_rows("market_data_cache", 21)) == 21
    # Repeated is what was under way, with the same version: never with another one.
    newest = {(c.table, c.key, c.portfolio): c.version for c in await lab.changes()}
    assert len(newest) == 3021
    assert len({(c.table, c.key, c.version) for c in await lab.changes()}) == 3021


async def test_intake_while_a_transaction_goes_on_in_parts(lab):  # noqa: F811
    topic = lab.settings.cdc_topic("market_data_cache")

    def die(done: Step) -> None:
        if done is Step.I3:
            raise Crash

    async with started_producer(lab.settings) as producer:
        for n in range(3):
            await producer.send_and_wait(topic, price_row(n, 7), partition=0)
        # Once: the next one finds it announced.
        with pytest.raises(Crash):
            await lab.run_to_death(die)
        await producer.send_and_wait(topic, price_row(3, 7), partition=0)
        end = to_bytes(marker("END", 7, 2000, 4))
        await producer.send_and_wait(lab.settings.transaction_topic, end, partition=0)
        async with lab.intake():
            await lab.until_rows("market_data_cache", 4)
    assert len({(c.key, c.version) for c in await lab.changes()}) == 4
    # The last thing said of it, in each log that may have a part: it is whole.
    for name in (lab.settings.topics.market, lab.settings.topics.portfolios):
        for batches in (await lab.batches(name)).values():
            assert not batches[-1].partial


async def _let_be_held(lab: Lab, clock: list[float]) -> None:  # noqa: F811
    """Everything is in the journal but one price, which waits; its day comes."""
    await lab.execute(*SCENE)
    async with lab.intake(now=lambda: clock[0]):
        await lab.until_rows("positions", 3000)
        await lab.until_rows("market_data_cache", 20)
        await asyncio.sleep(1.5)
    clock[0] = _noon("2024-01-05")


def _noon(day: str) -> float:
    return datetime.fromisoformat(f"{day}T17:00:00+00:00").timestamp()


# --- the sink: a process of its own --------------------------------------------------


@pytest.mark.parametrize("step", SINK)
async def test_the_sink(place, step):  # noqa: F811
    topic = place.topics.snapshots
    gone = [retraction(p, DAYS[0], (2, 1, 1)) for p in PORTFOLIOS]
    nonsense = Made(b"1|nonsense", b"{}")
    save_settings(place)
    doomed = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "deltafolio", "run", "sink"],
        env={
            **os.environ,
            "DELTAFOLIO_HOME": str(place.home),
            CRASH_VARIABLE: step,
        },
    )
    try:
        await publish(place, topic, [*history(1), *gone, nonsense])
        code = await asyncio.to_thread(doomed.wait, 60)
    finally:
        doomed.kill()
        doomed.wait()
    assert code == -signal.SIGKILL
    async with sinking(place):
        await publish(place, topic, [made(1, DAYS[1], (3, 1, 1), snapshot_content(9))])
        await until(_is(place, 9, 1))
        await until(_is(place, 1, 899))
    await assert_offsets_are_ends(place, topic, 1102)


def _is(settings: Settings, nav: int, rows: int) -> Callable[[], Awaitable[bool]]:
    async def found() -> bool:
        return await rows_at(settings, nav) == rows

    return found
