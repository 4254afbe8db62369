"""The doctor on what flows: the publication, the slot."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.doctor.facts import Facts, Publication, Published
from connectors.doctor.findings import Finding, error, ok, qualified, some, warning
from connectors.postgres import CAPTURED, quote
from connectors.settings import PostgresSettings

MUCH_WAL = 1_000_000_000
OPERATIONS = ("insert", "update", "delete", "truncate")


def judge_publication(facts: Facts, postgres: PostgresSettings) -> Iterator[Finding]:
    """Judge what is published."""
    subject, publication = f"publication {postgres.publication}", facts.publication
    tables = [
        name
        for name in CAPTURED
        if name in facts.tables and facts.tables[name].kind in "rp"
    ]
    if publication is None:
        if tables:
            sql = _create_publication(facts, postgres, tables)
            yield error(subject, "does not exist", sql, safe=True)
        else:
            yield error(subject, "does not exist, and no table to publish")
        return
    found = [
        *_unpublished(publication, tables, postgres),
        *_beside(publication, facts, postgres),
        *_hidden(publication, facts, postgres),
        *_operations(publication, facts, postgres),
    ]
    yield from found or [ok(subject, "publishes the captured tables, all of them")]


def _create_publication(
    facts: Facts, postgres: PostgresSettings, tables: list[str]
) -> str:
    names = ", ".join(qualified(postgres, table) for table in tables)
    root = _is_partitioned(facts)
    option = " WITH (publish_via_partition_root = true)" if root else ""
    return (
        f"CREATE PUBLICATION {quote(postgres.publication)} FOR TABLE {names}{option};"
    )


def _is_partitioned(facts: Facts) -> bool:
    return any(table.kind == "p" for table in facts.tables.values())


def _unpublished(
    publication: Publication, tables: list[str], postgres: PostgresSettings
) -> Iterator[Finding]:
    subject, schema = f"publication {postgres.publication}", postgres.source_schema
    missing = [t for t in tables if (schema, t) not in publication.tables]
    if missing:
        names = ", ".join(qualified(postgres, table) for table in missing)
        sql = f"ALTER PUBLICATION {quote(postgres.publication)} ADD TABLE {names};"
        yield error(subject, f"lacks {', '.join(missing)}", sql, safe=True)


def _beside(
    publication: Publication, facts: Facts, postgres: PostgresSettings
) -> Iterator[Finding]:
    """Find what is published and not captured, results above all."""
    subject = f"publication {postgres.publication}"
    captured = {(postgres.source_schema, table) for table in CAPTURED}
    extra = sorted(publication.tables.keys() - captured)
    if publication.all_tables:
        tables = [t for t in CAPTURED if t in facts.tables]
        sql = f"DROP PUBLICATION {quote(postgres.publication)};\n"
        sql += _create_publication(facts, postgres, tables)
        yield warning(subject, "publishes all tables, the results as well", sql)
    elif extra:
        names = ", ".join(f"{quote(schema)}.{quote(table)}" for schema, table in extra)
        sql = f"ALTER PUBLICATION {quote(postgres.publication)} DROP TABLE {names};"
        yield warning(subject, f"publishes besides: {some(map('.'.join, extra))}", sql)


def _hidden(
    publication: Publication, facts: Facts, postgres: PostgresSettings
) -> Iterator[Finding]:
    """Find columns and rows that are left out."""
    subject = f"publication {postgres.publication}"
    name = quote(postgres.publication)
    for (schema, table), published in sorted(publication.tables.items()):
        if schema != postgres.source_schema or table not in facts.tables:
            continue
        what = _left_out(published, facts, table)
        if what:
            place = qualified(postgres, table)
            sql = (
                f"ALTER PUBLICATION {name} DROP TABLE {place};\n"
                f"ALTER PUBLICATION {name} ADD TABLE {place};"
            )
            yield error(subject, f"{table}: {what}", sql)


def _left_out(published: Published, facts: Facts, table: str) -> str | None:
    if published.filter is not None:
        return f"only rows with {published.filter} are published"
    columns = facts.tables[table].columns
    plain = {name for name, column in columns.items() if not column.generated}
    if published.columns is not None and plain - published.columns:
        left = some(sorted(plain - published.columns))
        return f"{left} left out: with REPLICA IDENTITY FULL every UPDATE fails"
    return None


def _operations(
    publication: Publication, facts: Facts, postgres: PostgresSettings
) -> Iterator[Finding]:
    subject, name = f"publication {postgres.publication}", quote(postgres.publication)
    missing = [verb for verb in OPERATIONS if verb not in publication.operations]
    if missing:
        sql = f"ALTER PUBLICATION {name} SET (publish = '{', '.join(OPERATIONS)}');"
        yield error(subject, f"does not publish {', '.join(missing)}", sql, safe=True)
    if _is_partitioned(facts) and not publication.via_root:
        sql = f"ALTER PUBLICATION {name} SET (publish_via_partition_root = true);"
        message = "publishes partitions under their own names, which are not captured"
        yield error(subject, message, sql, safe=True)


def judge_slot(facts: Facts, postgres: PostgresSettings) -> Iterator[Finding]:
    """Judge the replication slot."""
    subject, slot = f"slot {postgres.slot}", facts.slot
    drop = f"SELECT pg_drop_replication_slot('{postgres.slot}');"
    if slot is None:
        yield ok(subject, "not there yet: the connector makes it at its first start")
    elif slot.plugin != "pgoutput" or slot.database != facts.database:
        what = f"{slot.plugin} of database {slot.database}"
        message = f"is {what}, expected pgoutput of {facts.database}"
        yield error(subject, message, drop)
    elif slot.lost:
        message = f"is lost ({slot.lost}): capture must start with a new snapshot"
        yield error(subject, message, drop, after="delete the connector's offsets")
    else:
        kept = f"{(slot.retained or 0) / 1e6:,.0f} MB of WAL kept for it"
        if slot.active:
            yield ok(subject, f"active, {kept}")
        elif (slot.retained or 0) > MUCH_WAL:
            message = f"nobody reads it and {kept}: start capture, or drop it"
            yield warning(subject, message, drop)
        else:
            yield ok(subject, f"nobody reads it now, {kept}")
