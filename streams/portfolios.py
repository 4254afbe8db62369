"""The agent's side: partitions come, are brought up to date, are folded, and go.

Faust's committed offsets are a hint. What counts is the engine's own next offset
of each partition: an older record is skipped, and whatever lies between the next
offset and the record in hand (or the end of the log) is read from the log itself.

Taking over a partition, T3 to T6 of ``docs/delivery.md``:

T3. its state from the table, unless we hold it already (`PartitionStates`);
T4. what its results topics say beyond that (`Tails`);
T5. the journal up to the end that is seen now, and the market up to its own;
T6. it is live: it may be published.

A state that is held outlives a rebalance: it is a function of a prefix of a log
that only grows, whoever owned the partition meanwhile. So T3 is skipped for a
partition that stays, T4 reads what a possible owner in between has said, and T5
what was appended.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition

from connectors.memory import spare_the_collector
from connectors.steps import Step, crash, offsets
from streams.app import FaustApp
from streams.checkpoint import by_partition
from streams.filler import must_reach
from streams.parts import Parts

logger = logging.getLogger(__name__)

WRITER_OF_THE_MARKET = 0
"""Partition whose owner writes the market's checkpoint."""


class Portfolios:
    """Owns the partitions' side of the engine; see the module's text.

    It is what Faust tells of events and rebalances (`streams.app.Handler`).

    Parameters
    ----------
    parts
        Of the worker.
    wake
        Called after records were folded or a partition went live.
    before_revoke
        Awaited before all partitions are given back, while they are still ours.
    """

    def __init__(
        self,
        parts: Parts,
        wake: Callable[[], None],
        before_revoke: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._parts = parts
        self._engine = parts.engine
        self._folder = parts.folder
        self._faust: FaustApp = parts.faust
        self._ownership = parts.ownership
        self._topic = parts.settings.topics.portfolios
        self._wake = wake
        self._before_revoke = before_revoke
        self._held: set[int] = set()
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._recovered = -1
        self._folding = True
        self._seen: dict[int, int] = {}
        self._unacknowledged: dict[int, deque[Any]] = defaultdict(deque)

    def place(self, partition: int) -> TopicPartition:
        """Name a partition of the journal."""
        return TopicPartition(self._topic, partition)

    def stop_folding(self) -> None:
        """Let what arrives lie: the worker is about to end."""
        self._folding = False

    def offsets(self) -> dict[int, int]:
        """Next offset of each partition whose state is held."""
        return {p: self._engine.partition_offset(p) for p in self._held}

    def folded(self) -> dict[TopicPartition, int]:
        """Next offset of each log of which a state is held, the market's too."""
        return self._next_offsets(self._held)

    def _next_offsets(self, partitions: Iterable[int]) -> dict[TopicPartition, int]:
        next_ = {self.place(p): self._engine.partition_offset(p) for p in partitions}
        return next_ | {self._parts.market.place: self._engine.market_offset()}

    @property
    def behind(self) -> int:
        """Records between the states and the log's ends as of the last fetch."""
        owned = self._ownership.live
        return sum(
            max(0, self._faust.highwater(p) - self._engine.partition_offset(p))
            for p in owned
        )

    @property
    def recovering(self) -> bool:
        """Whether Faust still has to say that the table is replayed."""
        return self._recovered != self._ownership.generation

    # --- what Faust tells ---

    async def on_event(self, event: Any) -> None:
        """Fold one record, after what is missing before it."""
        message = event.message
        partition, offset = message.partition, message.offset
        generation = message.generation_id
        if not self._may_fold(partition, generation):
            return
        if offset > self._engine.partition_offset(partition):
            await self._fill(partition, offset, generation)
            if not self._may_fold(partition, generation):
                return
        if offset == self._engine.partition_offset(partition):
            # Faust has Kafka's milliseconds as seconds.
            timestamp = round(message.timestamp * 1000)
            self._folder.portfolios(partition, offset, message.value, timestamp)
            self._wake()
        self._unacknowledged[partition].append(event)

    async def on_revoked(self) -> None:
        """Put everything down while it is ours, then give it back."""
        await self._before_revoke()
        self._ownership.revoke()
        self._unacknowledged.clear()

    async def on_assigned(self, partitions: frozenset[int]) -> None:
        """Keep the states of what stays, drop those of what has gone."""
        for partition in self._held - partitions:
            self.drop(partition)
        self._ownership.assign(partitions)
        generation = self._ownership.generation
        logger.info("generation %d: owns %s", generation, sorted(partitions))

    async def on_recovered(self) -> None:
        """Bring up what we own; not if it comes early, while nothing flows."""
        if not self._faust.flowing:
            return
        generation = self._recovered = self._faust.generation
        owned = self._ownership.owned
        await asyncio.gather(*(self.bring(p, generation) for p in owned))
        spare_the_collector()

    # --- taking over ---

    async def bring(self, partition: int, generation: int) -> None:
        """T3 to T6; ends early, without harm, when the partition goes meanwhile."""

        def still_ours() -> bool:
            # Whoever published for an older generation may have dropped it meanwhile.
            return self._may_fold(partition, generation)

        async with self._locks[partition]:
            holds = self._ownership.holds(partition, generation)
            if partition in self._ownership.live or not holds:
                return
            said_until = self._take_up(partition)  # T3
            crash.done(Step.T3)
            folded = self._next_offsets([partition])
            ends = await self._ends(partition)
            must_reach(ends, folded)
            if still_ours():
                await self._read_tails(partition, said_until, ends, still_ours)  # T4
                crash.done(Step.T4)
            await self._read_log(partition, ends[self.place(partition)], generation)
            await self._parts.market.reached(ends[self._parts.market.place])  # T5
            crash.done(Step.T5)
            if still_ours():
                self._parts.tails.judge(partition)
                self._ownership.go_live(partition)  # T6
                offset = self._engine.partition_offset(partition)
                logger.info("partition %d is live at %d", partition, offset)
                crash.done(Step.T6)
                self._wake()

    def drop(self, partition: int) -> None:
        """Forget a partition: another worker owns it, or our state is not true."""
        self._parts.states.forget(partition)
        self._parts.publisher.forget(partition)
        self._parts.tails.forget(partition)
        self._ownership.live.discard(partition)
        self._unacknowledged.pop(partition, None)
        self._held.discard(partition)

    def _take_up(self, partition: int) -> dict[str, int]:
        """T3; returns, by family, from where on its results must be read."""
        lanes = self._parts.publisher.result_lanes(partition)
        if partition in self._held:
            return {family: lane.expected or 0 for family, lane in lanes.items()}
        items = by_partition(self._faust.items.items()).get(partition, {})
        seal = self._parts.states.take_up(partition, items)
        self._held.add(partition)
        offsets.start(partition, self._engine.partition_offset(partition))
        if seal is None:
            return dict.fromkeys(lanes, 0)
        if self._engine.market_offset() > seal.m:
            # The engine folded these before it had the partition's portfolios.
            self._engine.touch_all(partition, since=seal.m)
        return {family: seal.results.get(family, 0) for family in lanes}

    async def _ends(self, partition: int) -> dict[TopicPartition, int]:
        """Ask for the ends of all logs that matter to a partition."""
        places = [self.place(partition), self._parts.market.place]
        lanes = self._parts.publisher.result_lanes(partition).values()
        places += [lane.place for lane in lanes]
        places += [self._parts.states.lane(partition).place]
        places += [self._parts.market_state.lane.place]
        return await self._parts.filler.ends(places)

    async def _read_tails(
        self,
        partition: int,
        starts: Mapping[str, int],
        ends: Mapping[TopicPartition, int],
        still_ours: Callable[[], bool],
    ) -> None:
        """T4, and from now on every lane of the partition is ours alone."""
        parts = self._parts
        for family, lane in parts.publisher.result_lanes(partition).items():
            stretch = (starts[family], ends[lane.place])
            await parts.tails.learn(family, lane, stretch, still_ours)
            lane.take_foreign()
        state = parts.states.lane(partition)
        state.expected = ends[state.place]
        market = parts.market_state.lane
        if partition == WRITER_OF_THE_MARKET:
            if market.expected != ends[market.place]:
                parts.market_state.distrust()
            market.expected = ends[market.place]

    # --- the log itself ---

    async def mend(self, ends: Mapping[TopicPartition, int]) -> None:
        """Once a second: bring what is not live, fill what Faust left out.

        A record that Faust dropped shows at the next one of its partition; if
        there is none, only the log's end shows it.
        """
        generation = self._ownership.generation
        for partition in self._ownership.owned:
            if partition not in self._ownership.live:
                if not self.recovering:
                    await self.bring(partition, generation)
                continue
            offset = self._engine.partition_offset(partition)
            end = ends.get(self.place(partition), 0)
            if self._seen.get(partition) == offset < end:
                await self._fill(partition, end, generation)
                self._wake()
            self._seen[partition] = offset

    async def _fill(self, partition: int, end: int, generation: int) -> None:
        async with self._locks[partition]:
            await self._read_log(partition, end, generation)

    async def _read_log(self, partition: int, end: int, generation: int) -> None:
        """Fold [next, end) from the log; stop at once when the partition goes."""
        if not self._may_fold(partition, generation):
            return
        start = self._engine.partition_offset(partition)
        place = self.place(partition)
        async for records in self._parts.filler.stretch(place, start, end, whole=True):
            for record in records:
                if not self._may_fold(partition, generation):
                    return
                if record.offset == self._engine.partition_offset(partition):
                    self._folder.portfolios(
                        partition, record.offset, record.value, record.timestamp
                    )
            await asyncio.sleep(0)

    def _may_fold(self, partition: int, generation: int) -> bool:
        return (
            self._folding
            and partition in self._held
            and self._ownership.holds(partition, generation)
        )

    # --- acknowledging ---

    def acknowledge(self, sealed: Mapping[int, int]) -> None:
        """E8: acknowledge what checkpoints include, in the log's order.

        Parameters
        ----------
        sealed
            Next offset of each partition whose checkpoint is stored.
        """
        for partition, offset in sealed.items():
            waiting = self._unacknowledged[partition]
            while waiting and waiting[0].message.offset < offset:
                waiting.popleft().ack()
