"""Bringing what differs to the live topics: by revision only, as a worker would.

The records of the run go as they are: their revisions are those of the live journal.
Where live has a higher one of what the run knows too, the run's record goes with the
revision of its whole prefix, at which it is as true. A record of live that has that
very revision cannot be replaced by revision; it is counted and left. Where a worker has
said something newer meanwhile, consumers and the sink do not take the run's. A live
worker sees records of another writer, reads them, and corrects them if its own truth is
another one (``docs/delivery.md``, R1 to R3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec
from aiokafka import AIOKafkaProducer, ConsumerRecord

from connectors.kafka import read_to_end, started_producer
from connectors.settings import Settings
from connectors.sink import Family, Revision
from connectors.sink_records import revision_of
from replay.said import DIGEST, GONE, Difference, cell_of

WAITING = 1000
REVISION = "r"


async def publish(
    live: Settings,
    branch: Settings,
    family: Family,
    differences: Iterable[Difference],
    prefix: Callable[[int], Revision],
) -> int:
    """Publish the run's side of differences; how many records that is.

    Parameters
    ----------
    live, branch
        Settings of the live topics and of the run's.
    family
        Of the differences.
    differences
        Of which live knows no more than the run.
    prefix
        Revision of the run in a partition.
    """
    wanted = {d.key: d for d in differences if not is_stuck(d, prefix)}
    topic = family.topic(live.topics)
    published = 0
    async with started_producer(live) as producer:
        outbox = _Outbox(producer, topic)
        for key, found in wanted.items():
            if found.ours is None and found.live is not None:
                at = found.live.partition
                retraction = retract(family, key, prefix(at))
                await outbox.send(at, key, *retraction)
                published += 1
        async for records in read_to_end(branch, family.topic(branch.topics)):
            for record in records:
                if (counts := _is(record, wanted)) is not None:
                    said = value_of(record, counts, prefix(record.partition))
                    await outbox.send(record.partition, record.key, *said)
                    published += 1
        await outbox.empty()
    return published


def is_stuck(found: Difference, prefix: Callable[[int], Revision]) -> bool:
    """Whether live has the revision of the run's whole prefix already."""
    live = found.live
    return live is not None and live.revision >= prefix(live.partition)


def value_of(
    record: ConsumerRecord, found: Difference, reached: Revision
) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Value and headers with which a record of the run takes the place of live's."""
    own, headers = revision_of(record), list(record.headers)
    if found.live is None or own > found.live.revision or record.value is None:
        return record.value, headers
    spelled = b'"revision":{"p":%d,"m":%d,"v":%d}'
    value = record.value.replace(spelled % own, spelled % reached, 1)
    others = [header for header in headers if header[0] != REVISION]
    return value, [*others, (REVISION, b"%d,%d,%d" % reached)]


def _is(record: ConsumerRecord, wanted: dict[bytes, Difference]) -> Difference | None:
    """Difference of which a record is the one that counts."""
    found = wanted.get(record.key or b"")
    if found is None or found.ours is None:
        return None
    return found if found.ours.revision == revision_of(record) else None


def retract(
    family: Family, key: bytes, revision: Revision
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Make the value and headers of a retraction, as ``streams.record`` does."""
    owner, session = cell_of(key)
    p, m, v = revision
    value = {
        ("symbol" if family.of_symbols else "portfolio"): (
            owner if family.of_symbols else int(owner)
        ),
        "session": str(session),
        "revision": {"p": p, "m": m, "v": v},
        "as_of": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "cause": None,
        "previous": None,
        "retracted": True,
    }
    headers = [(DIGEST, GONE), (REVISION, b"%d,%d,%d" % revision)]
    return msgspec.json.encode(value), headers


class _Outbox:
    """Sends many records and waits for them now and then."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._waiting: list[object] = []

    async def send(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
    ) -> None:
        self._waiting.append(
            await self._producer.send(
                self._topic, value, key=key, partition=partition, headers=headers
            )
        )
        if len(self._waiting) >= WAITING:
            await self.empty()

    async def empty(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sent in waiting:
            await sent  # type: ignore[misc]  # a future of aiokafka's
