"""The sink in PostgreSQL: COPY into a staging table, merge what is newer.

One transaction, with the numbers of ``docs/delivery.md``:

* S4 COPY the records into a temporary table;
* S5 merge them where the revision is newer and no newer retraction is remembered
  (while the family had nothing at all, S4 copies into the table itself instead);
* S6 delete what newer retractions name, and remember these;
* S7 note refused records;
* S8 store the offsets; commit.

A crash before the commit leaves nothing, one after it everything. Commits are
asynchronous: a crash *of the server* may take back the last ones, whole, with their
offsets, and they are read again.
"""

from __future__ import annotations

import asyncio
import io
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TypeAlias

import asyncpg  # type: ignore[import-untyped]

from connectors.postgres import (
    RESULTS_SCHEMA,
    SINK_ROLE,
    AddressError,
    Connection,
    connect,
    quote,
)
from connectors.sink import (
    Family,
    RefusedError,
    ResultRecord,
    SinkSetupError,
    SinkUnavailableError,
    Written,
)
from connectors.sink_records import (
    COPY_FORMAT,
    Cell,
    Reader,
    RowWriter,
    storable_revision_of,
)
from connectors.sink_sql import Statements
from connectors.steps import Step, crash

log = logging.getLogger(__name__)

GUARD_CLASS = 0x5349
"""First half of the advisory lock of a family's only writer."""

GUARD_POLL_SECONDS = 0.25

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,  # the connection is closed
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, or starting
    asyncpg.InsufficientResourcesError,  # full: of connections, memory, disk
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InternalClientError,
)

_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""Of values that a column cannot hold."""

Pair: TypeAlias = tuple[Cell, ResultRecord]


@contextmanager
def border() -> Iterator[None]:
    """Turn foreign errors into the sink's."""
    try:
        yield
    except AddressError as error:
        message = f"the connection string cannot be used: {error}"
        raise SinkSetupError(message) from error
    except _UNAVAILABLE as error:
        message = f"PostgreSQL is out of reach: {error or type(error).__name__}"
        raise SinkUnavailableError(message) from error
    except asyncpg.InsufficientPrivilegeError as error:
        message = f"the sink may not do its work ({error}): apply the schema again"
        raise SinkSetupError(message) from error
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        message = f"schema {RESULTS_SCHEMA} is not as expected ({error}): apply it"
        raise SinkSetupError(message) from error
    except asyncpg.PostgresError as error:
        message = f"PostgreSQL refuses: {error}"
        raise SinkSetupError(message) from error


async def become_sink(connection: Connection) -> None:
    """Take the role that owns the results, if there is one and we may."""
    with suppress(
        asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError
    ):
        await connection.execute(f"SET ROLE {quote(SINK_ROLE)}")


