"""A TCP proxy before Kafka and PostgreSQL that can delay, throttle, cut and be silent.

Both are reached through it by every process of the application and by Connect; what
compares reaches them directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from urllib.parse import urlsplit, urlunsplit

from connectors.stack import Stack, StackInfo
from connectors.stack.layout import LOOPBACK
from connectors.stack.services import KINDS, Broker, Connect

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to each piece that passes.

    Attributes
    ----------
    delay
        Seconds that it waits.
    rate
        Bytes a second, of each connection and direction; 0 for no limit.
    cut
        Share of the pieces of which the first part passes, and then the connection is
        reset on both sides: in the middle of a message, more often than not.
    silent
        Nothing passes and nothing is refused: the peer seems to think.
    """

    delay: float = 0.0
    rate: int = 0
    cut: float = 0.0
    silent: bool = False


FINE = Weather()


class Proxy:
    """Forwards a port of loopback to another one; a thread of its own does the work."""

    def __init__(self) -> None:
        self.weather = FINE
        self.target = 0
        self.cuts = 0
        self._chance = Random(1)  # noqa: S311 - repeatable
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._serve, LOOPBACK, 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # What was aborted is closed by the loop, a moment later.
            await asyncio.sleep(0.01)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            there = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            writer.transport.abort()
            return
        pumps = [
            asyncio.ensure_future(self._pump(reader, there[1])),
            asyncio.ensure_future(self._pump(there[0], writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for side in (writer, there[1]):
                side.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                weather = self.weather
                while self.weather.silent:  # noqa: ASYNC110 - set by another thread
                    await asyncio.sleep(0.05)
                await asyncio.sleep(weather.delay)
                if weather.rate:
                    await asyncio.sleep(len(data) / weather.rate)
                if self._chance.random() < weather.cut:
                    self.cuts += 1
                    writer.write(data[: self._chance.randrange(len(data))])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()


@dataclass(slots=True)
class Network:
    """The stack as it is, and as the application reaches it: by proxies, if any."""

    stack: Stack
    direct: StackInfo
    through: StackInfo
    postgres: Proxy | None = None
    kafka: Proxy | None = None


@contextmanager
def proxied_stack(home: Path) -> Iterator[Network]:
    """Start a stack behind proxies; at the end it is gone."""
    postgres, kafka = Proxy(), Proxy()
    stack = Stack(home)
    try:
        with _second_listener(kafka):
            direct = stack.up()
            url = urlsplit(direct.dsn)
            postgres.target = url.port or 0
            host = url.netloc.rpartition(":")[0]
            dsn = urlunsplit(url._replace(netloc=f"{host}:{postgres.port}"))
            through = replace(direct, dsn=dsn, bootstrap=f"{LOOPBACK}:{kafka.port}")
            try:
                yield Network(stack, direct, through, postgres, kafka)
            finally:
                stack.down(purge=True)
    finally:
        for proxy in (postgres, kafka):
            proxy.close()


@contextmanager
def _second_listener(proxy: Proxy) -> Iterator[None]:
    """Have the broker advertise the proxy to who comes by it, Connect among them."""
    held = dict(KINDS)

    class BehindProxy(Broker):
        def write_properties(self, properties: dict[str, str]) -> Path:
            # Beside the port of the controller, for want of a name of its own.
            proxy.target = proxy.target or _free_port()
            more = {
                "listeners": f"PROXIED://{LOOPBACK}:{proxy.target}",
                "advertised.listeners": f"PROXIED://{LOOPBACK}:{proxy.port}",
                "listener.security.protocol.map": "PROXIED:PLAINTEXT",
            }
            for name, value in more.items():
                properties[name] += f",{value}"
            return super().write_properties(properties)

    class ThroughProxy(Connect):
        def write_properties(self, properties: dict[str, str]) -> Path:
            through = {"bootstrap.servers": f"{LOOPBACK}:{proxy.port}"}
            return super().write_properties({**properties, **through})

    KINDS.update(broker=BehindProxy, connect=ThroughProxy)
    try:
        yield
    finally:
        KINDS.update(held)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
