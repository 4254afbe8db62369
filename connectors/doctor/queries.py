"""The doctor's eyes: facts of a database, from its catalogues.

Whoever may connect may read them; no row of the user's is looked at. Nothing is judged
here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from connectors.doctor.facts import (
    Column,
    Facts,
    Publication,
    Published,
    Role,
    Slot,
    Table,
)
from connectors.postgres import CAPTURED, RESULTS_SCHEMA, SINK_ROLE, Connection
from connectors.settings import PostgresSettings


async def read_facts(connection: Connection, postgres: PostgresSettings) -> Facts:
    """Read all facts, in one transaction."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        server = await connection.fetchrow(_SERVER)
        version = int(server["version"])
        return Facts(
            version=version,
            recovering=server["recovering"],
            database=server["database"],
            settings=dict(await connection.fetch(_SETTINGS)),
            slots_used=server["slots"],
            senders_used=server["senders"],
            has_schema=await _has_schema(connection, postgres.source_schema),
            tables=await _tables(connection, postgres.source_schema),
            role=await _role(connection, postgres),
            publication=await _publication(connection, postgres.publication),
            column_lists=await _column_lists(
                connection, version, postgres.source_schema
            ),
            slot=await _slot(connection, postgres.slot),
            sink_role=await _exists(connection, SINK_ROLE),
            user=server["user"],
            is_sink=bool(await connection.fetchval(_IS_SINK, SINK_ROLE)),
            results=await _results(connection),
        )


_SERVER = """
SELECT
    current_setting('server_version_num') AS version,
    pg_is_in_recovery() AS recovering,
    current_database() AS database,
    current_user AS "user",
    (SELECT count(*) FROM pg_replication_slots) AS slots,
    (SELECT count(*) FROM pg_stat_replication) AS senders
"""

_SETTINGS = """
SELECT name, setting FROM pg_settings WHERE name IN (
    'wal_level', 'max_replication_slots', 'max_wal_senders', 'max_slot_wal_keep_size'
)
"""


_IS_SINK = """
SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = $1
"""


async def _exists(connection: Connection, role: str) -> bool:
    found = await connection.fetchval(
        "SELECT true FROM pg_roles WHERE rolname = $1", role
    )
    return bool(found)


async def _has_schema(connection: Connection, schema: str) -> bool:
    found = await connection.fetchval(
        "SELECT true FROM pg_namespace WHERE nspname = $1", schema
    )
    return bool(found)


# --- tables -----------------------------------------------------------------------

_TABLES = """
SELECT c.relname AS name, c.relkind::text AS kind,
    c.relpersistence::text AS persistence, c.relreplident::text AS identity,
    c.relrowsecurity AS row_security,
    ARRAY(
        SELECT p.relid::text FROM pg_partition_tree(c.oid) AS p
        JOIN pg_class AS leaf ON leaf.oid = p.relid
        WHERE p.isleaf AND c.relkind = 'p' AND leaf.relreplident <> 'f'
    ) AS partitions
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = any($2)
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""

# Domains are what they are made of; Debezium sees through them as well.
_COLUMNS = """
WITH RECURSIVE base AS (
    SELECT t.oid, t.oid AS below, -1 AS modifier FROM pg_type AS t
    WHERE t.typtype <> 'd'
    UNION ALL
    SELECT t.oid, base.below,
        CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE base.modifier END
    FROM pg_type AS t JOIN base ON base.oid = t.typbasetype
    WHERE t.typtype = 'd'
)
SELECT c.relname AS table, a.attname AS name,
    CASE WHEN below.typtype = 'e' THEN 'enum' ELSE below.typname END AS type,
    format_type(a.atttypid, a.atttypmod) AS shown,
    CASE WHEN below.typname = 'numeric'
        AND greatest(a.atttypmod, base.modifier) >= 4
        THEN (greatest(a.atttypmod, base.modifier) - 4) & 2047 END AS scale,
    a.attgenerated <> '' AS generated
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN base ON base.oid = a.atttypid
JOIN pg_type AS below ON below.oid = base.below
WHERE n.nspname = $1 AND c.relname = any($2) AND a.attnum > 0 AND NOT a.attisdropped
"""

_UNIQUE = """
SELECT c.relname AS table, ARRAY(
    SELECT a.attname::text FROM unnest(i.indkey[:i.indnkeyatts - 1]) AS k (number)
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
) AS columns
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = any($2)
    AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
"""


async def _tables(connection: Connection, schema: str) -> dict[str, Table]:
    names = list(CAPTURED)
    columns: dict[str, dict[str, Column]] = {}
    for row in await connection.fetch(_COLUMNS, schema, names):
        columns.setdefault(row["table"], {})[row["name"]] = Column(
            row["type"], row["shown"], row["scale"], row["generated"]
        )
    unique: dict[str, list[frozenset[str]]] = {}
    for row in await connection.fetch(_UNIQUE, schema, names):
        unique.setdefault(row["table"], []).append(frozenset(row["columns"]))
    return {
        row["name"]: Table(
            row["kind"],
            row["persistence"],
            row["identity"],
            row["row_security"],
            columns.get(row["name"], {}),
            tuple(unique.get(row["name"], ())),
            tuple(row["partitions"]),
        )
        for row in await connection.fetch(_TABLES, schema, names)
    }


# --- the role ---------------------------------------------------------------------

_ROLE = """
SELECT to_jsonb(r)::text AS attributes,
    ARRAY(
        SELECT g.rolname::text FROM pg_auth_members AS m
        JOIN pg_roles AS g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1
    ) AS member_of,
    has_database_privilege(r.oid, current_database(), 'CONNECT') AS connects,
    coalesce(has_schema_privilege(r.oid, n.oid, 'USAGE'), false) AS uses
