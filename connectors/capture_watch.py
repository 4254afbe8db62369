"""Capture at work: checks the source, registers the connector, watches over it.

Debezium runs inside Kafka Connect; this process only sees to it that it does.

1. Topics are there, and are what they must be.
2. The source tables can be captured: a fault is an error that says how to mend it.
3. The connector is registered: put there if it is missing or configured otherwise.
4. Every second its state is read. A connector or task that failed is restarted, at
   once the first time, then after pauses that double; a connector that is gone is
   registered again. What happened is written where ``deltafolio status`` finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx
import msgspec

from connectors.capture import connector_config
from connectors.connect_client import ConnectClient
from connectors.doctor import Level, examine
from connectors.health import Pulse, watched
from connectors.postgres import Connection, connect
from connectors.settings import Settings
from connectors.topics import ensure_topics

LOG = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
HEALTHY_SECONDS = 60.0
"""A connector that ran this long is restarted at once when it fails."""

REGISTER_SECONDS = 90.0
"""How long a Connect that starts, or rebalances, may refuse a registration."""


DROP_SECONDS = 15.0


class CaptureError(Exception):
    """The source cannot be captured, or Connect refuses the connector.

    The message has a line for each fault, with what to do about it.
    """


class History(msgspec.Struct):
    """What the watch did, kept in the state directory for ``status``.

    Attributes
    ----------
    restarts
        How often a failed connector or task was restarted.
    last_failure, failed_at
        The first line of its latest trace, and when (seconds of the epoch).
    next_try
        When it is restarted next; None if it runs.
    """

    restarts: int = 0
    last_failure: str | None = None
    failed_at: float | None = None
    next_try: float | None = None


def history_path(settings: Settings) -> Path:
    """File that holds the watch's `History`."""
    return settings.home / "run" / "capture.history.json"


def read_history(settings: Settings) -> History:
    """Read what the watch wrote; an empty one if there is nothing to read."""
    try:
        raw = history_path(settings).read_bytes()
        return msgspec.json.decode(raw, type=History)
    except (OSError, msgspec.MsgspecError):
        return History()


def write_history(settings: Settings, history: History) -> None:
    """Write it in one step."""
    path = history_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(history))
    part.replace(path)


class Backoff:
    """Pauses between restarts: none, then 1 s, doubling up to a minute.

    The time is told to it, so that a test need not wait.

    >>> backoff = Backoff()
    >>> [backoff.failed(now=100.0), backoff.failed(now=101.0), backoff.failed(102.0)]
    [100.0, 102.0, 104.0]
    >>> backoff.failed(now=104.0 + 61.0)  # it ran for a minute: from the start again
    165.0
    """

    def __init__(self) -> None:
        self._pause = 0.0
        self._last = float("-inf")

    def failed(self, now: float) -> float:
        """Note a failure; return the moment of the next restart."""
        if now - self._last > HEALTHY_SECONDS:
            self._pause = 0.0
        due = now + self._pause
        self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
        self._last = due
        return due


# --- registration -------------------------------------------------------------------


async def register(settings: Settings, client: ConnectClient) -> bool:
    """Register the connector unless it is there with this very configuration.

    A needless write would restart it.

    Returns
    -------
    bool
        Whether anything was written.

    Raises
    ------
    CaptureError
        If Connect finds a fault in the configuration (it cannot log in, say), or did
        not take it within `REGISTER_SECONDS`.
    """
    end = time.monotonic() + REGISTER_SECONDS
    while True:
        try:
            return await _register_once(settings, client)
        except httpx.HTTPError as error:  # it rebalances, it starts, it is away
            if time.monotonic() > end:
                message = f"Connect did not take the connector: {_why(error)}"
                raise CaptureError(message) from error
            await asyncio.sleep(POLL_SECONDS)


async def _register_once(settings: Settings, client: ConnectClient) -> bool:
    """Register the connector unless it is there; a failure that may pass is raised."""
    wanted = {"name": client.name, **connector_config(settings)}
    try:
        if await client.config() == wanted:
            return False
        await client.put(wanted)
    except httpx.HTTPStatusError as error:
        if error.response.status_code == 400:
            message = f"Connect refuses the connector: {_why(error)}"
            raise CaptureError(message) from error
        raise
    LOG.info("connector %s registered", client.name)
    return True


def _why(error: httpx.HTTPError) -> str:
    """Say what Connect says, or what became of the request."""
    why = str(error) or type(error).__name__
    if isinstance(error, httpx.HTTPStatusError):
        with contextlib.suppress(ValueError, AttributeError):
            why = error.response.json().get("message", why)
    return why


async def remove(settings: Settings) -> None:
    """Remove the connector and drop its slot, which would hold back WAL for ever.

    Raises
    ------
    httpx.HTTPError, OSError, asyncpg.PostgresError
        If Connect or PostgreSQL cannot be reached or refuses.
    """
    async with ConnectClient(settings) as client:
        await client.delete()
    connection = await connect(settings.postgres.dsn.get_secret_value(), "capture")
    try:
        await _drop_slot(connection, settings.postgres.slot)
    finally:
        await connection.close()


