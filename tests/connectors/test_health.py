"""A process that stands still is not live, says so, and ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from connectors import health
from connectors.health import Health, Pulse, StalledError, measure, watched


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is a second and a half."""
    monkeypatch.setattr(health, "STALL_S", 1.5)
    monkeypatch.setattr(health, "TICK_S", 0.02)


def test_one_pulse_that_stays_away_makes_a_process_unhealthy(clock):
    told, first, second = Health(), Pulse(clock), Pulse(clock)
    measure(told, [first, second])
    assert (told.live, told.ready, told.reason) == (True, True, "")
    clock.now = 59.0
    second.beat()
    measure(told, [first, second])
    assert (told.live, told.idle_s) == (True, 59.0)
    clock.now = 60.0
    measure(told, [first, second])
    assert (told.live, told.ready) == (False, False)
    assert told.reason == "nothing was done for 60 s"
    first.beat()
    measure(told, [first, second])
    assert (told.live, told.ready) == (True, True)


def test_trouble_is_told_and_is_no_standing_still(clock):
    told, pulse = Health(), Pulse(clock)
    pulse.beat("out of reach")
    measure(told, [pulse])
    assert (told.live, told.ready, told.reason) == (True, False, "out of reach")
    pulse.beat()
    measure(told, [pulse])
    assert told.ready


def test_who_waits_does_not_stand_still(clock):
    told, pulse = Health(), Pulse(clock)
    with pulse.waiting():
        clock.now = 1e6
        measure(told, [pulse])
        assert told.live
    measure(told, [pulse])
    assert told.live
    clock.now += 60
    measure(told, [pulse])
    assert not told.live


async def ask(home: Path, path: str) -> httpx.Response:
    (file,) = (home / "run").glob("intake-*.json")
    port = json.loads(file.read_text())["port"]
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{port}{path}")


@pytest.mark.usefixtures("hasty")
async def test_a_process_is_watched_until_its_work_is_done(tmp_path):
    pulse, done = Pulse(), asyncio.Event()

    async def work() -> None:
        while not done.is_set():
            pulse.beat("away")
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watched(tmp_path, "intake", [pulse], work()))
    await asyncio.sleep(1.8)
    assert (await ask(tmp_path, "/health/live")).status_code == 200
    ready = await ask(tmp_path, "/health/ready")
    assert (ready.status_code, ready.json()["reason"]) == (503, "away")
    done.set()
    await watching
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.usefixtures("hasty")
async def test_a_process_that_stands_still_ends_with_the_reason(tmp_path):
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(StalledError, match="nothing was done for"):
        await asyncio.wait_for(watched(tmp_path, "intake", [Pulse()], hang()), 10)
    assert cancelled.is_set()


async def test_what_the_work_raises_is_raised(tmp_path):
    async def fail() -> None:
        message = "no"
        raise OSError(message)

    with pytest.raises(OSError, match="no"):
        await watched(tmp_path, "intake", [Pulse()], fail())
