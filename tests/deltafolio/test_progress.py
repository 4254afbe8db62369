"""Waiting until all went the whole way: in the order of the flow, stage by stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.settings import Settings
from deltafolio.progress import Gauge, NotCaughtUpError, Position

QUIET = 0.25


def position(published: int, sunk: int) -> Position:
    return Position(9, 9, 0, published, 0, 0, 0, sunk)


class Flow(Gauge):
    """A gauge of a flow that a test plays: what each stage says, look by look."""

    def __init__(self, waits: list[str], positions: list[Position]) -> None:
        super().__init__(Settings(home=Path("none")))
        self.asked: list[str] = []
        self.snapshot = 0
        self._waits = waits
        self._positions = positions

    async def streams(self) -> bool:
        self.asked.append("streams")
        self.snapshot -= 1
        return self.snapshot < 0

    async def lsn(self) -> str:
        return "0/1"

    async def captured_all(self, lsn: str | None = None) -> bool:
        """A slot confirms what was before it from the moment when it is made."""
        self.asked.append("capture")
        return True

    async def waiting(self) -> str:
        self.asked.append("workers")
        return self._waits.pop(0) if len(self._waits) > 1 else self._waits[0]

    async def read(self) -> Position:
        self.asked.append("results")
        many = len(self._positions)
        return self._positions.pop(0) if many > 1 else self._positions[0]


async def test_while_a_worker_has_something_to_do_rest_is_no_sign() -> None:
    """For many times the quiet time no counter moves: a derivation takes long."""
    flow = Flow(["busy"] * 12 + [""], [position(5, 5)] * 12 + [position(8, 8)])
    assert await flow.settle(QUIET, 20) == position(8, 8)


async def test_the_snapshot_of_the_tables_is_waited_for() -> None:
    """Nothing is captured yet, and the new slot says that all is confirmed."""
    flow = Flow([""], [position(0, 0)] * 12 + [position(5, 5)])
    flow.snapshot = 12
    assert await flow.settle(QUIET, 20) == position(5, 5)
    assert flow.asked.count("streams") == 13


async def test_results_are_counted_after_the_workers_were_asked() -> None:
    flow = Flow([""], [position(5, 5)])
    await flow.settle(0, 20)
    assert flow.asked[-2:] == ["workers", "results"]


async def test_the_sink_is_waited_for_and_what_never_ends_is_said() -> None:
    flow = Flow([""], [position(8, 5)] * 4 + [position(8, 8)])
    assert await flow.settle(0, 20) == position(8, 8)
    with pytest.raises(NotCaughtUpError, match="sink"):
        await Flow([""], [position(8, 5)]).settle(0, 0.3)
    with pytest.raises(NotCaughtUpError, match="2 partitions"):
        await Flow(["2 partitions"], [position(8, 8)]).settle(0, 0.3)
