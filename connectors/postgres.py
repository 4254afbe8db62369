"""PostgreSQL: connections, and the schema with its roles and publication.

``apply_schema`` may be run at any time: what is there already stays. Three parties,
each with the least that works:

* who applies it owns the source tables and the publication (an administrator);
* the capture role logs in, replicates and reads the captured tables, nothing else;
* the role ``deltafolio_sink`` owns schema ``analytics`` and has no right on any other.
  It cannot log in: the sink connects as configured and becomes it (``SET ROLE``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import asyncpg  # type: ignore[import-untyped]

from connectors import schema
from connectors.capture import KEY_COLUMNS
from connectors.settings import PostgresSettings

Connection: TypeAlias = asyncpg.Connection

SINK_ROLE = "deltafolio_sink"
RESULTS_SCHEMA = "analytics"
CAPTURED = tuple(KEY_COLUMNS)
"""Captured tables, unqualified."""

VIEW_COLUMNS = frozenset(
    {
        "id",
        "portfolio_id",
        "symbol",
        "position_type",
        "investment_class",
        "quantity",
        "entry_price",
        "entry_date",
        "exit_price",
        "exit_date",
        "deleted_at",
    }
)
"""What ``analytics.positions_valued`` needs of the source's ``positions``."""

FILE_OPTIONS = ("sslrootcert", "sslcert", "sslkey")

SCHEMA_LOCK = 0x64656C74
"""Advisory lock of who applies the schema."""

_ITERATIONS = 4096


class AddressError(OSError):
    """The connection string cannot be used: trying again is of no use."""


class SchemaError(Exception):
    """The schema cannot be applied as configured; the message says what to change."""


async def connect(dsn: str, application: str, *, seconds: float = 10.0) -> Connection:
    """Open a connection that tells the server who it is.

    Raises
    ------
    AddressError
        When ``dsn`` cannot be used, or a file that it names is not there.
    OSError, TimeoutError
        When the server cannot be reached within ``seconds``, or its certificate is
        not trusted.
    asyncpg.PostgresError
        When it refuses.
    """
    try:
        return await asyncpg.connect(
            dsn,
            timeout=seconds,
            server_settings={
                "application_name": f"deltafolio {application}",
                "timezone": "UTC",
            },
        )
    except asyncpg.ClientConfigurationError as error:
        raise AddressError(str(error)) from error
    except FileNotFoundError as error:
        # It does not say which; that of a server's socket comes back with the server.
        missing = missing_files(dsn)
        if not missing:
            raise
        message = f"no file {' or '.join(missing)}"
        raise AddressError(message) from error


def missing_files(dsn: str) -> list[str]:
    """Files of certificates and keys that a connection string names in vain.

    >>> missing_files("postgresql://me@db/x?sslmode=verify-full&sslrootcert=/no/ca")
    ['/no/ca']
    """
    options = dict(parse_qsl(urlsplit(dsn).query))
    paths = [options[name] for name in FILE_OPTIONS if name in options]
    return [path for path in paths if not Path(path).exists()]


async def apply_schema(postgres: PostgresSettings) -> None:
    """Make the source tables, the roles, the publication and schema ``analytics``.

    Idempotent, in one transaction; data are never touched. Needs the right to create
    schemas, roles and publications: a superuser, or the owner of the database with
    CREATEROLE and REPLICATION.

    Raises
    ------
    SchemaError
        When the capture role's password cannot be used.
    asyncpg.PostgresError
        When the server refuses a statement.
    """
    connection = await connect(postgres.dsn.get_secret_value(), "schema")
    try:
        async with connection.transaction():
            # IF NOT EXISTS does not wait for who is just creating the same.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
            await apply_source(connection, postgres)
            await apply_results(connection, postgres)
    finally:
        await connection.close()


async def apply_source(connection: Connection, postgres: PostgresSettings) -> None:
    """Make the source tables, the capture role and the publication."""
    await _enter_schema(connection, postgres.source_schema)
    await connection.execute(schema.read("source.sql"))
    await _apply_capture_role(connection, postgres)
    await _apply_publication(connection, postgres)


async def apply_results(connection: Connection, postgres: PostgresSettings) -> None:
    """Make schema ``analytics``, owned by the sink's role.

    The view over the source's positions is left out where they lack a column it
    shows; everything else works without it.
    """
    await connection.execute(results_sql())
    if await _has_view_columns(connection, postgres.source_schema):
        await connection.execute(view_sql(postgres.source_schema))


def results_sql() -> str:
    """Statements that make the sink's role and the schema of the results."""
    role = _create_role_sql(SINK_ROLE, "NOLOGIN NOINHERIT")
    tables = schema.read("analytics.sql") + "\n" + schema.read("risk.sql")
    return f"{role};\n\n{tables}\n{_OWN_RESULTS}"


def view_sql(source_schema: str) -> str:
    """Statements that make the view over the source's positions."""
    return (
        f"SET search_path TO {quote(source_schema)};\n"
        f"{schema.read('positions_valued.sql')}\nRESET search_path;\n"
    )


async def _enter_schema(connection: Connection, name: str) -> None:
    quoted = quote(name)
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
    await connection.execute(f"SET LOCAL search_path TO {quoted}")


async def _has_view_columns(connection: Connection, source_schema: str) -> bool:
    rows = await connection.fetch(
        "SELECT column_name FROM information_schema.columns "
        "WHERE table_schema = $1 AND table_name = 'positions'",
        source_schema,
    )
    return {row["column_name"] for row in rows} >= VIEW_COLUMNS


# --- roles ------------------------------------------------------------------------

