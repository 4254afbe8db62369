"""A worker that is told to stop ends before its supervisor loses patience."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from deltafolio.supervisor import STOP_SECONDS
from streams import worker
from streams.worker import END_S, Worker


class Slow:
    """What a worker ends, all of which takes as long as it may; and the clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.left: float | None = None
        self.catch_up = SimpleNamespace(stopped=lambda: self.spend(worker.TELL_S))
        self.faust = SimpleNamespace(
            ending=list, commit=lambda: self.spend(worker.COMMIT_S), stop=self.stop
        )
        self.ownership = SimpleNamespace(revoke=list)

    async def spend(self, seconds: float) -> None:
        self.now += seconds

    async def put_down(self, seconds: float) -> bool:
        await self.spend(seconds)
        return True

    async def stop(self, seconds: float) -> None:
        self.left = seconds
        await self.spend(seconds)


async def test_all_steps_of_ending_share_the_time_that_a_supervisor_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow, stop = Slow(), asyncio.Event()
    monkeypatch.setattr(worker, "monotonic", lambda: slow.now)
    ending: Any = Worker.__new__(Worker)
    ending._parts = ending._flush = slow
    ending._portfolios = SimpleNamespace(stop_folding=list)
    ending._live = asyncio.Event().wait  # for ever
    stop.set()
    await ending.run(stop)
    assert slow.left == 1.0
    assert slow.now - 100.0 <= END_S < STOP_SECONDS
