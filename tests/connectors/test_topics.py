"""Topics are made as they must be, and what is not is told with what to do."""

import secrets
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic

from connectors.capture import signal_topic
from connectors.kafka import (
    backlog,
    committed,
    places_of,
    read_to_end,
    started_admin,
    started_consumer,
    started_producer,
)
from connectors.settings import KafkaSettings, Settings, TopicSettings
from connectors.stack import StackInfo
from connectors.stack.settings import BROKER
from connectors.topics import (
    CDC_DAYS,
    Topic,
    TopicError,
    TopicMismatchError,
    check_topics,
    compacted,
    ensure_topics,
    for_days,
    forever,
    topics_of,
)


def named(prefix: str, partitions: int = 3) -> TopicSettings:
    names = {
        field: f"{prefix}.{value}"
        for field, value in TopicSettings().model_dump().items()
        if isinstance(value, str)
    }
    return TopicSettings(partitions=partitions, **names)


def test_every_topic_has_its_policy():
    topics = {topic.name: topic for topic in topics_of(Settings())}
    assert len(topics) == len(topics_of(Settings()))
    for name in ("journal.market", "journal.portfolios"):
        assert topics[name].config == forever()
    for name in ("deadletters", "intake.held", "state.market", "results.risk"):
        assert topics[name].config["cleanup.policy"] == "compact"
    # Keys are not unique there: compaction would delete other rows' records.
    captured = [topic for name, topic in topics.items() if name.startswith("cdc.")]
    assert len(captured) == 7 + 3
    for topic in captured:
        assert topic.config["cleanup.policy"] == "delete"
        assert topic.partitions == 1
    assert topics["journal.market"].partitions == 1
    assert topics["journal.portfolios"].partitions == 8
    assert topics["results.snapshots"].partitions == 8


@pytest.fixture
def settings(stack: StackInfo) -> Settings:
    return Settings(
        home=Path("none"),
        kafka=KafkaSettings(bootstrap=stack.bootstrap),
        topics=named(f"t{secrets.token_hex(4)}"),
    )


@pytest.mark.integration
async def test_topics_are_made_once_and_hold_what_they_must(settings: Settings):
    await ensure_topics(settings)
    await ensure_topics(settings)
    await check_topics(settings)
    async with started_admin(settings) as admin:
        places = await places_of(admin, [settings.topics.portfolios])
    assert [place.partition for place in places] == [0, 1, 2]


@pytest.mark.integration
async def test_a_topic_that_differs_is_told_with_what_to_do(settings: Settings):
    names = settings.topics
    async with started_admin(settings) as admin:
        await admin.create_topics(
            [
                NewTopic(names.portfolios, 2, 1, topic_configs=forever()),
                NewTopic(
                    names.market,
                    1,
                    1,
                    topic_configs=compacted(**{"retention.ms": "86400000"}),
                ),
                NewTopic(
                    names.held, 1, 1, topic_configs=compacted(**{"segment.ms": "7"})
                ),
            ]
        )
    with pytest.raises(TopicMismatchError) as caught:
        await ensure_topics(settings)
    partitions, policy, *limits = sorted(
        caught.value.faults, key=lambda fault: names.market in fault
    )
    assert f"topic {names.portfolios}: expected 3 partitions, found 2" in partitions
    assert "DELTAFOLIO_TOPICS__PARTITIONS" in partitions
    assert "expected cleanup.policy=delete, found 'compact'" in policy
    assert f"--entity-name {names.market} --add-config cleanup.policy=delete" in policy
    assert any("expected retention.ms=-1" in fault for fault in limits)
    # Speed may be tuned: the held topic's segments are nobody's fault.
    assert not any(names.held in fault for fault in caught.value.faults)


@pytest.mark.integration
async def test_a_missing_topic_is_told_and_more_than_enough_is_enough(
    settings: Settings,
):
    await ensure_topics(settings)
    extra = Topic(f"{settings.topics.cdc_prefix}.extra", 2, for_days(1))
    with pytest.raises(TopicMismatchError, match=r"extra: expected, not found"):
        await check_topics(settings, [extra])
    await ensure_topics(settings, [Topic(extra.name, 2, forever())])
    await check_topics(settings, [extra])


@pytest.mark.integration
async def test_a_topic_that_the_broker_refuses_is_an_error(settings: Settings):
    bad = Topic(f"{settings.topics.cdc_prefix}.bad", 1, {"retention.ms": "soon"})
    with pytest.raises(TopicError, match=r"bad cannot be made"):
        await ensure_topics(settings, [bad])


@pytest.mark.integration
async def test_a_log_is_read_to_its_end_and_a_backlog_counted(settings: Settings):
    names = settings.topics
    await ensure_topics(settings)
    async with started_producer(settings) as producer:
        for n in range(50):
            await producer.send(names.portfolios, b"%d" % n, partition=n % 3)
        await producer.send(names.portfolios, b"x" * 3_000_000, partition=0)
    values = [
        record.value
        async for records in read_to_end(settings, names.portfolios)
        for record in records
    ]
    assert len(values) == 51
    assert [v async for v in read_to_end(settings, names.market)] == []
    assert [v async for v in read_to_end(settings, "there.is.none")] == []
    topics = [names.portfolios, names.market]
    assert await backlog(settings, names.held, topics) == 51
    async with started_admin(settings) as admin:
        assert await committed(admin, names.held) == {}
        places = await places_of(admin, [names.portfolios])
    async with started_consumer(settings, group_id=names.held) as consumer:
        consumer.assign(places)
        await consumer.commit(dict.fromkeys(places, 10))
    assert await backlog(settings, names.held, topics) == 21


def test_a_group_finds_its_place_for_longer_than_there_is_something_to_read():
    minutes = int(BROKER["offsets.retention.minutes"])
    assert minutes > CDC_DAYS * 24 * 60


def test_what_the_connector_is_asked_is_kept_as_long_as_rows():
    settings = Settings()
    config = {topic.name: topic.config for topic in topics_of(settings)}
    rows = config[settings.cdc_topic("positions")]
    assert config[signal_topic(settings)]["retention.ms"] == rows["retention.ms"]
