"""Whether a database can be captured, and the SQL that makes it so."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.capture import KEY_COLUMNS
from connectors.postgres import Connection, publication_sql, quote
from connectors.settings import PostgresSettings

_TABLES = """
SELECT c.relname AS name, c.relreplident::text AS identity
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p')
    AND c.relname = any($2)
"""

_PUBLISHED = """
SELECT tablename FROM pg_publication_tables
WHERE pubname = $1 AND schemaname = $2
"""


async def source_faults(
    connection: Connection, postgres: PostgresSettings
) -> list[str]:
    """Say what keeps the source tables from being captured faithfully.

    Parameters
    ----------
    connection
        To the database, as any role that may read the catalogue.
    postgres
        Names of schema, publication and role.

    Returns
    -------
    list
        A line for each fault: what was expected, what was found, what mends it.
        Empty if there is none.
    """
    faults = []
    level = await connection.fetchval("SHOW wal_level")
    if level != "logical":
        faults.append(
            f"wal_level is {level}, expected logical: "
            "ALTER SYSTEM SET wal_level = 'logical'; and restart PostgreSQL"
        )
    schema = postgres.source_schema
    rows = await connection.fetch(_TABLES, quote(schema), list(KEY_COLUMNS))
    identities = {row["name"]: row["identity"] for row in rows}
    faults += _table_faults(identities, schema)
    published = await connection.fetch(_PUBLISHED, postgres.publication, schema)
    missing = set(identities) - {row["tablename"] for row in published}
    if missing:
        faults.append(await _publication_fault(connection, postgres, missing))
    return faults + await _role_faults(connection, postgres)


def _table_faults(identities: dict[str, str], schema: str) -> Iterator[str]:
    for table in KEY_COLUMNS:
        name = f"{quote(schema)}.{quote(table)}"
        if table not in identities:
            yield f"table {name} is missing: deltafolio up makes it"
        elif identities[table] != "f":
            # The key of a deleted row would be 0, and belong to portfolio 0.
            yield (
                f"table {name} has not REPLICA IDENTITY FULL: "
                f"ALTER TABLE {name} REPLICA IDENTITY FULL;"
            )


async def _publication_fault(
    connection: Connection, postgres: PostgresSettings, missing: set[str]
) -> str:
    exists = await connection.fetchval(
        "SELECT true FROM pg_publication WHERE pubname = $1", postgres.publication
    )
    return (
        f"publication {postgres.publication} lacks {', '.join(sorted(missing))}: "
        f"{publication_sql(postgres, exists=bool(exists))};"
    )


async def _role_faults(connection: Connection, postgres: PostgresSettings) -> list[str]:
    role = postgres.capture_user
    row = await connection.fetchrow(
        "SELECT rolcanlogin, rolreplication OR rolsuper AS may FROM pg_roles "
        "WHERE rolname = $1",
        role,
    )
    if row is None:
        return [f"role {role} is missing: CREATE ROLE {quote(role)} LOGIN REPLICATION;"]
    if not (row["rolcanlogin"] and row["may"]):
        return [
            f"role {role} may not log in and replicate: "
            f"ALTER ROLE {quote(role)} LOGIN REPLICATION;"
        ]
    return []
