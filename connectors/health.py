"""What a process says of itself over HTTP, on loopback, and whether it goes on.

``/health/live`` 200 while it makes progress or has nothing to do, else 503;
``/health/ready`` 200 when it does its work, else 503; both with the same JSON;
``/metrics`` for Prometheus, where there are some. The port is written to
``<home>/run/<process>-<pid>.json``.

A process whose loop should come round (intake, sink, capture) gives a `Pulse` at each
round and runs in `watched`: without one for a minute it is not live any more, says so,
and ends, so that whoever runs it starts another. A worker has a watch of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

HOST = "127.0.0.1"
READ_S = 5.0
TICK_S = 1.0
STALL_S = 60.0
STDERR = 2
FROZEN_S = 120.0
"""An event loop that stands still for longer is ended by the interpreter."""


class StalledError(RuntimeError):
    """There is something to do and nothing was done for `STALL_S`: start again."""


class Health(msgspec.Struct):
    """A process's own view, refreshed each second.

    Attributes
    ----------
    ready, live
        As the two addresses say.
    idle_s
        Seconds without progress while there was something to do; 0 if there is
        nothing.
    reason
        Why it is not ready, or not live; empty if it is both.
    """

    ready: bool = False
    live: bool = True
    idle_s: float = 0.0
    reason: str = "starting"


class HealthServer:
    """Answers GET requests, one a connection.

    Parameters
    ----------
    home
        State directory.
    process
        Which process.
    health
        What is told, as it is at that moment.
    registry
        Of the metrics.
    port
        Where to listen; 0 takes a free one.
    """

    def __init__(
        self,
        home: Path,
        process: str,
        health: Health,
        registry: CollectorRegistry | None = None,
        port: int = 0,
    ) -> None:
        self.health = health
        self._registry = registry or CollectorRegistry()
        self._port = port
        self._file = home / "run" / f"{process}-{os.getpid()}.json"
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, and write down where.

        Raises
        ------
        OSError
            If the port of the settings is taken.
        """
        self._server = await asyncio.start_server(self._answer, HOST, self._port)
        port = self._server.sockets[0].getsockname()[1]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps({"pid": os.getpid(), "port": port}))

    async def stop(self) -> None:
        """Stop listening; does not wait for who is connected."""
        self._file.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(READ_S):
                request = await reader.readuntil(b"\r\n")
            words = request.split()
            writer.write(self._response(*words[:2]))
            await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # who asked has gone
        except asyncio.LimitOverrunError:
            pass  # a line of 64 KiB: nobody who asks for health
        finally:
            writer.close()

    def _response(self, method: bytes = b"", path: bytes = b"") -> bytes:
        if method != b"GET":
            return _http(405, "text/plain", b"GET\n")
        if path == b"/metrics":
            body = generate_latest(self._registry)
            return _http(200, CONTENT_TYPE_LATEST, body)
        good = {b"/health/live": self.health.live, b"/health/ready": self.health.ready}
        if path not in good:
            return _http(404, "text/plain", b"/health/live /health/ready /metrics\n")
        body = msgspec.json.encode(self.health)
        return _http(200 if good[path] else 503, "application/json", body)


def _http(status: int, kind: str, body: bytes) -> bytes:
    word = {
        200: "OK",
        404: "Not Found",
        405: "Method Not Allowed",
        503: "Service Unavailable",
    }[status]
    head = (
        f"HTTP/1.1 {status} {word}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


class Pulse:
    """Whether a loop comes round; it beats, health listens.

    Parameters
    ----------
    now
        A clock, in seconds.

    Attributes
    ----------
    trouble
        Why it does not do its work, if it does not.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._at = now()
        self._waits = False
        self.trouble = ""

    def beat(self, trouble: str = "") -> None:
        """Say that the loop came round; with the reason if it cannot do its work."""
        self._at, self.trouble = self._now(), trouble

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Do something that may take any time, and is no standing still."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
            self._at = self._now()

    @property
    def idle_s(self) -> float:
        """Seconds since the last beat; 0 while it waits."""
        return 0.0 if self._waits else self._now() - self._at


def measure(health: Health, pulses: list[Pulse]) -> None:
    """Tell of pulses: live while all beat, ready while none is in trouble."""
    health.idle_s = max(pulse.idle_s for pulse in pulses)
    health.live = health.idle_s < STALL_S
    troubles = [pulse.trouble for pulse in pulses if pulse.trouble]
    if not health.live:
        troubles.insert(0, f"nothing was done for {health.idle_s:.0f} s")
    health.ready, health.reason = not troubles, "; ".join(troubles)


async def watched(
    home: Path,
    process: str,
    pulses: list[Pulse],
    work: Coroutine[Any, Any, None],
    registry: CollectorRegistry | None = None,
    port: int = 0,
) -> None:
    """Do a process's work, and tell of it over HTTP.

    Parameters
    ----------
    home, process, registry, port
        Of the `HealthServer`.
    pulses
        All of them must beat.
    work
        What is done.

    Raises
    ------
    StalledError
        If a pulse stays away for `STALL_S`.
    Exception
        Whatever the work raises.
    """
    server = HealthServer(home, process, Health(), registry, port)
    working = asyncio.create_task(work)
    try:
        await server.start()
        while not working.done():
            faulthandler.dump_traceback_later(FROZEN_S, exit=True, file=STDERR)
            measure(server.health, pulses)
            if not server.health.live:
                raise StalledError(server.health.reason)
            await asyncio.wait({working}, timeout=TICK_S)
        working.result()
    finally:
        faulthandler.cancel_dump_traceback_later()
        working.cancel()
        await asyncio.wait({working}, timeout=TICK_S)
        await server.stop()
