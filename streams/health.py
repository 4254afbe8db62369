"""What a worker says of itself over HTTP, on loopback.

``/health/live`` 200 while it makes progress or has nothing to do, else 503;
``/health/ready`` 200 when all it owns is live and it is not far behind, else 503;
both with the same JSON; ``/metrics`` for Prometheus. The port is a setting; 0 takes
a free one. It is written to ``<home>/run/worker-<pid>.json``.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Protocol

import msgspec
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    generate_latest,
)

HOST = "127.0.0.1"
READ_S = 5.0
READY_LAG = 1000
"""Records behind, of both logs together, up to which a worker is ready."""


class Health(msgspec.Struct):
    """A worker's own view, refreshed each second.

    Attributes
    ----------
    ready, live
        As the two addresses say.
    lag
        Records behind the ends of the logs.
    owned, published
        Partitions assigned, and those whose results are published.
    market
        Next record of the market.
    folded
        Next record of each partition that is published.
    idle_s
        Seconds since anything was folded, taken over or published, while there
        was something to do; 0 if there is nothing.
    reason
        Why it is not live; empty if it is.
    """

    ready: bool = False
    live: bool = True
    lag: int = 0
    owned: list[int] = []
    published: list[int] = []
    market: int = 0
    folded: dict[int, int] = {}
    idle_s: float = 0.0
    reason: str = "starting"


class Counted(Protocol):
    """Whatever has counts to be asked for."""

    registry: CollectorRegistry


class HealthServer:
    """Answers GET requests, one a connection.

    Parameters
    ----------
    home, port
        The state directory, and where to listen (0: a free port).
    metrics
        What ``/metrics`` tells.
    process
        Word for the file that names the port.
    """

    def __init__(
        self, home: Path, port: int, metrics: Counted, process: str = "worker"
    ) -> None:
        self.health = Health()
        self._metrics = metrics
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
            body = generate_latest(self._metrics.registry)
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
