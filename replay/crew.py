"""The workers of a run, as the run sees them: who starts them, and whether all is done.

The run's logs do not grow once they are fed, so "folded to the end, and nothing
on its way" (``connectors.workers``) stays true once it is.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Protocol

import httpx

from connectors.workers import ANSWER_S, worker_ports, workers_wait
from replay.logs import Prefix

PHASE = re.compile(
    r'^deltafolio_worker_phase_seconds_total\{phase="(\w+)"\} (\S+)', re.M
)


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


async def is_done(home: Path, ends: Prefix) -> bool:
    """Whether the workers of a directory have read, derived and published everything.

    Parameters
    ----------
    home
        Directory of the run.
    ends
        Of the run's logs.
    """
    return await workers_wait(home, ends.market, dict(enumerate(ends.portfolios))) == ""


async def phase_seconds(home: Path) -> dict[int, dict[str, float]]:
    """Seconds of each phase that the workers of a directory tell, by their ports."""
    found: dict[int, dict[str, float]] = {}
    async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
        for port in worker_ports(home):
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.get(f"http://127.0.0.1:{port}/metrics")
                told = PHASE.findall(answer.text)
                found[port] = {phase: float(seconds) for phase, seconds in told}
    return found
