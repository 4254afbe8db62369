"""Kafka clients from the settings: consumers, producers, the administrator.

All of them take brokers, security and credentials from ``client_options``; what a
caller passes by name comes on top.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    GroupIdNotFound,
    KafkaConnectionError,
    KafkaError,
    for_code,
)
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import OffsetAndMetadata

from connectors import aiokafka_patch
from connectors.kafka_security import reveal, tls_context, why_refused
from connectors.settings import Settings

MAX_RECORD_BYTES = 8 * 1024 * 1024
"""Largest record anywhere: what the topics take, and Debezium may send."""

REQUEST_TIMEOUT_MS = 30_000
SEND_TIMEOUT_MS = 120_000
"""What is to be sent outlives a broker's restart, however slow. Who stands still for
too long is ended by its own watch (``connectors.health``), which comes before this."""

COORDINATOR_SECONDS = 30.0
"""How long a group's coordinator is asked again: the very first group waits for its
topic to be made, and a broker that starts, or stood still, has no answer yet."""


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes."""
    aiokafka_patch.install()
    kafka = settings.kafka
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "security_protocol": kafka.security_protocol,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }
    if kafka.encrypts:
        options["ssl_context"] = tls_context(kafka)
    if kafka.logs_in:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": reveal(kafka.sasl_password),
        }
    return options


def make_producer(settings: Settings, **options: Any) -> AIOKafkaProducer:
    """Make a producer that appends each record once and in order (not started).

    Idempotent, acknowledged by all replicas, no transactions: those leave holes in
    the logs, and the logs' readers check that there are none.
    """
    chosen = {
        "enable_idempotence": True,
        "acks": "all",
        "compression_type": "zstd",
        "max_batch_size": 1024 * 1024,
        "max_request_size": MAX_RECORD_BYTES,
        "linger_ms": 0,
        "request_timeout_ms": SEND_TIMEOUT_MS,
    }
    return AIOKafkaProducer(**{**client_options(settings), **chosen, **options})


def make_consumer(settings: Settings, *topics: str, **options: Any) -> AIOKafkaConsumer:
    """Make a consumer that commits nothing by itself (not started)."""
    chosen = {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "max_partition_fetch_bytes": MAX_RECORD_BYTES,
    }
    return AIOKafkaConsumer(
        *topics, **{**client_options(settings), **chosen, **options}
    )


@asynccontextmanager
async def started_producer(
    settings: Settings, **options: Any
) -> AsyncIterator[AIOKafkaProducer]:
    """Open a producer for a block; everything sent is flushed at its end."""
    producer = make_producer(settings, **options)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def started_consumer(
    settings: Settings, *topics: str, **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer for a block."""
    consumer = make_consumer(settings, *topics, **options)
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


@asynccontextmanager
async def started_admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an administrator for a block.

    Every process and most commands begin with one.

    Raises
    ------
    aiokafka.errors.KafkaConnectionError
        If no broker lets us in; the message says why, and which setting to look at.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        try:
            await admin.start()
        except KafkaConnectionError as error:
            why = await why_refused(settings.kafka, client_options(settings))
            raise KafkaConnectionError(why) from error
        yield admin
    finally:
        await admin.close()


async def places_of(
    admin: AIOKafkaAdminClient, topics: Iterable[str]
) -> list[TopicPartition]:
    """List the partitions of those of ``topics`` that exist.

    A consumer would do for this only once it has subscribed.
    """
    # Asking for a topic by name makes it, where the broker allows that.
    there = set(await admin.list_topics())
    asked = [topic for topic in topics if topic in there]
    return [
        TopicPartition(topic["topic"], part["partition"])
        for topic in (await admin.describe_topics(asked) if asked else [])
        for part in topic["partitions"]
    ]


async def read_to_end(
    settings: Settings, topic: str, partition: int | None = None
) -> AsyncIterator[list[ConsumerRecord]]:
    """Read a topic from its start to the end that it had when this was called.

    Yields lists of records, ordered within a partition. Works with compacted logs,
    which have holes. A topic that does not exist is empty. One ``partition`` of it,
    or all.
    """
    async with started_admin(settings) as admin:
        places = await places_of(admin, [topic])
    if partition is not None:
        places = [place for place in places if place.partition == partition]
    if not places:
        return
    async with started_consumer(settings, group_id=None) as consumer:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        while not await _are_reached(consumer, ends):
            found = await consumer.getmany(timeout_ms=200)
            for records in found.values():
                yield records


async def _are_reached(
    consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]
) -> bool:
    for place, end in ends.items():
        if await consumer.position(place) < end:
            return False
    return True


async def committed(
    admin: AIOKafkaAdminClient, group: str
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Offsets of a group with their metadata; none for a group nobody used yet.

    Raises
    ------
    aiokafka.errors.KafkaError
        If the brokers refuse, or nobody answers for ``COORDINATOR_SECONDS``.
    """
    end = time.monotonic() + COORDINATOR_SECONDS
    while True:
        try:
            found = await admin.list_consumer_group_offsets(group)
        except KafkaError as error:
            if not error.retriable or time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)
        else:
            return {place: at for place, at in found.items() if at.offset >= 0}


async def backlog(settings: Settings, group: str, topics: Iterable[str]) -> int:
    """Count records of ``topics`` that ``group`` has not committed yet."""
    async with started_admin(settings) as admin:
        places = await places_of(admin, topics)
        done = await committed(admin, group)
    async with started_consumer(settings, group_id=None) as consumer:
        ends = await consumer.end_offsets(places)
    return sum(
        end - (done[place].offset if place in done else 0)
        for place, end in ends.items()
    )


async def delete_group(settings: Settings, group: str) -> bool:
    """Delete a group that has no members; whether it was there.

    Raises
    ------
    aiokafka.errors.KafkaError
        If it has members, or the broker refuses for another reason.
    """
    client = AIOKafkaClient(**client_options(settings))
    try:
        await client.bootstrap()
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        await client.ready(node)
        answer = await client.send(node, DeleteGroupsRequest([group]))
    finally:
        await client.close()
    for _, code in answer.results:
        error: type[KafkaError] = for_code(code)
        if error is GroupIdNotFound:
            return False
        if code:
            raise error(group)
    return True
