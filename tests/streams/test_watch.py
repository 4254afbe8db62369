"""The worker's own watch: what it ends the worker for, and when it says ready."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from connectors.settings import Settings
from streams.filler import MissingRecordsError
from streams.metrics import Metrics
from streams.watch import Watch, WorkerHealth

MARKET, JOURNAL = TopicPartition("m", 0), TopicPartition("p", 0)


class World:
    """Parts and partitions of a worker that has folded all; the test's hands on them.

    Partition 0 is live at 5, the market at 10.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.ends = {MARKET: 10, JOURNAL: 5}
        self.asked: list[Callable[[], None]] = []
        self.offsets_ = {MARKET: 10, JOURNAL: 5}
        self.settings = Settings()
        self.ownership = SimpleNamespace(owned=frozenset({0}), live={0}, generation=3)
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
        self.faust = SimpleNamespace(items={})
        self.filler = SimpleNamespace(ends_now=self.ends_now)
        self.recovering = False
        self.health = WorkerHealth()
        parts: Any = self
        self.watch = Watch(parts, parts, self.health, lambda: None)

    async def ends_now(self, _: object) -> dict[TopicPartition, int]:
        found = dict(self.ends)
        for step in self.asked:
            step()
        return found

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
    made: World
    monkeypatch.setattr("streams.watch.monotonic", lambda: made.now)
    made = SimpleNamespace(now=0.0)  # type: ignore[assignment]
    made = World()
    return made


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
