"""What the benches measure on: a stack, a universe in it, and a full journal.

Stages are started one after the other, so that each can be timed on the full output
of the one before it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from analytics.results import ALL_FAMILIES, MONEY_FAMILIES
from connectors.postgres import apply_schema, connect
from connectors.settings import Settings
from connectors.stack import Stack
from deltafolio.demo_scale import settled
from deltafolio.loading import load
from deltafolio.local_app import LocalApp, other_servers, stack_settings
from deltafolio.progress import Gauge
from deltafolio.universe import Universe, make_universe
from deltafolio.usage import cpu_seconds

LIMIT = 1200.0
CHOICES = {"money": MONEY_FAMILIES, "all": ALL_FAMILIES}
"""What can be derived, in words."""


@dataclass(slots=True)
class Rig:
    """The running things, and what is in them.

    Attributes
    ----------
    settings, stack, app
        ``app`` runs capture and intake.
    universe
        What was loaded.
    captured, journaled
        Rows a second of capture and of intake alone.
    runs
        Number of applications made on this journal.
    """

    settings: Settings
    stack: Stack
    app: LocalApp
    universe: Universe
    captured: float = 0.0
    journaled: float = 0.0
    runs: int = 0

    @property
    def cells(self) -> int:
        """Portfolio-days with a result."""
        holders = self.universe.holders.values()
        return self.universe.live * len({one for some in holders for one in some})

    def cpu_seconds(self, *apps: LocalApp) -> dict[str, float]:
        """CPU seconds of every process so far."""
        found: dict[str, float] = {}
        for app in (self.app, *apps):
            found |= cpu_seconds(app.supervisor, self.stack)
        return found

    def derivation(self, workers: int, *more: str, **worker: object) -> LocalApp:
        """Make an application with results of its own on the same journal.

        Parameters
        ----------
        workers
            How many.
        more
            Other processes beside them.
        worker
            Settings of the workers that are not those of the rig.
        """
        self.runs += 1
        name = f"run{self.runs}"
        old = self.settings
        topics = old.topics.model_copy(
            update={
                field: f"{name}.{getattr(old.topics, field)}"
                for field in (
                    "snapshots",
                    "positions",
                    "risk",
                    "symbols",
                    "market_checkpoint",
                )
            }
        )
        settings = old.model_copy(
            update={
                "home": old.home / name,
                "topics": topics,
                "worker": old.worker.model_copy(update={"app_id": name, **worker}),
            }
        )
        names = [*(f"worker-{i + 1}" for i in range(workers)), *more]
        return LocalApp(settings, workers, print, names)


@asynccontextmanager
async def rig(portfolios: int, sessions: int) -> AsyncIterator[Rig]:
    """Bring up a stack, load a universe, and fill the journal with it."""
    for name in other_servers():  # what a bench starts loads the stack's own settings
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="deltafolio-bench-") as folder:
        stack = Stack(Path(folder) / "stack")
        try:
            settings = stack_settings(await asyncio.to_thread(stack.up, _say))
            made = await _fill(settings, stack, make_universe(portfolios, sessions))
            try:
                yield made
            finally:
                made.app.stop()
        finally:
            await asyncio.to_thread(stack.down, purge=True)


def _say(text: str) -> None:
    print(f"   {text}", flush=True)


async def _fill(settings: Settings, stack: Stack, universe: Universe) -> Rig:
    await apply_schema(settings.postgres)
    connection = await connect(settings.postgres.dsn.get_secret_value(), "bench")
    try:
        await load(connection, universe.tables)
    finally:
        await connection.close()
    app = LocalApp(settings, 0, _say, ["capture"])
    made = Rig(settings, stack, app, universe)
    app.start()
    try:
        async with Gauge(settings) as gauge:
            first = await gauge.until(lambda p: p.captured > 0, LIMIT)
            last = await gauge.until(lambda p: p.captured >= universe.rows, LIMIT)
            made.captured = universe.rows / (last - first)
            _say(f"{universe.rows:,} rows captured")
            app.supervisor.add("intake")
            first = await gauge.until(lambda p: p.journal > 0, LIMIT)
            last = await settled(gauge, lambda p: p.journal)
            made.journaled = universe.rows / (last - first)
            _say("journal filled")
    except BaseException:
        app.stop()
        raise
    return made


async def derive_cold(made: Rig, app: LocalApp) -> float:
    """Start workers on the full journal; seconds until the last result came."""
    async with Gauge(app.settings) as gauge:
        began = time.time()
        app.start()
        await gauge.until(
            lambda p: p.snapshots >= made.cells and p.positions >= made.cells, LIMIT
        )
        return await settled(gauge, lambda p: p.published) - began
