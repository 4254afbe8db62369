"""Whether workers have anything left to do, as who waits for them asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connectors.health import HealthServer
from connectors.workers import workers_wait
from streams.metrics import Metrics
from streams.watch import WorkerHealth

ENDS = {0: 5, 1: 7}


class Worker:
    """The web side of a worker that has done everything, until told otherwise."""

    def __init__(self, home: Path) -> None:
        self.metrics = Metrics()
        self.is_busy = False
        self.metrics.busy(lambda: self.is_busy)
        self.server = HealthServer(
            home, "worker", WorkerHealth(), self.metrics.registry
        )
        self.say()

    def say(self, **changed: object) -> None:
        done = {
            "ready": True,
            "reason": "",
            "market": 9,
            "published": [0, 1],
            "folded": dict(ENDS),
        }
        self.server.health = WorkerHealth(**done | changed)  # type: ignore[arg-type]


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    made = Worker(tmp_path)
    await made.server.start()
    yield made
    await made.server.stop()


async def test_all_is_done(worker: Worker, tmp_path: Path) -> None:
    assert await workers_wait(tmp_path, 9, ENDS) == ""
    worker.say(market=12, folded={0: 6, 1: 7})
    assert await workers_wait(tmp_path, 9, ENDS) == ""


async def test_records_that_it_does_not_know_of_yet_are_waited_for(
    worker: Worker, tmp_path: Path
) -> None:
    """Its own lag is of ends that it saw up to a second ago: it counts for nothing."""
    worker.say(lag=0)
    assert await workers_wait(tmp_path, 10, ENDS) == "a worker has 1 records to fold"
    assert await workers_wait(tmp_path, 9, {0: 6, 1: 9}) == (
        "a worker has 3 records to fold"
    )


async def test_results_that_are_derived_for_long_are_waited_for(
    worker: Worker, tmp_path: Path
) -> None:
    """Nothing is published meanwhile, so no counter moves."""
    worker.is_busy = True
    assert "derive" in (await workers_wait(tmp_path, 9, ENDS) or "")


async def test_partitions_and_workers_that_are_not_there_yet(
    worker: Worker, tmp_path: Path
) -> None:
    worker.say(published=[0])
    assert await workers_wait(tmp_path, 9, ENDS) == "1 partitions have no worker"
    worker.say(ready=False, reason="7 records behind")
    assert await workers_wait(tmp_path, 9, ENDS) == "7 records behind"
    await worker.server.stop()
    assert await workers_wait(tmp_path, 9, ENDS) is None
