"""A client that is ended while it connects leaves no connection open."""

from __future__ import annotations

import asyncio
import gc
import struct
import warnings
from collections.abc import AsyncIterator

import pytest
from aiokafka.client import AIOKafkaClient

from connectors import aiokafka_patch

VERSIONS, METADATA = 18, 3


class Broker:
    """Says which requests it knows, tells of itself, and holds back one answer.

    Attributes
    ----------
    held
        Which request of a kind (the n-th) is answered only when ``release`` is set.
    open
        Connections that clients have not closed.
    """

    def __init__(self) -> None:
        self.port = 0
        self.open = 0
        self.held = (0, 0)
        self.reached, self.release = asyncio.Event(), asyncio.Event()
        self._seen: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.open += 1
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                kind, _, number = struct.unpack(
                    ">hhi", (await reader.readexactly(size))[:8]
                )
                self._seen.append(kind)
                if self.held == (kind, self._seen.count(kind)):
                    self.reached.set()
                    await self.release.wait()
                body = struct.pack(">i", number) + self._answer(kind)
                writer.write(struct.pack(">i", len(body)) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.open -= 1
            writer.close()

    def _answer(self, kind: int) -> bytes:
        if kind == VERSIONS:  # no error; two kinds, of which the oldest versions
            return struct.pack(">hi", 0, 2) + b"".join(
                struct.pack(">hhh", one, 0, 0) for one in (VERSIONS, METADATA)
            )
        host = b"127.0.0.1"  # one broker, no topics
        broker = struct.pack(">ih", 1, len(host)) + host + struct.pack(">i", self.port)
        return struct.pack(">i", 1) + broker + struct.pack(">i", 0)

    async def none_open(self) -> bool:
        """Whether clients have closed all; they have a second."""
        for _ in range(100):
            if not self.open:
                return True
            await asyncio.sleep(0.01)
        return False


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    made = Broker()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
        made.release.set()


@pytest.fixture
async def client(broker: Broker) -> AIOKafkaClient:
    aiokafka_patch.install()
    return AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{broker.port}")


async def test_one_that_is_cancelled_while_it_asks_for_metadata(broker, client):
    broker.held = (METADATA, 1)
    starting = asyncio.create_task(client.bootstrap())
    await broker.reached.wait()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        broker.release.set()
        assert await broker.none_open()
        gc.collect()
    assert [str(one.message) for one in told] == [], "and not by being collected"
    await client.close()


async def test_one_that_is_closed_while_another_task_connects(broker, client):
    await client.bootstrap()
    broker.held = (VERSIONS, 2)
    connecting = asyncio.create_task(client.ready(1))
    await broker.reached.wait()
    await client.close()
    broker.release.set()
    assert await connecting is False
    assert await broker.none_open()


async def test_one_that_is_not_ended_is_as_it_was(broker, client):
    await client.bootstrap()
    assert await client.ready(1)
    assert broker.open == 1
    await client.close()
    assert await broker.none_open()
