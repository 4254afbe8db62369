"""Workers of this machine, asked over HTTP how far they are.

Each leaves a file with its port in its state directory (``run/worker-<pid>.json``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec

from connectors.stack.process import identify

ANSWER_S = 2.0
BUSY = "deltafolio_worker_busy"


class WorkerHealth(msgspec.Struct):
    """What is used of a worker's answer (``streams.watch.WorkerHealth``)."""

    ready: bool
    lag: int
    market: int
    published: list[int]
    folded: dict[int, int] = {}
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


async def workers_wait(
    home: Path, market: int, portfolios: Mapping[int, int]
) -> str | None:
    """Say what the workers of a state directory have still to do; empty if nothing.

    They have nothing to do if all partitions are published, everything up to these
    ends is folded, and nothing that is folded waits to be derived or stored. That is no
    guess: what a worker says of its offsets may be a second old, and they only grow;
    whether it is busy is asked after them, and told as it is.

    Parameters
    ----------
    home
        The state directory.
    market
        End of the market's log.
    portfolios
        End of each partition of the portfolios' log.

    Returns
    -------
    str or None
        None if no worker runs there.
    """
    published: set[int] = set()
    ports = worker_ports(home)
    async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
        for port in ports:
            health = await ask_worker(client, port)
            if health is None or not health.ready:
                return (health.reason if health else "") or "a worker is starting"
            behind = max(0, market - health.market) + sum(
                max(0, portfolios.get(partition, 0) - health.folded.get(partition, 0))
                for partition in health.published
            )
            if behind:
                return f"a worker has {behind} records to fold"
            if await _is_busy(client, port):
                return "a worker has results to derive or to publish"
            published |= set(health.published)
    missing = len(portfolios.keys() - published)
    if ports and missing:
        return f"{missing} partitions have no worker"
    return "" if ports else None


async def _is_busy(client: httpx.AsyncClient, port: int) -> bool:
    try:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    except httpx.HTTPError:
        return True
    return f"{BUSY} 0.0" not in answer.text.splitlines()
