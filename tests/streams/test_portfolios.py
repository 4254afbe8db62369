"""Taking partitions over, on a group and logs that the test holds in its hands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from analytics.calendar import Calendar
from analytics.engine import Engine
from streams.filler import MissingRecordsError
from streams.ownership import Ownership
from streams.parts import Parts
from streams.portfolios import Portfolios

CALENDAR = Calendar([738000], [0], 738000, 738000)


class World:
    """Fakes around a real engine and real ownership; partition 3 is ours."""

    def __init__(self) -> None:
        self.engine = Engine(CALENDAR)
        self.judged: list[int] = []
        self.meanwhile: list[Any] = []
        self.asked: list[Any] = []
        self.logs: dict[TopicPartition, int] = {}
        group = SimpleNamespace(generation=1, flowing=True, confirmed_at=lambda: 0.0)
        self.ownership = Ownership(group, 6.0)
        lane = SimpleNamespace(place=TopicPartition("state", 3), expected=None)
        market = TopicPartition("market", 0)
        parts = SimpleNamespace(
            engine=self.engine,
            folder=None,
            faust=SimpleNamespace(items={}, generation=1, flowing=True),
            ownership=self.ownership,
            settings=SimpleNamespace(topics=SimpleNamespace(portfolios="portfolios")),
            publisher=SimpleNamespace(result_lanes=lambda _: {}, forget=int),
            states=SimpleNamespace(
                take_up=self.take_up, lane=lambda _: lane, forget=self.forget
            ),
            tails=SimpleNamespace(judge=self.judge, forget=int),
            filler=SimpleNamespace(ends=self.ends, stretch=nothing),
            market=SimpleNamespace(place=market, reached=self.reached),
            market_state=SimpleNamespace(lane=lane),
        )
        self.portfolios = Portfolios(cast(Parts, parts), wake=list, before_revoke=rest)

    def take_up(self, partition: int, items: object) -> None:
        self.engine.add_partition(partition)

    def forget(self, partition: int) -> None:
        self.engine.drop_partition(partition)

    def judge(self, partition: int) -> None:
        self.judged.append(self.engine.partition_offset(partition))

    async def ends(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        found = dict.fromkeys(places, 0) | self.logs
        for step in self.asked:
            step()
        return found

    async def reached(self, end: int) -> None:
        for step in self.meanwhile:
            step()
        self.meanwhile.clear()


async def nothing(*_: object, **__: object) -> Any:
    for records in ():
        yield records


async def rest() -> None:
    pass


@pytest.fixture
async def world() -> World:
    made = World()
    await made.portfolios.on_assigned(frozenset({3}))
    return made


async def test_a_partition_that_is_brought_up_is_live(world: World) -> None:
    await world.portfolios.bring(3, 1)
    assert (world.ownership.live, world.judged) == ({3}, [0])


async def test_what_is_dropped_while_it_is_brought_up_is_brought_again(
    world: World,
) -> None:
    """A publication of the generation before ends, and has lost its partition."""
    world.meanwhile.append(lambda: world.portfolios.drop(3))
    await world.portfolios.bring(3, 1)
    assert (world.ownership.live, world.judged) == (set(), [])
    await world.portfolios.on_recovered()
    assert (world.ownership.live, world.judged) == ({3}, [0])


JOURNAL, MARKET = TopicPartition("portfolios", 3), TopicPartition("market", 0)


@pytest.mark.parametrize(
    ("logs", "told"),
    [
        ({JOURNAL: 2, MARKET: 9}, r"portfolios\[3\] ends at 2, the state is at 5"),
        ({JOURNAL: 5, MARKET: 8}, r"market\[0\] ends at 8, the state is at 9"),
    ],
)
async def test_a_log_that_ends_before_the_state_is_missing_records(
    world: World, logs: dict[TopicPartition, int], told: str
) -> None:
    """Made anew, or cut: what is appended to it would be taken for folded already."""
    world.take_up(3, {})
    world.engine.set_offsets(market=9, partition=(3, 5))
    world.logs = logs
    with pytest.raises(MissingRecordsError, match=told):
        await world.portfolios.bring(3, 1)
    assert world.ownership.live == set()


async def test_an_end_is_compared_with_the_state_before_it_was_asked_for(
    world: World,
) -> None:
    """The market goes on while the ends are on their way."""
    world.asked.append(lambda: world.engine.set_offsets(market=9))
    await world.portfolios.bring(3, 1)
    assert world.ownership.live == {3}
