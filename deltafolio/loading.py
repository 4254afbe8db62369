"""Rows into the source tables, by COPY: the fastest way in."""

from __future__ import annotations

from collections.abc import AsyncIterator

from connectors.postgres import Connection, quote
from sample import Tables

CHUNK = 1 << 20
"""Bytes handed to the server at a time."""


async def load(connection: Connection, tables: Tables, schema: str = "public") -> int:
    """Copy rows into the source tables, in one transaction.

    Rows may bring ids of their own: the sequences that give ids go on behind the
    highest of them.

    Returns
    -------
    int
        Number of rows.
    """
    rows = 0
    async with connection.transaction():
        for table, (columns, data) in tables.items():
            status = await connection.copy_to_table(
                table,
                schema_name=schema,
                columns=columns,
                source=_chunks(data),
                format="csv",
            )
            rows += int(status.split()[-1])
            if "id" in columns:
                await _advance(connection, schema, table)
    return rows


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


async def _advance(connection: Connection, schema: str, table: str) -> None:
    """Let the identity column go on behind the ids that were brought along."""
    qualified = f"{quote(schema)}.{quote(table)}"
    await connection.execute(
        f"SELECT setval(pg_get_serial_sequence('{qualified}', 'id'), "  # noqa: S608
        f"(SELECT max(id) FROM {qualified}))"
    )
