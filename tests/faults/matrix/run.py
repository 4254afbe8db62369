"""One run: a check and a disturbance are drawn from a seed, carried out, judged."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

from tests.faults.matrix.checks import CHECKS, Check, send_guests_away
from tests.faults.matrix.database import Database
from tests.faults.matrix.disturbances import DISTURBANCES
from tests.faults.matrix.rig import Rig, Verdict

LEAD_S = 1.5
QUIET_ONES = 0.5
"""Share of runs in which the check ends before the harm begins. What is lost then is
not mended by a later change of the same row; while changes go on, more is under way."""
QUIET_S = 2.0
"""Most seconds between the two. Without them what is still being captured when the harm
begins comes after what is lost, and mends it: a few rows change all the time."""
DISTURBANCE_LIMIT_S = 180.0


@dataclass(frozen=True, slots=True)
class Draw:
    """What a seed means; ``only`` narrows it and makes it another draw.

    Attributes
    ----------
    seed, check, disturbance
        Of the run.
    """

    seed: int
    check: str
    disturbance: str

    @classmethod
    def of(cls, seed: int, only: str = "") -> Draw:
        """Draw a pair; ``only`` is ``"disturbance/check"``, either may be empty."""
        chance = Random(f"pair {seed}")  # noqa: S311 - repeatable
        disturbance, _, check = only.partition("/")
        return cls(
            seed,
            chance.choice([name for name in CHECKS if check in ("", name)]),
            chance.choice([name for name in DISTURBANCES if disturbance in name]),
        )

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.disturbance}/{self.check}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run and what came of it; ``failures``: processes that gave up."""

    draw: Draw
    verdict: Verdict
    fresh: float
    seconds: float
    failures: list[str]

    @property
    def good(self) -> bool:
        """Whether nothing was found, and nobody gave up but for want of disk."""
        patient = not self.failures or self.draw.disturbance == "full disk"
        return patient and not self.verdict.why

    def line(self) -> str:
        found = self.verdict
        return (
            f"{self.draw}: {found.cells} cells, {found.wrong} wrong, "
            f"{found.lost} lost, {found.conflicting} conflicting, "
            f"{found.falling} falling, "
            f"fresh after {self.fresh:.1f} s, {len(self.failures)} failed, "
            f"a run of {self.seconds:.0f} s"
        )


async def run(rig: Rig, draw: Draw) -> Outcome:
    """Carry out a run; what fails in it is in the verdict."""
    chance = Random(f"run {draw.seed}")  # noqa: S311 - repeatable
    began, before = time.monotonic(), len(rig.failures())
    fresh, why = float("inf"), ""
    load = Random(f"load {draw.seed}")  # noqa: S311 - repeatable
    async with _busy(rig, CHECKS[draw.check], load) as (db, stop):
        await asyncio.sleep(chance.uniform(0.1, LEAD_S))
        if chance.random() < QUIET_ONES:
            stop.set()
            await asyncio.sleep(chance.uniform(0, QUIET_S))
        try:
            async with asyncio.timeout(DISTURBANCE_LIMIT_S):
                await DISTURBANCES[draw.disturbance](rig, chance)
            fresh = await rig.seconds_to_fresh()
        except Exception:  # noqa: BLE001 - told with the outcome
            why = traceback.format_exc()
    verdict = await rig.verdict()
    verdict.why += db.complaints
    if why:
        verdict.why.append(why)
    if fresh == float("inf"):
        verdict.why.append("no fresh results")
    await send_guests_away(rig.db)
    failures = rig.failures()[before:]
    return Outcome(draw, verdict, fresh, time.monotonic() - began, failures)


@asynccontextmanager
async def _busy(
    rig: Rig, check: Check, chance: Random
) -> AsyncIterator[tuple[Database, asyncio.Event]]:
    """Repeat a check's step for a block, or until told to stop; once at least."""
    stop = asyncio.Event()
    db = rig.hands()

    async def work() -> None:
        while True:
            await check.step(db, chance)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), check.pause)
            if stop.is_set():
                return

    task = asyncio.create_task(work())
    try:
        yield db, stop
    finally:
        stop.set()
        await task
        rig.mistakes |= db.mistakes
        await db.close()
