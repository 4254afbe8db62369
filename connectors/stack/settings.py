"""Settings of the three services, written once for the embedded stack and Compose.

Values are strings as the services read them. What depends on the place (ports,
directories, host names) is added by whoever starts the service.
"""

from __future__ import annotations

from dataclasses import dataclass

from connectors.stack import versions

DATABASE = "deltafolio"
SUPERUSER = "postgres"
CLUSTER_ID = "ZGVsdGFmb2xpby1sb2NhbA"
"""22 characters of base64; a data directory of another cluster is refused."""

CONNECT_GROUP = "deltafolio-connect"

POSTGRES: dict[str, str] = {
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A killed Connect holds its slot until the server notices; the default is 60 s.
    "wal_sender_timeout": "10s",
    "max_wal_size": "2GB",
}
"""Server parameters."""

BROKER: dict[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A typo must not make a topic of one partition: topics are made by us, checked.
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Workers that are started together get their partitions together: for one that
    # comes later all of them stop, and what they have begun is for another.
    "group.initial.rebalance.delay.ms": "500",
    "group.min.session.timeout.ms": "3000",
    # A killed broker may come back only when its former session has ended (9 s).
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    # What recovery reads again after a kill is at most one segment a partition.
    "log.segment.bytes": "134217728",
    # The journal is the truth: it is kept for ever.
    "log.retention.ms": "-1",
    "log.retention.bytes": "-1",
    # A reader that stood still must find its place as long as there is something to
    # read: thirty days, and CDC topics are kept for seven.
    "offsets.retention.minutes": "43200",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
    # Index files are allocated at this size for every segment of every partition.
    "log.index.size.max.bytes": "1048576",
    "log.cleaner.dedupe.buffer.size": "33554432",
    "message.max.bytes": "8388608",
    "replica.fetch.max.bytes": "8388608",
}
"""Broker properties."""

CONNECT: dict[str, str] = {
    "group.id": CONNECT_GROUP,
    "config.storage.topic": "connect.configs",
    "offset.storage.topic": "connect.offsets",
    "status.storage.topic": "connect.status",
    "config.storage.replication.factor": "1",
    "offset.storage.replication.factor": "1",
    "status.storage.replication.factor": "1",
    "offset.storage.partitions": "1",
    "status.storage.partitions": "1",
    "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "false",
    # Transaction markers leave holes in the logs, and the journal's readers check
    # that there are none. It is the worker's setting that rules.
    "exactly.once.source.support": "disabled",
    "topic.creation.enable": "false",
    "offset.flush.interval.ms": "1000",
    # It starts beside its broker, which on a busy machine takes more than the usual
    # minute to come, and would end without it.
    "default.api.timeout.ms": "120000",
    # A killed worker leaves its tasks for as long as its session lasts.
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "2000",
    "scheduled.rebalance.max.delay.ms": "0",
    # How long to linger is the connector's to say (connectors/capture.py).
    "producer.batch.size": "131072",
    "producer.max.request.size": "8388608",
    "producer.compression.type": "lz4",
    # Reads only the plugins' declarations: half a second instead of several.
    "plugin.discovery": "service_load",
    "connector.client.config.override.policy": "All",
}
"""Connect worker properties."""

JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")
"""Quick to start, small, and no thread of a collector on two cores."""

HEAP = {"broker": "768m", "connect": "768m"}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each service may take to become healthy, and to stop."""

    start: float = 120.0
    stop: float = 15.0


POSTGRES_MAJOR = versions.POSTGRES.split(".", maxsplit=1)[0]

LOGGING: dict[str, str] = {
    "rootLogger.level": "INFO",
    "rootLogger.appenderRef.file.ref": "file",
    "appender.file.type": "RollingFile",
    "appender.file.name": "file",
    "appender.file.layout.type": "PatternLayout",
    "appender.file.layout.pattern": "[%d] %p %m (%c)%n",
    "appender.file.policies.type": "Policies",
    "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
    "appender.file.policies.size.size": "20MB",
    "appender.file.strategy.type": "DefaultRolloverStrategy",
    "appender.file.strategy.max": "2",
    # Says a thousand lines at each start that nobody reads.
    "logger.values.name": "org.apache.kafka.common.config.AbstractConfig",
    "logger.values.level": "WARN",
}
"""Log of a Java service: a file of 20 MB at most, and two older ones."""
