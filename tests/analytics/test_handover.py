"""Checkpoints, kills and rebalances, as the worker does them, in the tiny world.

The protocol is that of ``docs/delivery.md`` (T1 to T6) without Kafka: logs are
lists, the table and the market's checkpoint are dictionaries, the results topic is
a list. Whatever happens when, the topic's last record of each key is what the
oracle says, and no record repeats what the one before it says.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from analytics.engine import Engine
from analytics.results import MONEY_FAMILIES, Result
from analytics.rows import Change
from tests.analytics.tiny_live import Said, compare, drawn
from tests.analytics.tiny_world import (
    CALENDAR,
    DAYS,
    Transaction,
    Upsert,
    World,
    histories,
    lot,
    portfolio,
    price,
)

PARTITIONS = 2
MARKET = None


@dataclass
class Checkpoint:
    """What was written of one partition, or of the market."""

    rows: dict[Any, bytes] = field(default_factory=dict)
    said: dict[int, bytes] = field(default_factory=dict)
    p: int = 0
    m: int = 0
    topic: int = 0


@dataclass
class Cluster:
    """What survives a kill: the logs, the checkpoints, the results topic."""

    logs: dict[int | None, list[tuple[list[Change], dict[str, Any]]]]
    stored: dict[int | None, Checkpoint]
    topic: list[Result] = field(default_factory=list)
    reader: Said = field(default_factory=Said)

    @classmethod
    def empty(cls) -> "Cluster":
        """Nothing has happened."""
        places = [MARKET, *range(PARTITIONS)]
        return cls(
            {place: [] for place in places}, {place: Checkpoint() for place in places}
        )

    def append(self, changes: list[Change], tx: str, chance: Random) -> None:
        """Append a transaction to the logs, in one record each or in several."""
        for place in self.logs:
            mine = [c for c in changes if _place(c) == place]
            while mine:
                cut = chance.choice([len(mine), len(mine), 1])
                record, mine = mine[:cut], mine[cut:]
                self.logs[place].append((record, {"tx": tx, "more": bool(mine)}))


def _place(change: Change) -> int | None:
    return None if change.portfolio is None else change.portfolio % PARTITIONS


class Worker:
    """A worker that owns every partition, until it is killed."""

    def __init__(self, cluster: Cluster, without: Collection[str] = ()) -> None:
        self.cluster = cluster
        self.without = without
        self.engine = Engine(CALENDAR, families=MONEY_FAMILIES)
        self.owned: set[int] = set()
        stored = cluster.stored[MARKET]
        for key, blob in stored.rows.items():  # T1
            self.engine.load_market(key, blob)
        self.engine.set_offsets(market=stored.m)
        self.fold(MARKET)  # T2
        for partition in range(PARTITIONS):
            self.take(partition)

    def take(self, partition: int) -> None:
        """T3 to T5 of one partition."""
        engine, stored = self.engine, self.cluster.stored[partition]
        engine.add_partition(partition)
        for owner, blob in stored.rows.items():  # T3
            engine.load_portfolio(partition, owner, blob)
        for session, blob in stored.said.items():
            engine.load_said(partition, session, blob)
        engine.set_offsets(partition=(partition, stored.p))
        ahead = bool(stored.p) and engine.market_offset() > stored.m
        if ahead and "touch_all" not in self.without:
            engine.touch_all(partition, since=stored.m)
        if "set_said" not in self.without:
            self.learn(partition, self.cluster.topic[stored.topic :])
        self.owned.add(partition)
        self.fold(partition)  # T5
        self.fold(MARKET)

    def learn(self, partition: int, tail: list[Result]) -> None:
        """T4: what was said since the checkpoint."""
        last = {(r.family, r.owner, r.session): r for r in tail}
        for (family, owner, session), result in last.items():
            if result.partition == partition:
                digest = None if result.content is None else result.digest
                self.engine.set_said(
                    partition, family, owner, session, digest, result.revision
                )

    def lose(self, partition: int) -> None:
        """A rebalance takes a partition away."""
        if partition in self.owned:
            self.owned.discard(partition)
            self.engine.drop_partition(partition)

    def fold(self, place: int | None, most: int | None = None) -> None:
        """Fold the next records of a log, all when ``most`` is None."""
        engine = self.engine
        start = (
            engine.market_offset() if place is None else engine.partition_offset(place)
        )
        end = None if most is None else start + most
        for offset, (record, flags) in enumerate(
            self.cluster.logs[place][start:end], start + 1
        ):
            if place is None:
                engine.fold_market(record, next_offset=offset, **flags)
            else:
                engine.fold_partition(place, record, next_offset=offset, **flags)

    def derive(self, chance: Random) -> None:
        """Publish, some or all."""
        limit = chance.choice([None, None, 2])
        families = chance.choice([("snapshots",), ("snapshots", "positions")])
        self.publish(self.engine.derive(families, limit))

    def publish(self, results: list[Result]) -> None:
        """Append to the topic; the reader reads."""
        self.cluster.topic += results
        self.cluster.reader.take(results)

    def settle(self) -> None:
        """Derive all that is there to derive."""
        while results := self.engine.derive():
            self.publish(results)

    def write(self, partition: int) -> None:
        """E6: the state of a partition, right after a derivation."""
        if partition not in self.owned:
            return
        self.settle()
        stored = self.cluster.stored[partition]
        stored.rows |= self.engine.dump_portfolios(partition)
        if "said" not in self.without:
            stored.said |= self.engine.dump_said(partition)
        stored.p = self.engine.partition_offset(partition)
        stored.m = self.engine.market_offset()
        stored.topic = len(self.cluster.topic)

    def write_market(self) -> None:
        """E7: the market's state."""
        stored = self.cluster.stored[MARKET]
        stored.rows |= self.engine.dump_market()
        stored.m = self.engine.market_offset()


