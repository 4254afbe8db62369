"""The worker's own watch: what it ends the worker for, and when it says ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from connectors.health import StalledError
from connectors.settings import Settings
from streams.app import FaustApp, FaustCrashError
from streams.filler import MissingRecordsError
from streams.metrics import Metrics
from streams.watch import Watch, WorkerHealth

clock = SimpleNamespace(now=0.0)
MARKET, JOURNAL = TopicPartition("m", 0), TopicPartition("p", 0)


class World:
    """Parts and partitions of a worker that has folded all; the test's hands on them.

    Partition 0 is live at 5, the market at 10.
    """

    def __init__(self) -> None:
        self.ends = {MARKET: 10, JOURNAL: 5}
        self.asked: list[Callable[[], None]] = []
        self.offsets_ = {MARKET: 10, JOURNAL: 5}
        self.settings = Settings()
        self.confirmed, self.waiting = True, False
        self.crash: Exception | None = None
        self.ownership = SimpleNamespace(
            owned=frozenset({0}),
            live={0},
            generation=3,
            is_confirmed=lambda: self.confirmed,
        )
        self.market = SimpleNamespace(place=MARKET)
        self.engine = SimpleNamespace(
            market_offset=lambda: self.offsets_[MARKET],
            partition_offset=lambda _: self.offsets_[JOURNAL],
        )
        self.metrics = Metrics()
        self.publisher = SimpleNamespace(
            batches=7, result_lanes=lambda _: {}, lanes=lambda _: []
        )
        lane = SimpleNamespace(place=TopicPartition("state", 0))
        self.states = SimpleNamespace(lane=lambda _: lane)
        self.market_state = SimpleNamespace(lane=lane)
        self.faust = SimpleNamespace(items={}, raise_crash=self.raise_crash)
        self.filler = SimpleNamespace(ends_now=self.ends_now)
        self.recovering = False
        self.health = WorkerHealth()
        parts: Any = self
        self.watch = Watch(parts, parts, self.health, list, lambda: self.waiting)

    async def ends_now(self, _: object) -> dict[TopicPartition, int]:
        found = dict(self.ends)
        for step in self.asked:
            step()
        return found

    def raise_crash(self) -> None:
        if self.crash:
            raise self.crash

    def measure(self, after_s: float = 0.0) -> WorkerHealth:
        clock.now += after_s
        self.watch._measure(self.ends)
        return self.health

    def look_for(self, seconds: int) -> WorkerHealth:
        """Look each second, as the watch does."""
        for _ in range(seconds):
            self.measure(after_s=1)
        return self.health

    # --- the partitions ---

    def place(self, partition: int) -> TopicPartition:
        return TopicPartition("p", partition)

    def offsets(self) -> dict[int, int]:
        return {0: self.offsets_[JOURNAL]}

    def folded(self) -> dict[TopicPartition, int]:
        return dict(self.offsets_)

    async def mend(self, ends: object) -> None:
        raise Looked


class Looked(Exception):
    """The watch has come round."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("streams.watch.TICK_S", 0)
    monkeypatch.setattr("streams.watch.monotonic", lambda: clock.now)
    return World()


# --- logs that end before the state ----------------------------------------------


@pytest.mark.parametrize(
    ("place", "end", "told"),
    [
        (JOURNAL, 2, r"p\[0\] ends at 2, the state is at 5"),
        (MARKET, 9, r"m\[0\] ends at 9, the state is at 10"),
    ],
)
async def test_a_log_that_ends_before_the_state_ends_the_worker(
    world: World, place: TopicPartition, end: int, told: str
) -> None:
    world.ends[place] = end
    with pytest.raises(MissingRecordsError, match=told):
        await world.watch.run()


async def test_what_is_folded_while_the_ends_are_asked_for_is_not_missing(
    world: World,
) -> None:
    def appended() -> None:
        for numbers in (world.ends, world.offsets_):
            numbers.update({MARKET: 11, JOURNAL: 6})

    world.asked.append(appended)
    with pytest.raises(Looked):
        await world.watch.run()


# --- a group that does not answer -------------------------------------------------


def test_a_worker_is_ready_when_it_has_folded_all_and_the_group_answers(
    world: World,
) -> None:
    told = world.measure()
    assert (told.ready, told.live, told.reason) == (True, True, "")


@pytest.mark.parametrize("unknown", ["not a member yet", "no answer"])
def test_without_the_word_of_the_group_nothing_is_published_and_it_is_not_ready(
    world: World, unknown: str
) -> None:
    if unknown == "no answer":
        world.confirmed = False
    else:
        world.ownership.generation = -1
    told = world.measure()
    assert (told.ready, told.reason) == (False, "the group does not answer")
    world.confirmed, world.ownership.generation = True, 4
    assert world.measure().ready


def test_results_that_wait_for_the_group_for_a_minute_end_the_worker(
    world: World,
) -> None:
    """Records are folded all the while: that is no progress of what waits."""
    world.confirmed, world.waiting = False, True
    world.measure()
    for _ in range(59):
        world.ends[MARKET] += 1
        world.offsets_[MARKET] += 1
        assert world.measure(after_s=1).live
    with pytest.raises(StalledError, match="60 s: the group does not answer"):
        world.measure(after_s=1)


def test_a_worker_that_was_frozen_for_long_looks_once_more(world: World) -> None:
    """It wakes up, not confirmed: a second later it rejoins."""
    world.confirmed, world.waiting = True, False
    world.measure()
    world.confirmed, world.waiting = False, True
    assert world.measure(after_s=100).live
    world.confirmed = True
    assert world.measure(after_s=1).live


@pytest.mark.parametrize(
    ("confirmed", "waiting"),
    [(False, False), (True, True)],
    ids=["nothing waits, or half a transaction", "the group answers"],
)
def test_what_does_not_wait_for_the_group_is_no_standing_still(
    world: World, confirmed: bool, waiting: bool
) -> None:
    world.confirmed, world.waiting = confirmed, waiting
    for _ in range(4):
        assert world.measure(after_s=1000).live


def test_an_answer_or_a_batch_or_a_rebalance_is_progress(world: World) -> None:
    world.confirmed, world.waiting = False, True
    assert world.look_for(59).live
    world.publisher.batches += 1
    assert world.look_for(59).live
    world.ownership.generation += 1
    assert world.look_for(59).live
    world.confirmed = True
    assert world.look_for(59).live
    world.confirmed = False
    assert world.look_for(59).live
    world.ownership.live.clear()  # being taken over, and that goes on
    world.offsets_[MARKET] += 1
    assert world.look_for(59).live


# --- a crash of Faust -------------------------------------------------------------


async def test_a_crash_of_faust_ends_the_worker(world: World) -> None:
    world.crash = FaustCrashError("Faust crashed: ValueError()")
    with pytest.raises(FaustCrashError):
        await world.watch.run()


async def test_faust_is_asked_what_it_crashed_of(tmp_path: Path) -> None:
    """A part of it crashes, and the application by that."""
    faust = FaustApp(Settings(home=tmp_path))
    faust.raise_crash()
    await faust.app.tables.crash(ValueError("it was refused"))
    with pytest.raises(FaustCrashError, match="it was refused"):
        faust.raise_crash()


async def test_a_crash_while_it_ends_is_none(tmp_path: Path) -> None:
    faust = FaustApp(Settings(home=tmp_path))
    faust.ending()
    await faust.app.crash(ValueError("cut off"))
    faust.raise_crash()
