"""What is on its way: one publication, in order, accounted for when it is stored."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from streams.metrics import Metrics
from streams.outbox import Outbox
from tests.streams.test_publisher import result


class Brokers:
    """Stores what it is given when it is told to."""

    def __init__(self) -> None:
        self.encoding = 0.0
        self.given: list[int] = []
        self.stored: list[int] = []
        self.answers: list[asyncio.Future[set[int]]] = []

    async def publish(self, results, handed: asyncio.Event) -> set[int]:
        self.given.append(results[0].owner)
        self.answers.append(asyncio.get_running_loop().create_future())
        handed.set()
        lost = await self.answers[-1]
        self.stored.append(results[0].owner)
        return lost

    def answer(self, lost: set[int] | None = None) -> None:
        self.answers[-1].set_result(lost or set())


@pytest.fixture
def brokers() -> Brokers:
    return Brokers()


@pytest.fixture
def dropped() -> list[int]:
    return []


@pytest.fixture
def seen() -> list[int]:
    return []


@pytest.fixture
def outbox(brokers, dropped, seen) -> Outbox:
    catch_up = SimpleNamespace(saw=lambda results: seen.append(results[0].owner))
    return Outbox(brokers, Metrics(), catch_up, dropped.append, lambda: None)


def batch(owner: int) -> list:
    return [result(owner=owner)]


async def test_it_does_not_wait_for_what_it_hands_over(outbox, brokers):
    await asyncio.wait_for(outbox.publish(batch(1)), 1)
    assert (brokers.given, brokers.stored, outbox.pending) == ([1], [], True)


async def test_the_next_one_is_handed_over_when_the_one_before_is_stored(
    outbox, brokers, seen
):
    await outbox.publish(batch(1))
    second = asyncio.create_task(outbox.publish(batch(2)))
    await asyncio.sleep(0.01)
    assert brokers.given == [1]
    brokers.answer()
    await second
    assert (brokers.given, brokers.stored, seen) == ([1, 2], [1], [1])


async def test_stored_means_that_nothing_is_on_its_way(outbox, brokers, seen):
    await asyncio.wait_for(outbox.stored(), 1)
    await outbox.publish(batch(1))
    waiting = asyncio.create_task(outbox.stored())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert outbox.pending
    brokers.answer()
    await waiting
    assert (outbox.pending, seen) == (False, [1])


async def test_what_was_lost_is_dropped_once_whoever_asks(outbox, brokers, dropped):
    await outbox.publish(batch(1))
    both = asyncio.gather(outbox.stored(), outbox.stored())
    await asyncio.sleep(0)
    brokers.answer({3})
    await both
    assert dropped == [3]


async def test_a_failure_is_raised_to_everybody_who_asks(outbox, brokers):
    await outbox.publish(batch(1))
    brokers.answers[-1].set_exception(ConnectionError("gone"))
    for ask in (outbox.stored, lambda: outbox.publish(batch(2)), outbox.stored):
        with pytest.raises(ConnectionError):
            await ask()
    assert brokers.given == [1]


async def test_who_gives_up_waiting_does_not_stop_it(outbox, brokers):
    await outbox.publish(batch(1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.stored(), 0.01)
    brokers.answer()
    await outbox.stored()
    assert brokers.stored == [1]
