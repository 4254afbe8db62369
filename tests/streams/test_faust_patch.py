"""A seek never happens while a fetch is under way, nor a fetch of nothing named."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from streams import faust_patch

JOURNAL, CHANGELOG = ("journal", 0), ("changelog", 0)


class Fetcher:
    """What a fetch does at Kafka: it looks at the set of names when it ends."""

    _closed = False

    def __init__(self) -> None:
        self._subscriptions = SimpleNamespace(fetch_context=self._context)
        self.position = 7
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.asked: list[tuple[set[Any], float]] = []

    class _context:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    async def fetched_records(self, names: set[Any], **how: Any) -> dict[Any, int]:
        self.began.set()
        await self.may_end.wait()
        self.asked.append((names, how["timeout"]))
        taken = {} if names and CHANGELOG not in names else {CHANGELOG: self.position}
        self.position += len(taken)
        return taken


class Thread(AIOKafkaConsumerThread):
    def __init__(self) -> None:
        self.consumer = SimpleNamespace(flow_active=True, _read_offset={})
        self.app = SimpleNamespace(conf=SimpleNamespace(broker_request_timeout=5))
        self.log = SimpleNamespace(dev=lambda *_: None)


@pytest.fixture
def thread() -> Thread:
    faust_patch.install()
    return Thread()


@pytest.fixture
def broker() -> Any:
    fetcher = Fetcher()

    def seek(_: Any, offset: int) -> None:
        fetcher.position = offset

    async def position(_: Any) -> int:
        return fetcher.position

    return SimpleNamespace(
        _fetcher=fetcher, _closed=False, seek=seek, position=position
    )


def fetch(thread: Thread, broker: Any, names: set[Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(
        thread._fetch_records(broker, names, timeout=60.0, max_records=9)
    )


async def test_a_seek_waits_for_the_fetch_that_was_under_way(thread, broker):
    names = {JOURNAL, CHANGELOG}
    fetching = fetch(thread, broker, names)
    await broker._fetcher.began.wait()
    names.clear()  # a rebalance
    seeking = asyncio.create_task(thread._seek_wait(broker, {CHANGELOG: 2}))
    await asyncio.sleep(0.01)
    assert not seeking.done()
    broker._fetcher.may_end.set()
    await asyncio.gather(fetching, seeking)
    assert broker._fetcher.position == 2, "what was sought is still to be read"


async def test_a_fetch_keeps_to_the_partitions_it_began_with(thread, broker):
    names = {JOURNAL}
    fetching = fetch(thread, broker, names)
    await broker._fetcher.began.wait()
    names.clear()
    broker._fetcher.may_end.set()
    assert await fetching == {}
    assert broker._fetcher.position == 7


async def test_a_fetch_of_no_partition_asks_nobody(thread, broker):
    assert await fetch(thread, broker, set()) == {}
    assert broker._fetcher.asked == []


async def test_a_fetch_is_short_so_that_no_seek_waits_for_long(thread, broker):
    broker._fetcher.may_end.set()
    await fetch(thread, broker, {CHANGELOG})
    assert broker._fetcher.asked == [({CHANGELOG}, faust_patch.FETCH_S)]
