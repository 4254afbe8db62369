"""How far a run is from live: by portfolio and metric, over its sessions.

The values of both sides are read a partition at a time: a portfolio's records are in
the same partition of the live topic and of the run's. Each metric that differs is a
record of ``replay.<run>.differences``; what is shown is a line of it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple, get_args

import msgspec
from aiokafka import ConsumerRecord

from connectors.difference_models import Kind
from connectors.kafka import read_to_end, started_producer
from connectors.settings import Settings
from connectors.sink import FAMILIES, Family, Revision
from connectors.sink_records import revision_of
from connectors.topics import Topic, compacted, ensure_topics
from replay.ask import Ask
from replay.branch import differences_topic
from replay.logs import Prefix
from replay.metrics import HEADLINES, MEASURED, Number, kind_of, less, numbers_of
from replay.said import DIGEST, GONE, Wanted, cell_of, wanted_by

KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which they are shown."""


class Record(NamedTuple):
    """What is kept of a record while its partition is compared."""

    digest: bytes
    revision: Revision
    value: bytes | None


NOTHING = Record(GONE, (0, 0, 0), None)


class At(msgspec.Struct, frozen=True):
    """A metric in one session, as live and the run have it."""

    session: date
    live: Number
    replayed: Number
    difference: Number

    @property
    def size(self) -> float:
        """Absolute value of the difference; 0 where there is no number."""
        return abs(float(self.difference or 0))


class Line(msgspec.Struct, frozen=True):
    """A metric of a portfolio, in short.

    Attributes
    ----------
    sessions
        In how many it differs.
    largest
        Where it differs most; of several such sessions the newest. Where nothing
        differs, or a null stands against a number: the newest session.
    newest
        In the newest session in which it differs.
    headline
        In the newest session of all, whether it differs or not: of what is asked for
        first (``metrics.HEADLINES``) when a run is as of a time.
    """

    kind: Kind
    portfolio: int
    metric: str
    sessions: int
    largest: At
    newest: At
    headline: At | None = None


class Differences(msgspec.Struct):
    """What a comparison with live found.

    Attributes
    ----------
    cells, differ
        Portfolio-days that one side or both have, and those with a number that is
        not the same.
    ahead
        Records of live that know more of the journal than the run.
    lines
        By kind and size, the largest first; at the end those of no number.
    """

    cells: int = 0
    differ: int = 0
    ahead: int = 0
    lines: list[Line] = []


class Series:
    """A metric of a portfolio, session by session."""

    def __init__(self) -> None:
        self.at: list[At] = []
        self.headline: At | None = None

    def line(self, portfolio: int, metric: str) -> Line:
        """Say it in short."""
        largest = newest = self.at[-1] if self.at else self.headline
        assert largest  # noqa: S101 - one of both is there
        assert newest  # noqa: S101
        for at in self.at:
            if at.size >= largest.size:
                largest = at
        kind = kind_of(metric)
        many = len(self.at)
        return Line(kind, portfolio, metric, many, largest, newest, self.headline)


