"""The matrix's database: a small universe, and hands that work through any fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from connectors.journal import partition_of
from connectors.postgres import Connection, connect
from deltafolio.universe import make_universe

T = TypeVar("T")

PORTFOLIOS = 8
LOTS = 8
UNIVERSE = make_universe(PORTFOLIOS, 8, symbols=LOTS, warmup=24)
DAYS = [date.fromisoformat(day) for day in UNIVERSE.sessions]
LIVE = DAYS[-UNIVERSE.live :]
NEWEST = DAYS[-1]
GUESTS = 1000
"""Portfolios with this id and above come and go."""

PARTITIONS = 4
SENTINEL = "SENTINEL"
SENTINELS = tuple(
    next(p for p in range(900, 1000) if partition_of(p, PARTITIONS) == partition)
    for partition in range(PARTITIONS)
)
"""Portfolios, one of each partition, that hold nothing but a symbol of their own: their
results tell how fresh the system is, and asking mends nothing of what is compared."""

STAYS = f"portfolio_id < {min(SENTINELS)}"
"""SQL: a lot that a check may change."""

PAUSE_S = 0.1
AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # a server that stops or starts
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,  # a column has another type now
)


class Database:
    """A connection that is opened again, and work done again, until it is done.

    Work whose acknowledgement was lost is done twice: it is written so that it may be.

    Attributes
    ----------
    home
        State directory of the application.
    mistakes
        Ids of lots that must have been refused.
    complaints
        What a command said that did not do what it was asked for.
    """

    def __init__(self, dsn: str, home: Path) -> None:
        self.home = home
        self.mistakes: set[int] = set()
        self.complaints: list[str] = []
        self._dsn = dsn
        self._connection: Connection | None = None

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do work with a connection, as often as it takes."""
        while True:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._dsn, "matrix", seconds=2)
                return await work(self._connection)
            except asyncpg.InternalClientError:
                # A connection that was cut in the middle of a message may not know it.
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
            except AWAY:
                await asyncio.sleep(PAUSE_S)

    async def execute(self, statement: str, *args: Any) -> None:
        """Execute one statement in a transaction of its own."""
        await self.do(lambda connection: connection.execute(statement, *args))

    async def together(self, *statements: tuple[Any, ...]) -> None:
        """Execute statements with their arguments in one transaction."""

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                for statement, *args in statements:
                    await connection.execute(statement, *args)

        await self.do(work)

    async def fetch(self, query: str, *args: Any) -> Sequence[asyncpg.Record]:
        found: Sequence[asyncpg.Record] = await self.do(
            lambda connection: connection.fetch(query, *args)
        )
        return found

    async def column(self, query: str, *args: Any) -> list[Any]:
        """Fetch the first column."""
        return [row[0] for row in await self.fetch(query, *args)]
