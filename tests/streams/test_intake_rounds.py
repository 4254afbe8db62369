"""Intake's rounds leave the loop to others, however much there is to read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from connectors.settings import Settings
from streams.intake import Intake

ROUNDS = 50


class Buffered:
    """A consumer that has records in memory, and so gives them without waiting."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.rounds = 0
        self._stop = stop

    async def getmany(self, **_: Any) -> dict[Any, Any]:
        self.rounds += 1
        if self.rounds == ROUNDS:
            self._stop.set()
        return {}

    def paused(self) -> set[Any]:
        return set()


async def test_others_get_their_turn_in_each_round_of_a_large_transaction(
    tmp_path: Path,
) -> None:
    """Nothing is to be written before its end, so that nothing waits for Kafka."""
    stop = asyncio.Event()
    intake, consumer = Intake(Settings(home=tmp_path)), Buffered(stop)
    intake._consumer = consumer
    door: Any = SimpleNamespace(
        pending=False,
        holes=[],
        ahead=False,
        ledger=SimpleNamespace(places=()),
        tick=lambda now, today, *, caught_up: None,
        committable=dict,
    )
    beats = 0

    async def heartbeat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(heartbeat())
    await intake._work(door, 0, stop)
    task.cancel()
    assert consumer.rounds == ROUNDS
    assert beats >= ROUNDS