class Comparer:
    """Compares what a run says with what is live, and publishes what differs.

    Parameters
    ----------
    live, branch
        Settings of both.
    run, ask, prefix
        Of the run: its name, what was asked for, what it was fed.
    """

    def __init__(
        self, live: Settings, branch: Settings, run: str, ask: Ask, prefix: Prefix
    ) -> None:
        self._live = live
        self._branch = branch
        self._run = run
        self._ask = ask
        self._prefix = prefix
        self._topic = differences_topic(run)
        self._families = [f for f in FAMILIES if f.name in MEASURED]
        self._differing: set[bytes] = set()
        self._cells: set[bytes] = set()
        self.found = Differences()

    async def run(self) -> Differences:
        """Compare every partition."""
        many = self._live.topics.partitions
        await ensure_topics(
            self._branch, topics=[Topic(self._topic, many, compacted())]
        )
        for partition in range(many):
            series: dict[tuple[int, str], Series] = defaultdict(Series)
            for family in self._families:
                if family.name in self._ask.families:
                    await self._family(family, partition, series)
            await self._publish(partition, series)
            self.found.lines += [s.line(*key) for key, s in series.items()]
            self.found.differ += len(self._differing)
            self.found.cells += len(self._cells)
            self._differing.clear()
            self._cells.clear()
        order = {kind: place for place, kind in enumerate(KINDS)}
        self.found.lines.sort(
            key=lambda x: (order[x.kind], -x.largest.size, x.portfolio, x.metric)
        )
        return self.found

    async def _family(
        self, family: Family, partition: int, series: dict[tuple[int, str], Series]
    ) -> None:
        wanted = wanted_by(self._ask, family)
        ours, theirs = await asyncio.gather(
            held(self._branch, family, partition, wanted),
            held(self._live, family, partition, wanted),
        )
        keys = sorted(ours.keys() | theirs.keys(), key=cell_of)
        newest = max((key.rpartition(b"|")[2] for key in keys), default=b"")
        for key in keys:
            mine, other = ours.get(key, NOTHING), theirs.get(key, NOTHING)
            if mine.digest == other.digest == GONE:
                continue
            self._cells.add(key)
            self.found.ahead += self._is_ahead(partition, other.revision)
            shown = key.endswith(newest) and self._ask.as_of is not None
            if mine.digest != other.digest or shown:
                self._cell(family, key, (mine, other), series, shown=shown)

    def _is_ahead(self, partition: int, known: Revision) -> bool:
        p, m, _ = known
        prefix = self._prefix
        return self._ask.as_of is None and (
            p > prefix.portfolios[partition] or m > prefix.market
        )

    def _cell(
        self,
        family: Family,
        key: bytes,
        both: tuple[Record, Record],
        series: dict[tuple[int, str], Series],
        *,
        shown: bool,
    ) -> None:
        """Take the differences of a cell into the series of its portfolio."""
        mine, live = (numbers_of(family, record.value) for record in both)
        owner, session = cell_of(key)
        for metric in live | mine:
            ours, theirs = mine.get(metric), live.get(metric)
            at = At(session, theirs, ours, less(ours, theirs))
            if ours != theirs:
                series[int(owner), metric].at.append(at)
                self._differing.add(key)
            if shown and metric in HEADLINES:
                series[int(owner), metric].headline = at

    async def _publish(
        self, partition: int, series: dict[tuple[int, str], Series]
    ) -> None:
        """Say each metric that differs on the run's own topic."""
        encode = msgspec.json.Encoder(decimal_format="number").encode
        async with started_producer(self._branch) as producer:
            for (portfolio, metric), found in series.items():
                if found.at:
                    key = f"{portfolio}|{metric}".encode()
                    value = encode(self._record(portfolio, metric, found.at))
                    await producer.send(
                        self._topic, value, key=key, partition=partition
                    )

    def _record(
        self, portfolio: int, metric: str, found: Iterable[At]
    ) -> dict[str, object]:
        """Make a record; ``connectors.difference_models`` says what it holds."""
        names = ("session", "live", "replayed", "difference")
        return {
            "run": self._run,
            "portfolio": portfolio,
            "metric": metric,
            "kind": kind_of(metric),
            **{name: [getattr(at, name) for at in found] for name in names},
        }


async def held(
    settings: Settings, family: Family, partition: int, wanted: Wanted
) -> dict[bytes, Record]:
    """Read a partition of a results topic: the highest revision of each wanted key."""
    found: dict[bytes, Record] = {}
    topic = family.topic(settings.topics)
    async for records in read_to_end(settings, topic, partition):
        for key, record in _records(records, wanted):
            before = found.get(key)
            if before is None or record.revision >= before.revision:
                found[key] = record
    return found


def _records(
    records: Iterable[ConsumerRecord], wanted: Wanted
) -> Iterator[tuple[bytes, Record]]:
    for record in records:
        if record.key is None or not wanted(record.key):
            continue
        digest = dict(record.headers).get(DIGEST)
        if digest is not None:
            value = None if digest == GONE else record.value
            yield record.key, Record(digest, revision_of(record), value)
