"""Small parts of the worker: the right to publish, crash points, its HTTP answers."""

import asyncio
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.results import MONEY_FAMILIES
from connectors.health import StalledError
from connectors.journal import encode
from connectors.settings import Settings, TopicSettings
from connectors.steps import CRASH_VARIABLE, CrashPoint, OffsetLog
from streams.faust_patch import NEVER
from streams.folding import Folder, OutOfOrderError
from streams.metrics import Metrics
from streams.ownership import Ownership
from streams.watch import Watch, WorkerHealth

SESSION = 6.0


# --- ownership --------------------------------------------------------------------


@dataclass
class Group:
    """What Faust would say; the test's hands on it."""

    generation: int = 1
    flowing: bool = True
    confirmed: float = 0.0

    def confirmed_at(self) -> float:
        return self.confirmed


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def group() -> Group:
    return Group()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ownership(group: Group, clock: Clock) -> Ownership:
    owner = Ownership(group, SESSION, clock)
    owner.assign(frozenset({0, 1}))
    owner.go_live(0)
    return owner


async def test_only_what_is_live_may_be_published(ownership):
    assert await ownership.permit(0)
    assert not await ownership.permit(1)
    ownership.revoke()
    assert not await ownership.permit(0)


async def test_another_generation_takes_the_right_away(ownership, group):
    group.generation = 2
    assert not await ownership.permit(0)
    assert not ownership.holds(0, 1)


async def test_who_slept_longer_than_the_session_waits_for_the_groups_answer(
    ownership, group, clock
):
    clock.now = SESSION
    asked = asyncio.create_task(ownership.permit(0))
    await asyncio.sleep(0.1)
    assert not asked.done()
    group.confirmed = clock.now
    assert await asked


async def test_who_was_expelled_meanwhile_never_gets_the_right(ownership, group, clock):
    group.confirmed = NEVER
    asked = asyncio.create_task(ownership.permit(0))
    await asyncio.sleep(0.05)
    ownership.revoke()
    assert not await asked


def test_nothing_is_folded_while_nothing_flows(ownership, group):
    assert ownership.holds(1, 1)
    group.flowing = False
    assert not ownership.holds(1, 1)


def test_a_new_assignment_makes_nothing_live(ownership, group):
    group.generation = 2
    ownership.assign(frozenset({0}))
    assert ownership.live == set()
    assert ownership.holds(0, 2)


# --- crash points -----------------------------------------------------------------

DIE = "from connectors.steps import *\nfor _ in range(5): crash.done(Step.E4)"


@pytest.mark.parametrize(
    ("where", "code"),
    [("publish:5", -signal.SIGKILL), ("publish:6", 0), ("derive", 0), (None, 0)],
)
def test_a_process_dies_after_the_step_it_was_told(where, code):
    environment = {} if where is None else {CRASH_VARIABLE: where}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", DIE], env=environment, check=False, timeout=30
    )
    assert done.returncode == code


@pytest.mark.parametrize("where", ["nowhere:1", "publish:x"])
def test_an_unknown_crash_point_is_an_error(where):
    with pytest.raises(ValueError, match=where.partition(":")[2] + "|nowhere"):
        CrashPoint(where)


def test_the_offset_log_is_complete_without_closing_it(tmp_path: Path):
    log = OffsetLog(str(tmp_path))
    log.start(3, 10)
    log.fold(3, 10)
    (file,) = tmp_path.iterdir()
    assert file.read_text() == "start 3 10\nfold 3 10\n"


# --- folding ----------------------------------------------------------------------

CALENDAR = Calendar([737425], [0], 737425, 737425)


@pytest.fixture
def engine() -> Engine:
    engine = Engine(CALENDAR, families=MONEY_FAMILIES)
    engine.add_partition(0)
    return engine


@pytest.fixture
def folder(engine: Engine) -> Folder:
    return Folder(engine, TopicSettings(), Metrics())