_OWN_RESULTS = f"""
DO $$
DECLARE
    relation record;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        BEGIN
            -- To have made a role does not mean to be allowed to act as it.
            EXECUTE format('GRANT {SINK_ROLE} TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END;
    END IF;
    ALTER SCHEMA {RESULTS_SCHEMA} OWNER TO {SINK_ROLE};
    ALTER FUNCTION {RESULTS_SCHEMA}.linked_return(bigint, date, date)
        OWNER TO {SINK_ROLE};
    -- The view over the source stays with us: its owner must read positions.
    FOR relation IN
        SELECT c.oid::regclass AS name, c.relkind
        FROM pg_class AS c
        WHERE c.relnamespace = '{RESULTS_SCHEMA}'::regnamespace
            AND c.relkind IN ('r', 'v')
            AND c.relname <> 'positions_valued'
            AND c.relowner <> '{SINK_ROLE}'::regrole
    LOOP
        EXECUTE format(
            'ALTER %s %s OWNER TO {SINK_ROLE}',
            CASE relation.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
            relation.name
        );
    END LOOP;
END
$$;
"""  # noqa: S608 - names of our own


def _create_role_sql(name: str, attributes: str) -> str:
    """Create a role unless it is there, or somebody creates it at this moment.

    Roles belong to the cluster, and so do not wait for our transaction's locks.
    """
    return (
        f"DO $$ BEGIN "
        f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(name)}) THEN "
        f"CREATE ROLE {quote(name)} {attributes}; END IF; "
        f"EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )


async def _apply_capture_role(
    connection: Connection, postgres: PostgresSettings
) -> None:
    await connection.execute(
        _create_role_sql(postgres.capture_user, "LOGIN REPLICATION NOINHERIT")
    )
    await set_password(connection, postgres)
    for statement in capture_grants(postgres):
        await connection.execute(statement)


def capture_grants(postgres: PostgresSettings) -> list[str]:
    """Statements that give the capture role what it needs to read."""
    role, source = quote(postgres.capture_user), quote(postgres.source_schema)
    tables = ", ".join(f"{source}.{quote(table)}" for table in CAPTURED)
    return [
        f"GRANT USAGE ON SCHEMA {source} TO {role}",
        f"GRANT SELECT ON {tables} TO {role}",
    ]


async def set_password(connection: Connection, postgres: PostgresSettings) -> None:
    """Set the capture role's password if it has another one."""
    password = postgres.capture_password.get_secret_value()
    if not password:
        return
    stored = await _stored_verifier(connection, postgres.capture_user)
    if stored is not None and verifies(password, stored):
        return
    verifier = scram_verifier(password)
    # The verifier, not the password: statements are what servers write to their logs.
    await connection.execute(
        f"ALTER ROLE {quote(postgres.capture_user)} PASSWORD {literal(verifier)}"
    )


async def _stored_verifier(connection: Connection, role: str) -> str | None:
    """Read a role's password as stored; None if it has none or we may not see it."""
    if not await connection.fetchval(
        "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')"
    ):
        return None
    stored: str | None = await connection.fetchval(
        "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role
    )
    return stored


# --- publication ------------------------------------------------------------------


async def _apply_publication(
    connection: Connection, postgres: PostgresSettings
) -> None:
    """Publish the captured tables, all columns of them, and nothing else.

    A list of columns is not possible: with REPLICA IDENTITY FULL, PostgreSQL refuses
    updates of a table that is published by some of its columns.
    """
    published = await connection.fetch(
        "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = $1",
        postgres.publication,
    )
    exists = await connection.fetchval(
        "SELECT true FROM pg_publication WHERE pubname = $1", postgres.publication
    )
    wanted = {(postgres.source_schema, table) for table in CAPTURED}
    if exists and {tuple(row) for row in published} == wanted:
        return
    await connection.execute(publication_sql(postgres, exists=bool(exists)))


def publication_sql(postgres: PostgresSettings, *, exists: bool) -> str:
    """Statement that makes the publication, or makes it publish what it should."""
    name, source = quote(postgres.publication), quote(postgres.source_schema)
    tables = ", ".join(f"{source}.{quote(table)}" for table in CAPTURED)
    if exists:
        return f"ALTER PUBLICATION {name} SET TABLE {tables}"
    return f"CREATE PUBLICATION {name} FOR TABLE {tables}"


# --- words of SQL -----------------------------------------------------------------


def quote(identifier: str) -> str:
    """Quote an identifier.

    >>> quote('odd"name')
    '"odd""name"'
    """
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string (``standard_conforming_strings`` is on since PostgreSQL 9.1).

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


# --- passwords --------------------------------------------------------------------


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """Form in which PostgreSQL stores a password (RFC 5802 with SHA-256, RFC 7677).

    Raises
    ------
    SchemaError
        When the password has other characters than printable ASCII, whose spelling
        client and server would have to agree on first.
    """
    if not (password.isascii() and password.isprintable()):
        message = "the capture role's password must be of printable ASCII characters"
        raise SchemaError(message)
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = (salt, hashlib.sha256(client).digest(), server)
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in parts)
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt64}${stored64}:{server64}"


def verifies(password: str, stored: str) -> bool:
    """Whether a stored verifier (of the usual number of iterations) is of this one."""
    head, _, rest = stored.partition("$")
    iterations, _, salt64 = rest.partition("$")[0].partition(":")
    if head != "SCRAM-SHA-256" or iterations != str(_ITERATIONS):
        return False
    expected = scram_verifier(password, base64.b64decode(salt64))
    return hmac.compare_digest(expected, stored)
