"""Feeding a run: the journal's prefix, record for record, into topics of its own.

Record n of a log becomes record n of the run's log, whatever is left out of it. So a
run's revisions are those of the live journal, the end of a run's log says how far it
was fed, and whoever resumes goes on from there: nothing is fed twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from connectors.exchange import exchange_today
from connectors.kafka import started_producer
from connectors.settings import Settings
from replay.ask import Ask, Facts
from replay.bootstrap import stored_records
from replay.logs import (
    Prefix,
    Then,
    encode_heads,
    ends_of,
    heads_of,
    places_of,
    read,
    reading,
)

Fed = Callable[[int], None]
WAITING = 100
"""So many records are on their way at a time."""


async def survey(settings: Settings, as_of: int | None) -> tuple[Facts, Prefix]:
    """Go through the journal: what is in it, and how much of it counts.

    Parameters
    ----------
    settings
        Of the live system.
    as_of
        Microseconds since the epoch; what was committed later does not count, and
        the prefix ends with the last record that has anything else.
    """
    facts = Facts(then_of(settings, as_of))
    async with reading(settings) as consumer:
        ends = await ends_of(consumer, settings.topics)
        found = []
        for place, end in zip(places_of(settings.topics), _each(ends), strict=True):
            counts = 0 if as_of is not None else end
            async for records in read(consumer, place, 0, end):
                for record in records:
                    heads = heads_of(record.value)
                    if heads is not None and facts.take(heads.changes):
                        counts = max(counts, record.offset + 1)
            found.append(counts)
    return facts, Prefix(found[0], tuple(found[1:]))


def then_of(settings: Settings, as_of: int | None) -> Then | None:
    """Say what was known at a time; None if all of it counts."""
    if as_of is None:
        return None
    today = exchange_today(settings.calendar.name, lambda: as_of / 1_000_000)
    return Then(as_of, today())


async def feed(
    live: Settings, branch: Settings, ask: Ask, prefix: Prefix, fed: Fed
) -> None:
    """Bring a run's logs to the end of its prefix.

    Parameters
    ----------
    live, branch
        Settings of the journal that is read and of the run.
    ask
        What is left out.
    prefix
        Where each log ends.
    fed
        Told how many records were stored.
    """
    async with reading(live) as consumer, started_producer(branch) as producer:
        done = await ends_of(consumer, branch.topics)
        fed(done.records())
        then = then_of(live, ask.as_of)
        sources, targets = places_of(live.topics), places_of(branch.topics)
        stretches = zip(sources, targets, _each(done), _each(prefix), strict=True)
        for source, target, start, end in stretches:
            await _copy(consumer, producer, (source, target), (start, end), then, fed)


async def _copy(
    consumer: AIOKafkaConsumer,
    producer: AIOKafkaProducer,
    places: tuple[TopicPartition, TopicPartition],
    stretch: tuple[int, int],
    then: Then | None,
    fed: Fed,
) -> None:
    source, target = places
    async for records in read(consumer, source, *stretch):
        waiting = [
            await producer.send(
                target.topic,
                value,
                partition=target.partition,
                timestamp_ms=record.timestamp,
            )
            for record, value in _values(records, then)
        ]
        await _stored(waiting, fed)


def _values(
    records: Sequence[ConsumerRecord], then: Then | None
) -> Iterator[tuple[ConsumerRecord, bytes | None]]:
    for record in records:
        yield record, known_by(record.value, then)


def known_by(value: bytes | None, then: Then | None) -> bytes | None:
    """Leave out of a record what was not known then; it stays a record."""
    if then is None or (heads := heads_of(value)) is None:
        return value
    known = [change for change in heads.changes if then.knew(change)]
    if len(known) == len(heads.changes):
        return value
    return encode_heads((heads.format, heads.tx, heads.more, heads.partial, known))


def _each(prefix: Prefix) -> tuple[int, ...]:
    return (prefix.market, *prefix.portfolios)


async def feed_file(branch: Settings, path: Path, fed: Fed) -> None:
    """Bring a run's logs to the end of what was read of the tables.

    Parameters
    ----------
    branch
        Settings of the run.
    path
        What was read (``replay.bootstrap``).
    fed
        Told how many records were stored.

    Raises
    ------
    WorkError
        If the file is not there, or not whole.
    """
    targets = places_of(branch.topics)
    async with reading(branch) as consumer, started_producer(branch) as producer:
        done = await ends_of(consumer, branch.topics)
        fed(done.records())
        left = list(_each(done))
        waiting = []
        for log, value in stored_records(path):
            if left[log]:
                left[log] -= 1
                continue
            place = targets[log]
            waiting.append(
                await producer.send(place.topic, value, partition=place.partition)
            )
            if len(waiting) >= WAITING:
                await _stored(waiting, fed)
        await _stored(waiting, fed)


async def _stored(waiting: list[Awaitable[object]], fed: Fed) -> None:
    for sent in waiting:
        await sent
    fed(len(waiting))
    waiting.clear()
