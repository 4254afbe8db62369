"""Worlds: each a database, topics and processes of its own on one shared stack.

A stack takes seconds to start and a world less than one, so tests share the former and
never the latter.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
from pydantic import SecretStr

from analytics.batch.compare import Comparison
from analytics.calendar import Calendar
from analytics.results import MONEY_FAMILIES
from connectors.calendar import load_calendar
from connectors.check import check_until
from connectors.exchange import exchange_today
from connectors.postgres import apply_schema, connect
from connectors.settings import (
    ConnectSettings,
    KafkaSettings,
    PostgresSettings,
    Settings,
    TopicSettings,
    WorkerSettings,
)
from connectors.stack import StackInfo
from deltafolio.loading import Tables, load
from deltafolio.local_app import LocalApp
from replay.ask import Ask
from replay.feed import survey
from replay.verify import Verify, verify_until

CAPTURE_PASSWORD = "capture-for-tests"  # noqa: S105 - of a server on loopback
CATCH_UP_SECONDS = 60.0
_numbers = itertools.count(1)


def calendar_of(settings: Settings) -> Calendar:
    bounds = settings.calendar
    return load_calendar(bounds.name, bounds.start, bounds.end)


def world_settings(
    info: StackInfo, home: Path, kafka: KafkaSettings | None = None, **worker: Any
) -> Settings:
    """Settings in which every name is this world's own.

    Of families, money alone unless a test asks for more: the oracle of the others
    takes seconds each time it is asked.
    """
    name = f"w{next(_numbers)}"
    parts = urlsplit(info.dsn)
    dsn = urlunsplit(parts._replace(path=f"/{name}"))
    topics = {
        field: f"{name}.{value}"
        for field, value in TopicSettings().model_dump().items()
        if isinstance(value, str)
    }
    return Settings(
        home=home / name,
        postgres=PostgresSettings(
            dsn=SecretStr(dsn),
            capture_password=SecretStr(CAPTURE_PASSWORD),
            slot=name,
        ),
        kafka=kafka or KafkaSettings(bootstrap=info.bootstrap),
        connect=ConnectSettings(url=info.connect_url, connector=name),
        topics=TopicSettings(partitions=4, **topics),
        worker=WorkerSettings(app_id=name, **{"families": MONEY_FAMILIES, **worker}),
    )


class World:
    """A running application and the hands to disturb it.

    Attributes
    ----------
    settings
        Of this world.
    app
        Its processes.
    """

    def __init__(self, settings: Settings, workers: int) -> None:
        self.settings = settings
        self.app = LocalApp(settings, workers)

    @property
    def dsn(self) -> str:
        return self.settings.postgres.dsn.get_secret_value()

    async def load(self, tables: Tables) -> None:
        """Load tables, as a user's own rows would come."""
        connection = await connect(self.dsn, "test")
        try:
            await load(connection, tables)
        finally:
            await connection.close()

    async def execute(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own."""
        connection = await connect(self.dsn, "test")
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        connection = await connect(self.dsn, "test")
        try:
            return list(await connection.fetch(query, *args))
        finally:
            await connection.close()

    async def snapshots(self, portfolio: int, column: str) -> list[Any]:
        """Values of a column of a portfolio's snapshots, by session."""
        rows = await self.fetch(
            f"SELECT {column} AS value FROM analytics.portfolio_snapshots "
            "WHERE portfolio_id = $1 ORDER BY session",
            portfolio,
        )
        return [row["value"] for row in rows]

    async def caught_up(self, limit: float = CATCH_UP_SECONDS) -> None:
        await self.app.wait_caught_up(limit)

    async def check(self, wait: float = CATCH_UP_SECONDS) -> Comparison:
        """Compare with the oracle, for as long as something differs."""
        settings = self.settings
        return await check_until(
            self.dsn,
            settings.postgres.source_schema,
            calendar_of(settings),
            today=exchange_today(settings.calendar.name),
            wait=wait,
            factors=settings.factors,
            families=settings.worker.families,
        )

    async def assert_equal_to_the_oracle(self) -> int:
        """Wait, compare, and give the number of cells compared."""
        found = await self.check()
        logs = "" if found.differ == 0 else self.story()
        assert found.differ == 0, f"{found.differ} differ, first: {found.first}\n{logs}"
        assert found.cells > 0
        return found.cells

    async def assert_equal_to_a_replay(self) -> None:
        """Derive from the journal again; every stored and published bit is the same."""
        calendar = calendar_of(self.settings)
        facts, _ = await survey(self.settings, None)
        days = (date.fromordinal(pick(facts.days)) for pick in (min, max))
        ask = Ask(*days, families=self.settings.worker.families)
        found = await verify_until(
            lambda: Verify(self.settings, calendar, ask), CATCH_UP_SECONDS
        )
        assert found.differ == 0, f"{found.first}\n{self.story()}"
        assert found.cells > 0

    def assert_nobody_died(self) -> None:
        """Processes that a test did not kill must not have ended by themselves."""
        supervisor = self.app.supervisor
        for name in supervisor.names():
            codes = [code for code in supervisor.exit_codes(name) if code > 0]
            assert not codes, f"{name} ended with {codes}\n{self.app.log(name)[-4000:]}"

    def story(self) -> str:
        """Return the ends of the logs, for a test that failed."""
        tails = []
        for path in sorted((self.settings.home / "logs").glob("*.log")):
            tails.append(f"--- {path.name}\n{path.read_text('utf-8')[-2000:]}")
        return "\n".join(tails)


@asynccontextmanager
async def open_world(
    info: StackInfo,
    home: Path,
    workers: int = 1,
    kafka: KafkaSettings | None = None,
    **worker: Any,
) -> AsyncIterator[World]:
    """Make a world, run it, and leave nothing of it but its topics."""
    world = World(world_settings(info, home, kafka, **worker), workers)
    async with opened(info, world):
        yield world
        world.assert_nobody_died()


@asynccontextmanager
async def opened(info: StackInfo, world: World) -> AsyncIterator[None]:
    """Make a world's database and run it for a block; its processes may die in it."""
    name = world.settings.postgres.slot
    await _execute(info, f"CREATE DATABASE {name}")
    await apply_schema(world.settings.postgres)
    try:
        world.app.start()
        yield
    finally:
        world.app.stop()
        async with httpx.AsyncClient(base_url=info.connect_url) as client:
            await client.delete(f"/connectors/{name}")
        await _drop(info, name)


async def _drop(info: StackInfo, name: str) -> None:
    """Drop slot and database; who reads the slot needs a moment to be gone."""
    slot = f"FROM pg_replication_slots WHERE slot_name = '{name}'"
    for attempt in range(100):
        try:
            await _execute(
                info,
                f"SELECT pg_terminate_backend(active_pid) {slot} "
                "AND active_pid IS NOT NULL",
                f"SELECT pg_drop_replication_slot(slot_name) {slot}",
                f"DROP DATABASE {name} WITH (FORCE)",
            )
        except asyncpg.ObjectInUseError:
            if attempt == 99:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def _execute(info: StackInfo, *statements: str) -> None:
    connection = await connect(info.dsn, "test")
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
