"""What capture does at this moment: the connector, and the slot that feeds it."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg  # type: ignore[import-untyped]
import httpx

from connectors.capture_watch import (
    History,
    failures,
    read_history,
)
from connectors.connect_client import ConnectClient
from connectors.postgres import connect
from connectors.settings import Settings

LAG_WARNING = 1_000_000_000
"""Bytes of WAL held back from which on `status` warns."""

_SLOT = """
SELECT active, wal_status,
    pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint AS lag,
    pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS kept
FROM pg_replication_slots WHERE slot_name = $1
"""


@dataclass(frozen=True, slots=True)
class Connector:
    """State of the connector and of its task, in Connect's words.

    Attributes
    ----------
    connector, task
        ``RUNNING``, ``FAILED``, ``PAUSED``, ...; ``MISSING`` where there is none.
    failures
        Why what failed did, in a line each.
    """

    connector: str
    task: str
    failures: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether it captures."""
        return self.connector == self.task == "RUNNING"


@dataclass(frozen=True, slots=True)
class Slot:
    """The replication slot.

    Attributes
    ----------
    active
        Whether somebody reads it.
    wal_status
        ``reserved``, ``extended``, ``unreserved`` or ``lost``, as PostgreSQL says.
    lag
        Bytes of WAL not yet confirmed: what capture is behind.
    kept
        Bytes of WAL that PostgreSQL keeps because of it.
    """

    active: bool
    wal_status: str
    lag: int
    kept: int

    @property
    def is_well(self) -> bool:
        """Whether it is read and has lost nothing."""
        return self.active and self.wal_status != "lost"


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """Connector and slot, each as found or why it could not be asked for."""

    connector: Connector | str
    slot: Slot | str
    history: History

    @property
    def is_well(self) -> bool:
        """Whether rows are captured."""
        return all(
            not isinstance(part, str) and part.is_well
            for part in (self.connector, self.slot)
        )


async def capture_status(settings: Settings) -> CaptureStatus:
    """Look at connector and slot. Nothing that is away raises: it is said."""
    return CaptureStatus(
        connector=await _connector(settings),
        slot=await _slot(settings),
        history=read_history(settings),
    )


async def _connector(settings: Settings) -> Connector | str:
    try:
        async with ConnectClient(settings) as client:
            found = await client.status()
    except httpx.HTTPError as error:
        return f"Connect does not answer at {settings.connect.url}: {error!r}"
    if found is None:
        return Connector("MISSING", "MISSING")
    tasks = [str(task["state"]) for task in found["tasks"]]
    return Connector(
        connector=found["connector"]["state"],
        task=tasks[0] if tasks else "MISSING",
        failures=tuple(failures(found)),
    )


async def _slot(settings: Settings) -> Slot | str:
    try:
        dsn = settings.postgres.dsn.get_secret_value()
        connection = await connect(dsn, "status")
        try:
            row = await connection.fetchrow(_SLOT, settings.postgres.slot)
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        return f"PostgreSQL does not answer: {error or repr(error)}"
    if row is None:
        return f"no replication slot {settings.postgres.slot}: capture never ran"
    return Slot(
        active=row["active"],
        wal_status=row["wal_status"],
        # A slot that lost its place has none.
        lag=row["lag"] or 0,
        kept=row["kept"] or 0,
    )
