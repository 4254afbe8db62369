"""The doctor on the source tables: kind, columns, types, keys, replica identity."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.doctor.columns import (
    NEEDS,
    conversion,
    key_of,
    type_doubt,
    type_fault,
)
from connectors.doctor.facts import Facts, Role, Table
from connectors.doctor.findings import Finding, error, ok, qualified, warning
from connectors.postgres import CAPTURED, quote
from connectors.settings import PostgresSettings


def judge_tables(facts: Facts, postgres: PostgresSettings) -> Iterator[Finding]:
    """Judge each captured table."""
    schema = postgres.source_schema
    if not facts.has_schema:
        message = f"schema {schema} does not exist in database {facts.database}"
        yield error("schema", message)
        return
    for name in CAPTURED:
        table, subject = facts.tables.get(name), f"{schema}.{name}"
        if table is None:
            yield _missing(name, postgres)
            continue
        found = [
            *_kind(table, subject),
            *_columns(name, table, postgres),
            *_identity(name, table, facts, postgres),
        ]
        yield from found or [ok(subject, "columns, types and identity as needed")]


def _missing(name: str, postgres: PostgresSettings) -> Finding:
    columns = ",\n".join(
        f"    {quote(column)} {need.type}" for column, need in NEEDS[name].items()
    )
    key = ", ".join(quote(c) for c in NEEDS[name] if c in key_of(name))
    return error(
        f"{postgres.source_schema}.{name}",
        "the table is missing; an empty one will do, and so will a table of another "
        "name, renamed (a view will not: only tables have changes)",
        f"CREATE TABLE {qualified(postgres, name)} (\n{columns},\n"
        f"    PRIMARY KEY ({key})\n);\n"
        f"ALTER TABLE {qualified(postgres, name)} REPLICA IDENTITY FULL;",
        after="run doctor again, for rights and publication",
    )


_KINDS = {"v": "a view", "m": "a materialised view", "f": "a foreign table"}


def _kind(table: Table, subject: str) -> Iterator[Finding]:
    if table.kind in _KINDS:
        message = f"is {_KINDS[table.kind]}: only tables have changes to capture"
        yield error(subject, message)
    if table.persistence != "p":
        message = "is not logged (UNLOGGED): its changes are not in the WAL"
        sql = f"ALTER TABLE {subject} SET LOGGED;"
        yield error(subject, message, sql)


def _columns(name: str, table: Table, postgres: PostgresSettings) -> Iterator[Finding]:
    subject = f"{postgres.source_schema}.{name}"
    for column, need in NEEDS[name].items():
        found = table.columns.get(column)
        place = f"ALTER TABLE {qualified(postgres, name)}"
        if found is None:
            message = f"column {column} ({need.type}) is missing: every row is refused"
            sql = f"{place} ADD COLUMN {quote(column)} {need.type};"
            yield error(subject, message, sql)
        elif fault := type_fault(need, found):
            using = conversion(column, need, found)
            sql = (
                f"{place} ALTER COLUMN {quote(column)} TYPE {need.type} USING {using};"
            )
            yield error(subject, f"column {column} {fault}", sql if using else None)
        elif doubt := type_doubt(need, found):
            yield warning(subject, f"column {column} {doubt}")
    key = key_of(name)
    if table.kind in "rp" and not any(unique <= key for unique in table.unique):
        columns = ", ".join(quote(c) for c in NEEDS[name] if c in key)
        yield warning(
            subject,
            f"{', '.join(sorted(key))} is not unique: of rows that share it one counts",
            f"ALTER TABLE {qualified(postgres, name)} ADD UNIQUE ({columns});",
        )


def _identity(
    name: str, table: Table, facts: Facts, postgres: PostgresSettings
) -> Iterator[Finding]:
    subject, place = f"{postgres.source_schema}.{name}", qualified(postgres, name)
    if table.row_security and not _sees_all(facts.role):
        yield error(
            subject,
            "has row security: a snapshot holds only what the capture role sees",
            f"ALTER ROLE {quote(postgres.capture_user)} BYPASSRLS;",
        )
    tables = [place] if table.identity != "f" and table.kind == "r" else []
    tables += table.partitions
    if not tables:
        return
    lists = sorted(p for p, published in facts.column_lists if published == name)
    warning = (
        f"; first drop the column list of publication {', '.join(lists)}, or every "
        "UPDATE and DELETE will fail"
        if lists
        else ""
    )
    yield error(
        subject,
        "replica identity is not FULL: a DELETE does not say whose row it was"
        + warning,
        "\n".join(f"ALTER TABLE {one} REPLICA IDENTITY FULL;" for one in tables),
        safe=not lists,
    )


def _sees_all(role: Role | None) -> bool:
    return role is not None and bool(role.attributes & {"rolsuper", "rolbypassrls"})
