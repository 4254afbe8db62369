"""Every topic: partitions and policies, made once and checked at each start.

The number of partitions of a log decides where a portfolio lies and is fixed at
creation. CDC topics have one partition each: one intake reads them all, the order of
a table is kept whole, and a fetch asks for eight logs and not for sixty-four. The
journal's partitions are what workers share.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from analytics.rows import TABLES
from connectors.capture import heartbeat_topic, notification_topic, signal_topic
from connectors.kafka import MAX_RECORD_BYTES, started_admin
from connectors.settings import Settings

SETTLE_SECONDS = 15.0
HOUR = 3_600_000
DAY = 24 * HOUR
CDC_DAYS = 7
"""Intake may stand still for so long; what it has read is in the journal for ever."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a topic must be.

    Attributes
    ----------
    name, partitions
        As Kafka knows it.
    config
        Policies that must hold; what is not named is left to the broker.
    """

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


class TopicError(Exception):
    """A topic cannot be made or used."""


class TopicMismatchError(TopicError):
    """A topic is not what it must be; ``faults`` has a line for each difference.

    Each line names the topic, what was expected and found, and what to do.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def forever(**more: str) -> dict[str, str]:
    """Policy of a log that is never cut."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": str(MAX_RECORD_BYTES),
        **more,
    }


def for_days(days: float) -> dict[str, str]:
    """Policy of a log that is cut by age."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(int(days * DAY)),
        # Only closed segments are cut.
        "segment.ms": str(int(min(days / 2, 1) * DAY)),
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }


def compacted(**more: str) -> dict[str, str]:
    """Policy of a log of which the last record of each key is kept.

    Kafka's defaults compact a segment only when it has 1 GB or is a week old: until
    then a reader goes through every record there ever was.
    """
    return {
        "cleanup.policy": "compact",
        "segment.bytes": str(64 * 1024 * 1024),
        "segment.ms": str(HOUR),
        "min.cleanable.dirty.ratio": "0.2",
        "max.compaction.lag.ms": str(6 * HOUR),
        # A consumer that was away for so long still learns of what was deleted.
        "delete.retention.ms": str(7 * DAY),
        "max.message.bytes": str(MAX_RECORD_BYTES),
        **more,
    }


def topics_of(settings: Settings) -> list[Topic]:
    """List every topic of the project but Faust's own, in the order of the flow."""
    names = settings.topics
    captured = [settings.cdc_topic(table) for table in TABLES]
    return [
        *(
            Topic(name, 1, for_days(CDC_DAYS))
            for name in (*captured, settings.transaction_topic)
        ),
        # A connector that was away takes what it was asked meanwhile.
        Topic(signal_topic(settings), 1, for_days(CDC_DAYS)),
        Topic(notification_topic(settings), 1, for_days(CDC_DAYS)),
        Topic(heartbeat_topic(settings), 1, for_days(1 / 24)),
        Topic(names.held, 1, compacted()),
        *worker_topics(settings),
    ]


def worker_topics(settings: Settings) -> list[Topic]:
    """List what a worker reads and writes; a replay has nothing else."""
    names = settings.topics
    many = names.partitions
    return [
        Topic(names.deadletters, 1, compacted()),
        Topic(names.market, 1, forever()),
        Topic(names.portfolios, many, forever()),
        Topic(names.market_checkpoint, 1, compacted()),
        Topic(names.runs, 1, compacted()),
        *(
            Topic(name, many, compacted())
            for name in (names.snapshots, names.positions, names.risk, names.symbols)
        ),
    ]


async def ensure_topics(
    settings: Settings,
    extra: Iterable[Topic] = (),
    topics: Iterable[Topic] | None = None,
) -> None:
    """Make the topics that are missing, and check all of them.

    Parameters
    ----------
    settings
        Names, number of partitions, replication.
    extra
        Topics besides those (Faust's changelogs).
    topics
        Those; None for ``topics_of(settings)``, which are all.

    Raises
    ------
    TopicMismatchError
        When one that is there is not what it must be. Nothing is altered.
    TopicError
        When the broker refuses to make one.

    Notes
    -----
    Any number of processes may call it at once.
    """
    wanted = [*(topics_of(settings) if topics is None else topics), *extra]
    async with started_admin(settings) as admin:
        there = set(await admin.list_topics())
        missing = [topic for topic in wanted if topic.name not in there]
        if missing:
            await _create(admin, missing, settings.kafka.replication)
            await _await_all(admin, {topic.name for topic in missing})
        await _check(admin, wanted, settings.kafka.replication)