async def _drop_slot(connection: Connection, slot: str) -> None:
    """Drop a slot; who still reads it (the connector ends slowly) is ended."""
    end = time.monotonic() + DROP_SECONDS
    while True:
        await connection.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
            "WHERE slot_name = $1 AND active_pid IS NOT NULL",
            slot,
        )
        try:
            await connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) "
                "FROM pg_replication_slots WHERE slot_name = $1",
                slot,
            )
        except asyncpg.ObjectInUseError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)
        else:
            return


# --- watching ---------------------------------------------------------------------


class Watch:
    """Looks at the connector and restarts what has failed.

    Parameters
    ----------
    settings
        Names, and where to write the history.
    client
        Connect.
    """

    def __init__(self, settings: Settings, client: ConnectClient) -> None:
        self._settings = settings
        self._client = client
        self._backoff = Backoff()
        self._away = False
        self.history = History()

    @property
    def trouble(self) -> str:
        """Why rows are not captured, as far as was seen."""
        if self._away:
            return "Connect does not answer"
        history = self.history
        return (history.last_failure or "") if history.next_try is not None else ""

    async def look(self, now: float) -> None:
        """Look once, at a moment in seconds of the epoch; do what is due."""
        try:
            status = await self._client.status()
            if status is None:
                # Also for a moment after it was registered. Once: the next look is
                # in a second, and who does not look for long stands still.
                await _register_once(self._settings, self._client)
            else:
                await self._act(failures(status), now)
        except httpx.HTTPError as error:
            # Connect restarts, or its members sort out who runs what: not our fault,
            # and nothing that could be done about it from here.
            if not self._away:
                LOG.warning("Connect does not answer: %s", repr(error))
            self._away = True
        else:
            self._away = False

    async def _act(self, failed: list[str], now: float) -> None:
        history = self.history
        if not failed:
            if history.next_try is not None:
                history.next_try = None
                self._write()
            return
        if history.next_try is None:
            history.next_try = self._backoff.failed(now)
            history.last_failure, history.failed_at = failed[0], now
            LOG.error("capture failed: %s", failed[0])
            self._write()
        if now >= history.next_try:
            history.restarts += 1
            history.next_try = None
            self._write()
            LOG.warning("restarting capture, for the %d. time", history.restarts)
            await self._client.restart_failed()

    def _write(self) -> None:
        write_history(self._settings, self.history)


def failures(status: dict[str, Any]) -> list[str]:
    """List why a connector and its tasks failed; empty if none did.

    >>> task = {"id": 0, "state": "FAILED", "trace": "a.b.Error: no"}
    >>> failures({"connector": {"state": "RUNNING"}, "tasks": [task]})
    ['a.b.Error: no']
    """
    parts = [status.get("connector", {}), *status.get("tasks", [])]
    return [
        cause_of(part.get("trace") or "no trace")
        for part in parts
        if part.get("state") == "FAILED"
    ]


def cause_of(trace: str) -> str:
    """Say what a Java trace comes down to: the innermost cause, in one line."""
    lines = trace.strip().splitlines() or [""]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return (causes[-1] if causes else lines[0]).removeprefix("Caused by: ").strip()


async def check_source(settings: Settings) -> None:
    """Check that what is to be captured can be: what the doctor calls an error is one.

    Without REPLICA IDENTITY FULL, for one, a deleted lot would be keyed as one of
    portfolio 0.

    Raises
    ------
    CaptureError
        With a line for each fault, and the SQL that mends it.
    """
    report = await examine(settings.postgres)
    faults = [
        f"{found.subject}: {found.message}" + (f"\n  {found.sql}" if found.sql else "")
        for found in report.findings
        if found.level is Level.ERROR
    ]
    if faults:
        raise CaptureError("\n".join([*faults, "`deltafolio doctor` says more"]))


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Run capture until `stop` is set; the connector runs on.

    Raises
    ------
    CaptureError
        If the source cannot be captured as it is, or Connect refuses.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a second
    pulse = Pulse()
    await watched(settings.home, "capture", [pulse], keep(settings, pulse, stop))


async def keep(settings: Settings, pulse: Pulse, stop: asyncio.Event) -> None:
    """Do the four steps of the module's text."""
    await ensure_topics(settings)  # 1
    await check_source(settings)  # 2
    async with ConnectClient(settings) as client:
        watching = asyncio.create_task(_watch(settings, client, pulse))
        stopped = asyncio.create_task(stop.wait())
        try:
            # Also a request that nobody answers is given up when we are to stop.
            await asyncio.wait({watching, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            stopped.cancel()
            await asyncio.wait({watching, stopped})


async def _watch(settings: Settings, client: ConnectClient, pulse: Pulse) -> None:
    """Register, and look every second, until cancelled."""
    with pulse.waiting():
        await register(settings, client)  # 3
    watch = Watch(settings, client)
    while True:  # 4
        await watch.look(time.time())
        pulse.beat(watch.trouble)
        await asyncio.sleep(POLL_SECONDS)