def survives(
    history: list[Transaction], chance: Random, without: Collection[str] = ()
) -> None:
    """Play a history with interruptions; the reader ends up with the truth."""
    cluster, world = Cluster.empty(), World()
    worker = Worker(cluster, without)
    for number, transaction in enumerate(history):
        cluster.append(world.commit(transaction), str(number), chance)
        for _ in range(chance.randint(0, 6)):
            worker = disturbed(worker, chance)
            worker.engine.validate()
    for partition in range(PARTITIONS):
        if partition not in worker.owned:
            worker.take(partition)
        worker.fold(partition)
    worker.fold(MARKET)
    worker.settle()
    result = compare(world, cluster.reader)
    assert result.first is None, str(result.first)


def disturbed(worker: Worker, chance: Random) -> Worker:
    """Something happens to a worker."""
    partition = chance.randrange(PARTITIONS)

    def fold() -> None:
        place = chance.choice([MARKET, partition])
        if place is None or place in worker.owned:
            worker.fold(place, chance.randint(1, 3))

    def take() -> None:
        if partition not in worker.owned:
            worker.take(partition)

    happens: list[Callable[[], object]] = [
        *[fold] * 4,
        *[lambda: worker.derive(chance)] * 3,
        lambda: worker.write(partition),
        worker.write_market,
        lambda: worker.lose(partition),
        take,
        lambda: Worker(worker.cluster, worker.without),
    ]
    after = chance.choice(happens)()
    return after if isinstance(after, Worker) else worker


@given(histories(), st.randoms(use_true_random=False))
@drawn
def test_any_interruption_leaves_the_truth_on_the_topic(history, chance):
    survives(history, chance)


@pytest.mark.parametrize(("without", "right"), [((), True), (("touch_all",), False)])
def test_a_close_that_came_while_a_partition_was_away(without, right):
    cluster, world, chance = Cluster.empty(), World(), Random(0)  # noqa: S311
    worker = Worker(cluster, without)
    opening = [
        Upsert("portfolios", portfolio(2)),
        Upsert("market_data_cache", price("A", DAYS[0], 1)),
        Upsert("positions", lot(1, 2, "A", 1, 1, DAYS[0])),
    ]
    cluster.append(world.commit(opening), "0", chance)
    for place in (MARKET, 0, 1):
        worker.fold(place)
    worker.write(0)
    worker.lose(0)
    closer = [Upsert("market_data_cache", price("A", DAYS[0], 2))]
    cluster.append(world.commit(closer), "1", chance)
    worker.fold(MARKET)
    worker.settle()
    worker.take(0)
    worker.settle()
    assert (compare(world, cluster.reader).first is None) == right


@pytest.mark.parametrize("step", ["set_said", "said"])
def test_a_takeover_that_leaves_out_a_step_is_caught(step):
    def breaks(case: tuple[list[Transaction], int]) -> bool:
        try:
            survives(case[0], Random(case[1]), {step})  # noqa: S311  (seeded)
        except (AssertionError, KeyError):
            return True
        return False

    find(
        st.tuples(histories(), st.integers(0, 99)),
        breaks,
        settings=settings(drawn, max_examples=2000, phases=[Phase.generate]),
        random=Random(0),  # noqa: S311  (seeded)
    )
