"""A worker as a process of its own, and hands on it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from connectors.settings import Settings
from connectors.steps import CRASH_VARIABLE, OFFSETS_VARIABLE

_numbers = itertools.count(1)


class WorkerProcess:
    """``deltafolio run worker`` as a process of its own."""

    def __init__(self, settings: Settings, offsets: Path, crash_at: str) -> None:
        self._home = settings.home
        file = self._home / "settings.json"
        if not file.exists():
            file.write_text(settings.model_dump_json(exclude={"home", "postgres"}))
        self.log = self._home / f"worker-{next(_numbers)}.log"
        environment = {
            **os.environ,
            "DELTAFOLIO_HOME": str(self._home),
            OFFSETS_VARIABLE: str(offsets),
            CRASH_VARIABLE: crash_at,
        }
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deltafolio", "run", "worker"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self, limit: float) -> int:
        """Wait for its end; its exit code."""
        return await asyncio.to_thread(self.process.wait, limit)

    async def health(self) -> dict[str, object]:
        """What it says of itself; nothing while it does not answer."""
        file = self._home / "run" / f"worker-{self.process.pid}.json"
        try:
            port = json.loads(file.read_text())["port"]
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://127.0.0.1:{port}/health/ready")
        except (OSError, ValueError, httpx.HTTPError):
            return {}
        found: dict[str, object] = answer.json()
        return found

    async def ready(self, limit: float = 120.0) -> None:
        """Wait until all it owns is published, and that is something."""
        await self.reports(lambda found: bool(found.get("published")), limit)

    async def reports(
        self, good: Callable[[dict[str, object]], bool], limit: float = 120.0
    ) -> None:
        """Wait until its own view of itself is as wanted."""
        end = time.monotonic() + limit
        while not good(found := await self.health()):
            assert self.running, self.log_tail()
            assert time.monotonic() < end, f"{found}\n{self.log_tail()}"
            await asyncio.sleep(0.1)

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