class PostgresSink:
    """Results of one family in schema ``analytics``.

    Parameters
    ----------
    dsn
        Database; if the user is a member of role ``deltafolio_sink``, it is taken.
    family
        What is written.
    topic
        Where it comes from; offsets are kept under this name.
    alive
        Called now and then by what may take long and is no standing still: waiting
        for another sink to let go, taking a batch apart.
    """

    def __init__(
        self,
        dsn: str,
        family: Family,
        topic: str,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._dsn = dsn
        self._topic = topic
        self._alive = alive
        self._family = family
        self._reader = Reader(family)
        self._writer = RowWriter(family)
        self._sql = Statements(family, self._writer.columns)
        self._connection: Connection | None = None
        # Whether nothing is there that a row could meet: then COPY needs no merge.
        self._is_first = False

    # --- the three verbs ---

    async def open(self) -> dict[int, int]:
        """Connect, become the only writer, and say where to read on."""
        with border():
            self._connection = await connect(self._dsn, f"sink {self._family.name}")
            try:
                return await self._prepare(self._connection)
            except BaseException:
                await self.close()
                raise

    async def write(
        self, records: Sequence[ResultRecord], offsets: Mapping[int, int]
    ) -> Written:
        """Write records and offsets in one transaction."""
        if self._connection is None:
            message = "the sink is not open"
            raise SinkUnavailableError(message)
        cells, refused = self._read(records)
        with border():
            try:
                return await self._transaction(
                    self._connection, cells, refused, offsets
                )
            except _REFUSED:
                upserts = [pair for pair in cells if pair[0].content is not None]
                refused += await self._culprits(self._connection, upserts)
                out = {id(record) for record, _ in refused}
                cells = [pair for pair in cells if id(pair[1]) not in out]
                return await self._transaction(
                    self._connection, cells, refused, offsets
                )

    async def close(self) -> None:
        """End the connection, and with it the guard."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # What is under way is given up: the server rolls it back.
            connection.terminate()

    # --- opening ---

    async def _prepare(self, connection: Connection) -> dict[int, int]:
        await become_sink(connection)
        await connection.execute("SET synchronous_commit TO off")
        # Of an older schema it is said now, and not when something is refused.
        await connection.execute(self._sql.look)
        await self._acquire_guard(connection)
        await connection.execute(self._sql.stage)
        self._is_first = not await connection.fetchval(self._sql.is_known)
        rows = await connection.fetch(self._sql.read_offsets, self._topic)
        return {row["partition"]: row["next_offset"] for row in rows}

    async def _acquire_guard(self, connection: Connection) -> None:
        """Wait to be the only one; the server lets go of it when the holder ends.

        By trying: a statement that waits would hold back the vacuum of all tables.
        """
        number = zlib.crc32(self._family.name.encode()) & 0x7FFFFFFF
        told = False
        while not await connection.fetchval(
            "SELECT pg_try_advisory_lock($1, $2)", GUARD_CLASS, number
        ):
            if not told:
                log.warning("%s: another sink is writing; waiting", self._family.name)
                told = True
            self._alive()
            await asyncio.sleep(GUARD_POLL_SECONDS)

    # --- writing ---

    def _read(
        self, records: Sequence[ResultRecord]
    ) -> tuple[list[Pair], list[tuple[ResultRecord, str]]]:
        cells, refused = [], []
        for record in records:
            try:
                cells.append((self._reader.read(record), record))
            except RefusedError as error:
                refused.append((record, str(error)))
        return cells, refused

    async def _transaction(
        self,
        connection: Connection,
        cells: list[Pair],
        refused: list[tuple[ResultRecord, str]],
        offsets: Mapping[int, int],
    ) -> Written:
        upserts = [cell for cell, _ in cells if cell.content is not None]
        retractions = [cell for cell, _ in cells if cell.content is None]
        written = Written()
        async with connection.transaction():
            if upserts:
                written += await self._copy(connection, upserts)  # S4, S5
            if retractions:
                written += await self._retract(connection, retractions)  # S6
                crash.done(Step.S6)
            if refused:
                await self._refuse(connection, refused)  # S7
                crash.done(Step.S7)
                written += Written(refused=len(refused))
            await connection.executemany(  # S8
                self._sql.offsets,
                [(self._topic, partition, at) for partition, at in offsets.items()],
            )
        crash.done(Step.S8)
        return written

    async def _culprits(
        self, connection: Connection, pairs: list[Pair]
    ) -> list[tuple[ResultRecord, str]]:
        """Find which of some records PostgreSQL refuses as values, and why.

        They are halved until the culprit stands alone: some milliseconds for each.
        """
        if not pairs:
            return []
        reason = await self._trial(connection, [cell for cell, _ in pairs])
        self._alive()
        if reason is None:
            return []
        if len(pairs) == 1:
            return [(pairs[0][1], reason)]
        middle = len(pairs) // 2
        first = await self._culprits(connection, pairs[:middle])
        return first + await self._culprits(connection, pairs[middle:])

    async def _trial(self, connection: Connection, cells: list[Cell]) -> str | None:
        """Merge cells and take it back; why PostgreSQL refuses one of them, if so.

        In a transaction of its own, whose end empties the staging table: what a COPY
        left there that failed would be looked through by every later merge.
        """
        async with connection.transaction():
            attempt = connection.transaction()
            await attempt.start()
            try:
                await self._copy(connection, cells)
            except _REFUSED as error:
                return str(error)
            finally:
                await attempt.rollback()
        return None

    async def _copy(self, connection: Connection, cells: list[Cell]) -> Written:
        rows = b"".join(map(self._writer.row, cells))
        if self._is_first and await self._copy_first(connection, rows):
            crash.done(Step.S4)
            crash.done(Step.S5)
            return Written(stored=len(cells))
        await self._copy_rows(connection, self._sql.staged, rows)
        crash.done(Step.S4)
        stored = _count(await connection.execute(self._sql.merge))
        await connection.execute(self._sql.forget_retractions)
        crash.done(Step.S5)
        return Written(stored=stored, stale=len(cells) - stored)

    async def _copy_first(self, connection: Connection, rows: bytes) -> bool:
        """Copy rows into a table in which none of them is; whether that was so.

        A row costs half of what it costs to stage and merge it. The first one that is
        there already ends it: from then on there is something to compare with.
        """
        try:
            async with connection.transaction():
                await self._copy_rows(connection, self._family.table, rows)
        except asyncpg.UniqueViolationError:
            self._is_first = False
        return self._is_first

    async def _copy_rows(self, connection: Connection, table: str, rows: bytes) -> None:
        await connection.copy_to_table(
            table,
            schema_name=None if table == self._sql.staged else RESULTS_SCHEMA,
            source=io.BytesIO(rows),
            columns=self._writer.columns,
            **COPY_FORMAT,
        )

    async def _retract(self, connection: Connection, cells: list[Cell]) -> Written:
        self._is_first = False
        rows = ((cell.owner, cell.session, *cell.revision) for cell in cells)
        columns = list(zip(*rows, strict=True))
        await connection.execute(self._sql.delete, *columns)
        kept = _count(await connection.execute(self._sql.retract, *columns))
        return Written(retracted=kept, stale=len(cells) - kept)

    async def _refuse(
        self, connection: Connection, refused: list[tuple[ResultRecord, str]]
    ) -> None:
        for record, reason in refused:
            where = f"{self._topic}/{record.partition}@{record.offset}"
            log.error("%s is no result and is left out: %s", where, reason)
        await connection.executemany(
            self._sql.refuse,
            [
                (
                    *(self._topic, record.partition, record.offset, record.key),
                    *(reason, *(storable_revision_of(record) or (None, None, None))),
                )
                for record, reason in refused
            ],
        )


def _count(tag: str) -> int:
    """Rows of a command tag such as ``INSERT 0 12``."""
    return int(tag.rpartition(" ")[2])