async def check_topics(settings: Settings, extra: Iterable[Topic] = ()) -> None:
    """As ``ensure_topics``, but makes nothing: a missing topic is a mismatch."""
    async with started_admin(settings) as admin:
        wanted = [*topics_of(settings), *extra]
        await _check(admin, wanted, settings.kafka.replication)


async def _create(
    admin: AIOKafkaAdminClient, topics: list[Topic], replication: int
) -> None:
    # Fewer than all replicas must do, or one broker's restart stops everything.
    safety = {"min.insync.replicas": "2"} if replication >= 3 else {}
    made = await admin.create_topics(
        [
            NewTopic(
                topic.name,
                topic.partitions,
                replication,
                topic_configs={**safety, **topic.config},
            )
            for topic in topics
        ]
    )
    for name, code, *message in made.topic_errors:
        error: type[KafkaError] = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            text = f"topic {name} cannot be made: {error.__name__} {message or ''}"
            raise TopicError(text)


async def _await_all(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Wait until topics made a moment ago are listed, which takes the broker a while.

    One that never is will be found missing by the check.
    """
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        if names <= set(await admin.list_topics()) or time.monotonic() > end:
            return
        await asyncio.sleep(0.05)


async def _check(
    admin: AIOKafkaAdminClient, topics: list[Topic], replication: int
) -> None:
    found = await _described(admin, [topic.name for topic in topics])
    configs = await _configs(admin, list(found))
    faults: list[str] = []
    for topic in topics:
        if topic.name not in found:
            faults.append(
                f"topic {topic.name}: expected, not found; "
                "`deltafolio up` or any process of `deltafolio run` makes it"
            )
            continue
        faults += _partition_faults(topic, found[topic.name], replication)
        faults += _config_faults(topic, configs[topic.name])
    if faults:
        raise TopicMismatchError(faults)


async def _described(
    admin: AIOKafkaAdminClient, names: list[str]
) -> dict[str, list[int]]:
    """Replicas of each partition, by topic, of those topics that exist.

    A topic made a moment ago has no leaders yet: waits for them.
    """
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        # Asking for a topic by name would make it, where the broker allows that.
        there = set(await admin.list_topics())
        asked = [name for name in names if name in there]
        topics = await admin.describe_topics(asked) if asked else []
        settled = all(
            topic["error_code"] == 0
            and all(part["error_code"] == 0 for part in topic["partitions"])
            for topic in topics
        )
        if settled or time.monotonic() > end:
            return {
                topic["topic"]: [len(part["replicas"]) for part in topic["partitions"]]
                for topic in topics
            }
        await asyncio.sleep(0.05)


async def _configs(
    admin: AIOKafkaAdminClient, names: list[str]
) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found = {}
    for response in await admin.describe_configs(resources) if resources else []:
        for _error, _message, _type, name, entries in response.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _partition_faults(
    topic: Topic, replicas: list[int], replication: int
) -> Iterator[str]:
    if len(replicas) != topic.partitions:
        yield (
            f"topic {topic.name}: expected {topic.partitions} partitions, found "
            f"{len(replicas)}; the number is fixed at creation: set "
            "DELTAFOLIO_TOPICS__PARTITIONS to what the topics have, or name fresh "
            "topics in the settings and capture anew"
        )
    if replicas and min(replicas) < replication:
        yield (
            f"topic {topic.name}: expected {replication} replicas, found "
            f"{min(replicas)}; add replicas with kafka-reassign-partitions, or set "
            f"DELTAFOLIO_KAFKA__REPLICATION={min(replicas)}"
        )


def _config_faults(topic: Topic, found: Mapping[str, str]) -> Iterator[str]:
    for name, expected in topic.config.items():
        holds = _CHECKS.get(name)
        value = found.get(name, "")
        if holds and not holds(expected, value):
            yield (
                f"topic {topic.name}: expected {name}={expected}, found {value!r}; "
                f"run kafka-configs --alter --entity-type topics "
                f"--entity-name {topic.name} --add-config {name}={expected}"
            )


def _is_same(expected: str, found: str) -> bool:
    return set(expected.split(",")) == set(found.split(","))


def _is_at_least(expected: str, found: str) -> bool:
    """Compare limits, of which -1 is none."""
    if expected == "-1" or found == "-1":
        return found == "-1"
    return found.isdigit() and int(found) >= int(expected)


_CHECKS: dict[str, Callable[[str, str], bool]] = {
    "cleanup.policy": _is_same,
    "retention.ms": _is_at_least,
    "retention.bytes": _is_at_least,
    "max.message.bytes": _is_at_least,
}
"""Policies that decide what is lost; the others are for speed and may be tuned."""
