"""Capture: Debezium's configuration from settings, its registration and its watch."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

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


def connector_config(settings: Settings) -> dict[str, str]:
    """Configuration of the Debezium connector, as Connect's REST interface takes it."""
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
    return {
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
    """Incremental snapshots asked for by a Kafka topic: no right to write is needed."""
    return {
        "read.only": "true",
        "signal.enabled.channels": "kafka",
        "signal.kafka.topic": signal_topic(settings),
        "signal.kafka.bootstrap.servers": settings.kafka.bootstrap,
        "signal.poll.interval.ms": "500",
        "notification.enabled.channels": "sink",
        "notification.sink.topic.name": notification_topic(settings),
        "incremental.snapshot.chunk.size": "10000",
    }


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
