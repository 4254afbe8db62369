"""The journal's logs from the outside: their ends, their records, what is in them.

A replay reads the same records as a worker, but most of the time it does not need
their rows: ``Heads`` are batches of which the rows stay as they are.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, TypeAlias

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from analytics.rows import Change, Version
from connectors.kafka import started_consumer
from connectors.settings import Settings, TopicSettings
from replay.errors import WorkError

Records: TypeAlias = Sequence[ConsumerRecord]
POLL_MS = 500
FETCH_MS = 20
"""A fetch of one log is waited for before the next log is asked for."""


class Prefix(msgspec.Struct, frozen=True):
    """How much of the journal is meant: the next offset of each log.

    Attributes
    ----------
    market
        Of the market's log.
    portfolios
        Of each partition of the portfolios' log.
    """

    market: int
    portfolios: tuple[int, ...]

    def records(self) -> int:
        """How many records that is."""
        return self.market + sum(self.portfolios)


class Head(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A change of which the row was not read."""

    table: str
    key: tuple[int | str, ...]
    version: Version
    ts: int
    portfolio: int | None
    row: msgspec.Raw

    @property
    def absent(self) -> bool:
        """Whether the row was deleted or refused."""
        return bytes(self.row) == b"\xc0"


class Then(NamedTuple):
    """A moment of the past, and what was known of it.

    Attributes
    ----------
    ts
        Microseconds since the epoch.
    date
        The exchange's date at that moment, as an ordinal: intake delivers a price
        that is dated ahead when its session begins.
    """

    ts: int
    date: int

    def knew(self, change: "Head | Change") -> bool:
        """Whether a change was in the journal by then."""
        if change.ts > self.ts:
            return False
        ahead = change.table == "market_data_cache" and int(change.key[1]) > self.date
        gone = change.absent if isinstance(change, Head) else change.row is None
        return gone or not ahead


class Heads(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A journal record; ``connectors.journal.Batch`` without the rows."""

    format: int
    tx: str | None
    more: bool
    partial: bool
    changes: list[Head]


_heads = msgspec.msgpack.Decoder(Heads).decode
encode_heads = msgspec.msgpack.Encoder().encode


def heads_of(value: bytes | None) -> Heads | None:
    """Read a record; None for one that no worker could read either."""
    try:
        return _heads(value or b"")
    except msgspec.DecodeError:
        return None


def places_of(topics: TopicSettings) -> list[TopicPartition]:
    """List every log of a journal: the market first, then portfolios by partition."""
    many = range(topics.partitions)
    return [
        TopicPartition(topics.market, 0),
        *(TopicPartition(topics.portfolios, partition) for partition in many),
    ]


async def ends_of(consumer: AIOKafkaConsumer, topics: TopicSettings) -> Prefix:
    """Ask where the logs end now."""
    places = places_of(topics)
    ends = await consumer.end_offsets(places)
    market, *portfolios = (ends[place] for place in places)
    return Prefix(market, tuple(portfolios))


async def read(
    consumer: AIOKafkaConsumer, place: TopicPartition, start: int, end: int
) -> AsyncIterator[Records]:
    """Read the records of [start, end) of a log that has no holes, in order.

    Raises
    ------
    WorkError
        If the log does not reach back to ``start``.
    """
    if start >= end:
        return
    first = (await consumer.beginning_offsets([place]))[place]
    if first > start:
        message = f"{place.topic}[{place.partition}] begins with record {first}, not "
        message += f"{start}: the journal must be kept for ever (retention.ms=-1)"
        raise WorkError(message)
    consumer.assign([place])
    consumer.seek(place, start)
    while start < end:
        found = await consumer.getmany(place, timeout_ms=POLL_MS)
        wanted = [r for r in found.get(place, ()) if start <= r.offset < end]
        if wanted:
            yield wanted
            start = wanted[-1].offset + 1


def reading(settings: Settings) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
    """Open a consumer for ``read`` for a block."""
    return started_consumer(settings, group_id=None, fetch_max_wait_ms=FETCH_MS)
