"""The workers of a run, as the run sees them: who starts them, and whether all is done.

A worker says over HTTP which partitions it publishes and up to where it has read
(``/health/ready``), and whether results are on their way (``/metrics``). The run's
logs do not grow any more once they are fed, so "read to the end, and nothing on its
way" stays true once it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import httpx

from connectors.workers import ask_worker, worker_ports

ANSWER_S = 2.0
BUSY = "deltafolio_worker_busy"


class Crew(Protocol):
    """Whoever starts and stops the worker processes of a directory."""

    def start(self) -> None:
        """Start them; one that ends is started again."""

    def stop(self) -> None:
        """Stop them in good order."""

    def cpu_seconds(self) -> float:
        """CPU seconds that they have used so far."""

    def trouble(self) -> str:
        """Say why it is of no use to wait for them; empty while it is."""


async def is_done(home: Path, partitions: int, market: int) -> bool:
    """Whether the workers of a directory have read, derived and published everything.

    Parameters
    ----------
    home
        Directory of the run.
    partitions
        How many there are.
    market
        Where the market's log ends.
    """
    published: set[int] = set()
    async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
        for port in worker_ports(home):
            health = await ask_worker(client, port)
            if health is None or health.lag or health.market < market:
                return False
            if await _is_busy(client, port):
                return False
            published |= set(health.published)
    return len(published) == partitions


async def _is_busy(client: httpx.AsyncClient, port: int) -> bool:
    try:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    except httpx.HTTPError:
        return True
    return f"{BUSY} 0.0" not in answer.text.splitlines()
