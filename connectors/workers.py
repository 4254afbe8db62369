"""Workers of this machine, asked over HTTP how far they are.

Each leaves a file with its port in its state directory (``run/worker-<pid>.json``).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import httpx
import msgspec

from connectors.stack.process import identify


class WorkerHealth(msgspec.Struct):
    """What is used of a worker's answer; ``streams.health.Health`` has the whole."""

    ready: bool
    lag: int
    market: int
    published: list[int]
    reason: str = ""


class _Where(msgspec.Struct):
    pid: int
    port: int


def worker_ports(home: Path) -> list[int]:
    """Ports of the workers that run in a state directory."""
    found = []
    for path in (home / "run").glob("worker-*.json"):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            where = msgspec.json.decode(path.read_bytes(), type=_Where)
            if identify(where.pid):
                found.append(where.port)
    return found


async def ask_worker(client: httpx.AsyncClient, port: int) -> WorkerHealth | None:
    """Ask one worker; None if it does not answer."""
    try:
        answer = await client.get(f"http://127.0.0.1:{port}/health/ready")
        return msgspec.json.decode(answer.content, type=WorkerHealth)
    except (httpx.HTTPError, msgspec.MsgspecError):
        return None
