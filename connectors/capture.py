"""Debezium's configuration, generated from the settings. Pure: nothing is contacted.

``connectors.capture_watch`` registers it and watches over it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from connectors.kafka_security import java_security
from connectors.settings import Settings

KEY_COLUMNS: dict[str, str] = {
    "portfolios": "id",
    "positions": "portfolio_id",
    "market_data_cache": "symbol",
    "equity_changes": "portfolio_id",
    "position_realized_events": "portfolio_id",
    "company_profiles": "symbol",
    "benchmarks_sector_weights": "benchmark_code",
}
"""Captured tables, and the column whose value is the record's key (and decides its
partition)."""

HEARTBEAT_PREFIX = "deltafolio"
"""Prefix of the logical message by which the slot moves on while nothing changes."""

CONNECTOR_CLASS = "io.debezium.connector.postgresql.PostgresConnector"


def signal_topic(settings: Settings) -> str:
    """Topic by which incremental snapshots are asked for."""
    return f"{settings.topics.cdc_prefix}.signal"


def notification_topic(settings: Settings) -> str:
    """Topic that tells how far a snapshot is."""
    return f"{settings.topics.cdc_prefix}.notification"


def heartbeat_topic(settings: Settings) -> str:
    """Topic of the connector's heartbeats."""
    return f"__debezium-heartbeat.{settings.topics.cdc_prefix}"


def snapshot_signal(
    settings: Settings, name: str, conditions: Mapping[str, str | None]
) -> tuple[bytes, bytes]:
    """Record that asks for a snapshot of some tables, or of some of their rows.

    Streaming pauses while it is taken. Its rows come as ``op: r`` with the position
    of the stream at that moment, so that a change streamed later wins.

    Parameters
    ----------
    settings
        Names of topics and schema.
    name
        Id of the request, for the connector's log.
    conditions
        Table to an SQL condition on its rows, or to None for all of them.

    Returns
    -------
    tuple
        Key and value to send to `signal_topic`.

    Raises
    ------
    ValueError
        If a table is not a captured one.

    Examples
    --------
    >>> key, value = snapshot_signal(Settings(), "r1", {"positions": "id = 5"})
    >>> key, json.loads(value)["data"]["data-collections"]
    (b'cdc', ['public.positions'])
    """
    unknown = sorted(set(conditions) - set(KEY_COLUMNS))
    if unknown:
        message = f"not captured: {', '.join(unknown)}"
        raise ValueError(message)
    names = {t: f"{settings.postgres.source_schema}.{t}" for t in conditions}
    data: dict[str, Any] = {
        "type": "BLOCKING",
        "data-collections": list(names.values()),
    }
    chosen = {names[t]: c for t, c in conditions.items() if c}
    if chosen:
        data["additional-conditions"] = [
            # The whole statement: Debezium sends it as it stands.
            {
                "data-collection": table,
                "filter": f"SELECT * FROM {table} WHERE {condition}",  # noqa: S608
            }
            for table, condition in chosen.items()
        ]
    value = {"id": name, "type": "execute-snapshot", "data": data}
    return settings.topics.cdc_prefix.encode(), json.dumps(value).encode()


def connector_config(settings: Settings) -> dict[str, str]:
    """Make the Debezium connector's configuration, as Connect's REST interface has it.

    The reasons for what is not obvious stand beside it, and with what was observed
    in docs/decisions/0002-capture.md. Passwords are in it, in the clear.
    """
    return {
        "connector.class": CONNECTOR_CLASS,
        "tasks.max": "1",
        **_database(settings),
        **_tables(settings),
        **_values(),
        **_keys(settings),
        **_signals(settings),
        **_pace(),
    }


def _database(settings: Settings) -> dict[str, str]:
    url = urlsplit(settings.postgres.dsn.get_secret_value())
    options = parse_qs(url.query)
    config = {
        "database.hostname": url.hostname or "127.0.0.1",
        "database.port": str(url.port or 5432),
        "database.user": settings.postgres.capture_user,
        "database.password": settings.postgres.capture_password.get_secret_value(),
        "database.dbname": unquote(url.path.lstrip("/")),
        "plugin.name": "pgoutput",
        "slot.name": settings.postgres.slot,
        "publication.name": settings.postgres.publication,
        # The role may read, not create; what is captured is decided by the schema.
        "publication.autocreate.mode": "disabled",
    }
    if settings.postgres.slot_failover:
        config["slot.failover"] = "true"  # heeded when the slot is made
    # The files are read where Connect runs; both drivers take PEM.
    for name in ("sslmode", "sslrootcert", "sslcert", "sslkey"):
        if name in options:
            config[f"database.{name}"] = options[name][-1]
    return config