FROM pg_roles AS r LEFT JOIN pg_namespace AS n ON n.nspname = $2
WHERE r.rolname = $1
"""

_RIGHTS = """
SELECT n.nspname AS schema, c.relname AS name, c.relowner = r.oid AS owns,
    has_table_privilege(r.oid, c.oid, 'SELECT') AS reads,
    has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS writes
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN pg_roles AS r
WHERE r.rolname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY 1, 2
"""

_CREATES = """
SELECT n.nspname AS place FROM pg_namespace AS n CROSS JOIN pg_roles AS r
WHERE r.rolname = $1 AND n.nspname !~ '^pg_'
    AND has_schema_privilege(r.oid, n.oid, 'CREATE')
UNION ALL
SELECT 'database' FROM pg_roles AS r WHERE r.rolname = $1
    AND has_database_privilege(r.oid, current_database(), 'CREATE')
"""


async def _role(connection: Connection, postgres: PostgresSettings) -> Role | None:
    name, schema = postgres.capture_user, postgres.source_schema
    row = await connection.fetchrow(_ROLE, name, schema)
    if row is None:
        return None
    attributes = json.loads(row["attributes"])
    rights = await connection.fetch(_RIGHTS, name)
    captured = {(schema, table) for table in CAPTURED}
    creates = await connection.fetch(_CREATES, name)
    return Role(
        attributes=frozenset(
            key for key, is_set in attributes.items() if is_set is True
        ),
        member_of=tuple(row["member_of"]),
        connects=row["connects"],
        uses=row["uses"],
        reads=frozenset(
            r["name"] for r in rights if r["reads"] and _place(r) in captured
        ),
        reads_more=_names(
            r for r in rights if r["reads"] and _place(r) not in captured
        ),
        writes=_names(r for r in rights if r["writes"]),
        creates_in=tuple(r["place"] for r in creates),
        owns=_names(r for r in rights if r["owns"]),
    )


def _place(row: Any) -> tuple[str, str]:
    return row["schema"], row["name"]


def _names(rows: Iterable[Any]) -> tuple[str, ...]:
    return tuple(".".join(_place(row)) for row in rows)


# --- publication and slot ---------------------------------------------------------


async def _publication(connection: Connection, name: str) -> Publication | None:
    text = await connection.fetchval(
        "SELECT to_jsonb(p)::text FROM pg_publication AS p WHERE pubname = $1", name
    )
    if text is None:
        return None
    about = json.loads(text)
    rows = await connection.fetch(
        "SELECT to_jsonb(t)::text FROM pg_publication_tables AS t WHERE pubname = $1",
        name,
    )
    tables = {}
    for row in map(json.loads, (row[0] for row in rows)):
        # Filters of columns and rows came with PostgreSQL 15.
        columns = row.get("attnames")
        tables[row["schemaname"], row["tablename"]] = Published(
            None if columns is None else frozenset(columns), row.get("rowfilter")
        )
    verbs = ("insert", "update", "delete", "truncate")
    return Publication(
        about["puballtables"],
        frozenset(verb for verb in verbs if about[f"pub{verb}"]),
        about["pubviaroot"],
        tables,
    )


async def _column_lists(
    connection: Connection, version: int, schema: str
) -> frozenset[tuple[str, str]]:
    """Find (publication, table) where only some columns are published."""
    if version < 150_000:
        return frozenset()
    rows = await connection.fetch(
        "SELECT p.pubname, c.relname FROM pg_publication_rel AS r "
        "JOIN pg_publication AS p ON p.oid = r.prpubid "
        "JOIN pg_class AS c ON c.oid = r.prrelid "
        "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE r.prattrs IS NOT NULL AND n.nspname = $1 AND c.relname = any($2)",
        schema,
        list(CAPTURED),
    )
    return frozenset((row["pubname"], row["relname"]) for row in rows)


_SLOT = """
SELECT to_jsonb(s)::text AS slot, pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
    ELSE pg_current_wal_lsn() END, s.restart_lsn
)::bigint AS retained
FROM pg_replication_slots AS s WHERE s.slot_name = $1
"""


async def _slot(connection: Connection, name: str) -> Slot | None:
    row = await connection.fetchrow(_SLOT, name)
    if row is None:
        return None
    about = json.loads(row["slot"])
    lost = about.get("invalidation_reason")
    if about.get("wal_status") == "lost":
        lost = lost or "its WAL was removed"
    return Slot(
        about["plugin"], about["database"], about["active"], row["retained"], lost
    )


async def _results(connection: Connection) -> dict[str, frozenset[str]]:
    rows = await connection.fetch(
        "SELECT c.relname AS name, array_agg(a.attname::text) AS columns "
        "FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid "
        "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relkind IN ('r', 'v') "
        "AND a.attnum > 0 AND NOT a.attisdropped GROUP BY 1",
        RESULTS_SCHEMA,
    )
    return {row["name"]: frozenset(row["columns"]) for row in rows}
