"""All rows of the source at one instant, as changes of a journal that has no past.

One REPEATABLE READ transaction and a COPY of each table. A row goes through the decoder
of captured rows, as the row of a snapshot, so that both say the same of it: what a
column is, which rows are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import asyncpg  # type: ignore[import-untyped]

from analytics.calendar import Calendar
from analytics.rows import TABLES
from connectors.debezium import Decoded, decode
from connectors.postgres import Connection, connect
from connectors.reconcile import select_rows
from connectors.settings import PostgresSettings

Take = Callable[[Decoded], None]

_ENVELOPE = b'{"op":"r","source":{"table":"%b","lsn":%d,"ts_us":%d},"after":%b}'
_INSTANT = """
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS lsn,
    (extract(epoch FROM now()) * 1000000)::bigint AS ts
"""


async def read_rows(postgres: PostgresSettings, calendar: Calendar, take: Take) -> int:
    """Read every row that there is.

    Parameters
    ----------
    postgres
        Where; the user must be allowed to read the seven tables.
    calendar
        What dates are held against.
    take
        Given each row, in the order of the tables. Of a deleted row the change is
        that it is absent; of a refused one there may be no change at all.

    Returns
    -------
    int
        When that was, in microseconds since the epoch: the commit time of every row.

    Raises
    ------
    OSError, asyncpg.PostgresError
        When PostgreSQL cannot be reached, or refuses.
    """
    connection = await connect(postgres.dsn.get_secret_value(), "replay")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            at = await connection.fetchrow(_INSTANT)
            for table in TABLES:
                rows = _Rows(table.encode(), at, calendar, take)
                query = select_rows(postgres.source_schema, table)
                await _copy(connection, query, rows)
            return int(at["ts"])
    finally:
        await connection.close()


async def _copy(connection: Connection, query: str, rows: _Rows) -> None:
    """Copy rows as JSON objects, one a line."""
    as_json = f"SELECT row_to_json(t) FROM ({query}) AS t"  # noqa: S608 - our own
    await connection.copy_from_query(as_json, output=rows.feed)
    rows.end()


class _Rows:
    """Takes the lines of a table's COPY apart."""

    def __init__(
        self, table: bytes, at: asyncpg.Record, calendar: Calendar, take: Take
    ) -> None:
        self._head = table, at["lsn"], at["ts"]
        self._calendar = calendar
        self._take = take
        self._rest = b""

    async def feed(self, data: bytes) -> None:
        """Take a part of the stream; it may end anywhere."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for row in _unescaped(lines):
            self._take(decode(_ENVELOPE % (*self._head, row), self._calendar))

    def end(self) -> None:
        """See that nothing is left over."""
        if self._rest:
            message = f"COPY ended within a row: {self._rest[:80]!r}"
            raise OSError(message)


def _unescaped(lines: list[bytes]) -> Iterator[bytes]:
    r"""Undo COPY's escapes: JSON has nothing that it escapes but ``\`` itself."""
    for line in lines:
        yield line.replace(b"\\\\", b"\\") if b"\\" in line else line