def _tables(settings: Settings) -> dict[str, str]:
    schema = settings.postgres.source_schema
    keys = (f"{schema}.{table}:{key}" for table, key in KEY_COLUMNS.items())
    return {
        "topic.prefix": settings.topics.cdc_prefix,
        "table.include.list": ",".join(f"{schema}.{table}" for table in KEY_COLUMNS),
        "message.key.columns": ";".join(keys),
        "snapshot.mode": "initial",
        # A TRUNCATE says nothing by default, and everything it removed would stay.
        "skipped.operations": "none",
        # Keys are not unique: a tombstone would delete other rows' records.
        "tombstones.on.delete": "false",
    }


def _values() -> dict[str, str]:
    return {
        "decimal.handling.mode": "string",
        "provide.transaction.metadata": "true",
        "extended.headers.enabled": "false",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
    }


def _keys(settings: Settings) -> dict[str, str]:
    """Replace a key of one field by the field, for the topics of each key column."""
    prefix = f"{settings.topics.cdc_prefix}.{settings.postgres.source_schema}."
    columns = sorted(set(KEY_COLUMNS.values()))
    config = {
        "transforms": ",".join(f"key_{column}" for column in columns),
        "predicates": ",".join(f"by_{column}" for column in columns),
    }
    for column in columns:
        tables = "|".join(table for table, key in KEY_COLUMNS.items() if key == column)
        config |= {
            f"transforms.key_{column}.type": (
                "org.apache.kafka.connect.transforms.ExtractField$Key"
            ),
            f"transforms.key_{column}.field": column,
            f"transforms.key_{column}.predicate": f"by_{column}",
            f"predicates.by_{column}.type": (
                "org.apache.kafka.connect.transforms.predicates.TopicNameMatches"
            ),
            f"predicates.by_{column}.pattern": (
                f"{prefix.replace('.', '[.]')}({tables})"
            ),
        }
    return config


def _signals(settings: Settings) -> dict[str, str]:
    """Blocking snapshots, asked for by a Kafka topic: no right to write is needed.

    Not the incremental kind: it goes by the record's key, of which ours are not
    unique, and leaves out all rows of a key but one (docs/decisions/0002-capture.md).
    """
    config = {
        "signal.enabled.channels": "kafka",
        "signal.kafka.topic": signal_topic(settings),
        "signal.kafka.bootstrap.servers": settings.kafka.bootstrap,
        # The default is one group for every connector of the cluster.
        "signal.kafka.groupId": f"{settings.connect.connector}-signal",
        "signal.poll.interval.ms": "500",
        "notification.enabled.channels": "sink",
        "notification.sink.topic.name": notification_topic(settings),
    }
    security = java_security(settings.kafka).items()
    return config | {f"signal.consumer.{name}": value for name, value in security}


def _pace() -> dict[str, str]:
    return {
        # The default of 500 ms is half a second of latency.
        "poll.interval.ms": "5",
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "snapshot.fetch.size": "10000",
        # A transaction of nothing: without it the slot holds back all WAL, that of
        # the sink's tables too, until the next change of a captured table. It needs
        # no table and no right. (Letting the driver confirm by itself is no way: the
        # slot then overtakes Connect's offset, and the next start is refused.)
        "heartbeat.interval.ms": "5000",
        "heartbeat.action.query": (
            f"SELECT pg_logical_emit_message(true, '{HEARTBEAT_PREFIX}', '')"
        ),
        "message.prefix.exclude.list": HEARTBEAT_PREFIX,
        "status.update.interval.ms": "1000",
        "retriable.restart.connector.wait.ms": "1000",
        "slot.retry.delay.ms": "1000",
        "slot.max.retries": "30",
        # The poll above is the batch; waiting again for 20 ms costs 12 ms of p50 and
        # saves a tenth of a core at 1000 rows a second.
        "producer.override.linger.ms": "0",
        "producer.override.compression.type": "lz4",
    }