@pytest.mark.parametrize("offset", [0, 2])
def test_a_record_that_is_not_the_next_one_is_a_defect(folder, offset):
    folder.portfolios(0, 0, encode([]), 1)
    with pytest.raises(OutOfOrderError, match=f"record {offset}, expected 1"):
        folder.portfolios(0, offset, encode([]), 1)
    with pytest.raises(OutOfOrderError):
        folder.market(1, encode([]), 1)


@pytest.mark.parametrize("value", [None, b"", b"\xc1", b"\x95\x63\xc0\xc2\xc2\x90"])
def test_a_record_nobody_can_read_counts_as_folded_and_is_reported(
    folder, engine, value
):
    folder.portfolios(0, 0, value, 1)
    folder.market(0, value, 1)
    assert (engine.partition_offset(0), engine.market_offset()) == (1, 1)
    letters = folder.take_letters()
    assert [letter.id for letter in letters] == [
        "journal.portfolios/0/0",
        "journal.market/0/0",
    ]
    assert {letter.body() for letter in letters} <= {value, b""}
    assert folder.take_letters() == []


# --- a recovery that stands still ---


class Standing:
    """A recovery to which nothing comes, and who counts the pushes."""

    def __init__(self) -> None:
        self.pushes = 0
        self.recovering = True
        self.ownership = SimpleNamespace(owned={1})
        self.faust = self

    def recover_again(self) -> None:
        self.pushes += 1


@pytest.mark.parametrize(
    ("idle_s", "recovering", "pushes"), [(4, True, 0), (6, False, 0), (6, True, 1)]
)
def test_a_recovery_that_stands_still_is_pushed_once(
    monkeypatch, clock, idle_s, recovering, pushes
):
    monkeypatch.setattr("streams.watch.monotonic", clock)
    standing: Any = Standing()
    standing.recovering = recovering
    watch = Watch(standing, standing, WorkerHealth(), list, bool)
    clock.now += idle_s
    watch._push_recovery(idle_s)
    watch._push_recovery(idle_s)
    assert standing.pushes == pushes


# --- a worker that stands still ---


class Behind:
    """The parts of a worker that has records to fold, and folds none."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.ownership = SimpleNamespace(
            owned={0}, live={0}, generation=1, is_confirmed=lambda: True
        )
        self.market = SimpleNamespace(place=TopicPartition("m", 0))
        self.engine = SimpleNamespace(
            market_offset=lambda: 5, partition_offset=lambda _: 0
        )
        self.metrics = Metrics()
        self.publisher = SimpleNamespace(batches=0)
        self.faust = SimpleNamespace(items={})
        self.recovering = False

    def place(self, partition: int) -> TopicPartition:
        return TopicPartition("p", partition)

    def offsets(self) -> dict[int, int]:
        return {0: 0}


def test_a_worker_that_has_something_to_do_and_does_nothing_ends(monkeypatch, clock):
    monkeypatch.setattr("streams.watch.monotonic", clock)
    behind: Any = Behind()
    told = WorkerHealth()
    watch = Watch(behind, behind, told, list, bool)
    ends = {TopicPartition("m", 0): 5, TopicPartition("p", 0): 7}

    def look_for(seconds: int) -> None:
        for _ in range(seconds):
            clock.now += 1
            watch._measure(ends)

    watch._measure(ends)
    assert (told.live, told.ready, told.lag) == (True, True, 7)
    look_for(59)
    assert told.live
    behind.publisher.batches += 1  # progress
    watch._measure(ends)
    look_for(59)
    assert told.live
    clock.now += 1
    with pytest.raises(StalledError, match="nothing was done for 60 s"):
        watch._measure(ends)
    assert not told.live


def test_a_worker_that_has_nothing_to_do_is_well_for_ever(monkeypatch, clock):
    monkeypatch.setattr("streams.watch.monotonic", clock)
    behind: Any = Behind()
    told = WorkerHealth()
    watch = Watch(behind, behind, told, list, bool)
    for _ in range(3):
        watch._measure({TopicPartition("m", 0): 5, TopicPartition("p", 0): 0})
        clock.now += 1e6
    assert (told.live, told.ready, told.idle_s) == (True, True, 0)
