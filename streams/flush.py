"""The flush: what was folded is derived, published, put down, acknowledged.

One loop, one cycle at a time, in the order of ``docs/delivery.md``:

E1, E2. records are decoded and folded (`Folder`), while nobody waits for anything;
E3. results are derived (not all at once: chunks of all, slices of what can wait);
E4. they are published (what is published at once goes ahead of what is conflated);
    their storage is awaited in the next cycle, after its E3 (`Outbox`);
and once in a checkpoint's interval, of everything derived until then
E4. the storage of all of it is awaited;
E5. dead letters are written;
E6. the partitions' states are written, each with its seal last;
E7. the market's state is written, by the owner of partition 0;
E8. events are acknowledged.

A kill between any two leaves only a repetition: results of the same revision and
content, which are recognised by their digests at the next take-over.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import monotonic

from analytics.results import ALL_FAMILIES, SNAPSHOTS, Result
from connectors.deadletters import encode_letter
from connectors.steps import Step, crash
from streams.metrics import Phase
from streams.outbox import Outbox
from streams.pace import Pace, Rounds, StepWatch, aim_of
from streams.parts import Parts
from streams.portfolios import WRITER_OF_THE_MARKET, Portfolios
from streams.publisher import NotOwnerError
from streams.record import Record
from streams.state import Dump

logger = logging.getLogger(__name__)

IMMEDIATE = (SNAPSHOTS,)
"""Families published at once."""
CONFLATED = tuple(family for family in ALL_FAMILIES if family not in IMMEDIATE)
"""Families of which a new version waits for the time of conflation."""
BULK_RECORDS = 20
"""So many records behind, folding goes first."""
BULK_S = 1.0
"""... but not for longer than this."""
BULK_LOOK_S = 0.01
UNCONFIRMED_LOOK_S = 0.05
REVOKE_S = 3.0
"""How long a rebalance waits for us to put down what we give back."""


class Flush:
    """See the module's text; `run` is the loop.

    Parameters
    ----------
    parts
        Of the worker.
    work
        Set by whoever folded something or saw something to repair.
    """

    def __init__(self, parts: Parts, work: asyncio.Event) -> None:
        self._parts = parts
        self._engine = parts.engine
        self._worker = parts.settings.worker
        self._portfolios: Portfolios
        self._work = work
        self._cycling = asyncio.Lock()
        self._pace = Pace(self._worker.rate)
        self._rounds = Rounds(self._worker.conflate_ms / 1000, self._pace.most)
        self._checkpoint_at = monotonic() + self._worker.checkpoint_s

    def wire(self, portfolios: Portfolios) -> None:
        """Say whose partitions are flushed."""
        self._portfolios = portfolios
        parts = self._parts
        self._outbox = Outbox(
            parts.publisher,
            parts.metrics,
            parts.catch_up,
            portfolios.drop,
            self._work.set,
        )

    def busy(self) -> bool:
        """Whether what is folded is not wholly published yet."""
        waits = self._outbox.pending or self._engine.touched()
        return self._cycling.locked() or waits

    async def run(self) -> None:
        """Flush until cancelled."""
        try:
            while True:
                await self._sleep()
                await self._let_fold()
                async with self._cycling:
                    if self._may_flush():
                        await self._cycle(checkpoint=monotonic() >= self._checkpoint_at)
                    else:
                        await self._outbox.stored()
                if not self._may_flush():
                    await asyncio.sleep(UNCONFIRMED_LOOK_S)
                await asyncio.sleep(self._pace.rest(monotonic()))
        finally:
            self._outbox.close()

    async def put_down(self, seconds: float) -> bool:
        """Flush everything and write a checkpoint, within a time; whether it was."""
        cycle = asyncio.create_task(self._last_cycle())
        await asyncio.wait({cycle}, timeout=seconds)
        if cycle.done():
            return cycle.result()
        # It goes on until its next step that needs the partition.
        cycle.add_done_callback(_log_outcome)
        return False

    async def before_revoke(self) -> None:
        """While the partitions are still ours: spare the next owner the work.

        Not if we are in the middle of a bulk load, which would take too long, or
        if the group does not know us any more: then they are another's by now.
        """
        if self._may_flush() and not self._is_behind():
            await self.put_down(REVOKE_S)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._outbox.stored(), REVOKE_S)

    # --- when ---

    async def _sleep(self) -> None:
        """Until there is work, conflated results are due, or a checkpoint is."""
        if self._rests:
            return
        until = self._checkpoint_at
        if self._engine.touched():
            until = min(until, self._rounds.next_at)
        try:
            async with asyncio.timeout(max(0.0, until - monotonic())):
                await self._work.wait()
        except TimeoutError:
            return
        self._work.clear()

    async def _let_fold(self) -> None:
        """Let neighbours arrive; while behind, fold first, for a second at most.

        Not between the chunks of what is derived already.
        """
        await asyncio.sleep(self._worker.flush_ms / 1000)
        if self._rests:
            return
        until = monotonic() + BULK_S
        while self._is_behind() and monotonic() < until:  # noqa: ASYNC110 - both move
            await asyncio.sleep(BULK_LOOK_S)

    @property
    def _rests(self) -> bool:
        """Whether there is more to derive at once, of what was looked at already."""
        return self._rounds.under_way or self._engine.waiting(IMMEDIATE) > 0

    def _is_behind(self) -> bool:
        return self._parts.market.behind + self._portfolios.behind > BULK_RECORDS

    def _may_flush(self) -> bool:
        """Whether all we own is live and ours beyond doubt.

        What the engine holds of a partition that is still being brought up must
        not be published, so everything waits for it: a second or so.
        """
        ownership = self._parts.ownership
        live = ownership.live
        return bool(live) and live == ownership.owned and ownership.is_confirmed()

    # --- one cycle ---

    async def _last_cycle(self) -> bool:
        async with self._cycling:
            if self._may_flush():
                return await self._cycle(checkpoint=True, last=True)
        return False

    async def _cycle(self, *, checkpoint: bool, last: bool = False) -> bool:
        """E3 to E8; whether all of it was done. Somebody waits for a ``last`` one."""
        watch = StepWatch()
        await self._repair()
        watch.lap("repair")
        if not self._may_flush():
            return False
        generation = self._parts.ownership.generation
        results = self._made(IMMEDIATE)
        if checkpoint or self._rounds.due(monotonic()):
            # What is published at once does not wait for what can.
            await self._outbox.publish(results)
            watch.lap("at once")
            if not self._may_flush():
                return False
            results = self._slice(live=last or bool(results))
        # States, what was said, and what is still to be looked at agree now.
        dumps = self._put_down() if checkpoint else {}
        market = self._put_down_market() if checkpoint else None
        crash.done(Step.E3)
        watch.lap("derive")
        await self._outbox.publish(results)  # E4, and its storage in the next cycle
        watch.lap("publish")
        done = True
        if checkpoint:
            await self._outbox.stored()
            done = await self._checkpoint(dumps, market, generation)
            watch.lap("checkpoint")
        watch.tell()
        return done

    async def _checkpoint(
        self, dumps: dict[int, Dump], market: Dump | None, generation: int
    ) -> bool:
        """E5 to E8, of what is stored; whether all of it was done."""
        await self._write_letters()  # E5
        crash.done(Step.E5)
        if generation != self._parts.ownership.generation:
            # Another owner may have said something that these states do not know.
            self._distrust(dumps)
            return False
        sealed = await self._write_states(dumps)  # E6
        crash.done(Step.E6)
        await self._write_market(market)  # E7
        crash.done(Step.E7)
        self._portfolios.acknowledge(sealed)  # E8
        crash.done(Step.E8)
        self._checkpoint_at = monotonic() + self._worker.checkpoint_s
        return len(sealed) == len(dumps)

    async def _repair(self) -> None:
        """R1 to R3: set right what another writer left on our topics.

        What is on its way goes there too: it must be stored before they are read.
        """
        parts = self._parts
        lanes = (
            lane for p in parts.ownership.live for lane in parts.publisher.lanes(p)
        )
        if any(lane.foreign for lane in lanes):
            await self._outbox.stored()
        for partition in list(parts.ownership.live):
            generation = parts.ownership.generation

            def still_ours(p: int = partition, g: int = generation) -> bool:
                return p in parts.ownership.live and g == parts.ownership.generation

            for family, lane in parts.publisher.result_lanes(partition).items():
                await parts.tails.repair(family, lane, still_ours)
            if parts.states.lane(partition).take_foreign():
                parts.states.distrust(partition)
        if parts.market_state.lane.take_foreign():
            parts.market_state.distrust()
        parts.tails.restore_order()

    def _slice(self, *, live: bool) -> list[Result]:
        """E3 of a slice of what is conflated, and of what is published at once."""
        results = self._made(IMMEDIATE)
        live |= bool(results)
        began = monotonic()
        self._rounds.begin(began, self._engine.waiting(CONFLATED))
        aim = aim_of(live=live, catching_up=self._parts.catch_up.open)
        self._rounds.aim_at(aim)
        results += self._made(CONFLATED, self._rounds.slice)
        left = self._engine.waiting(CONFLATED)
        self._rounds.derived(monotonic() - began, left)
        return results

    def _made(self, families: Sequence[str], limit: int | None = None) -> list[Result]:
        with self._parts.metrics.spending(Phase.DERIVE):
            results = self._engine.derive(families, limit or self._pace.most)
        self._pace.made(len(results))
        return results

    # --- checkpoints ---

    def _put_down(self) -> dict[int, Dump]:
        """States of what is live; not while a repair is not over.

        Whoever takes over from the checkpoint before must find the repair to do.
        """
        states, tails = self._parts.states, self._parts.tails
        live = self._parts.ownership.live
        return {p: states.put_down(p) for p in live if not tails.waits(p)}

    def _put_down_market(self) -> Dump | None:
        if WRITER_OF_THE_MARKET in self._parts.ownership.live:
            return self._parts.market_state.put_down()
        return None

    def _distrust(self, dumps: Iterable[int]) -> None:
        """Have everything written next time: what was taken out was not."""
        for partition in dumps:
            self._parts.states.distrust(partition)
        self._parts.market_state.distrust()

    async def _write_letters(self) -> None:
        """E5; every worker writes those of the market, under the same key."""
        for letter in self._parts.folder.take_letters():
            key, value = encode_letter(letter)
            record = Record(key, value)
            topic = self._parts.settings.topics.deadletters
            await self._parts.publisher.append(topic, record)
            self._parts.metrics.letters.inc()
            logger.warning("not readable: %s: %s", letter.id, letter.value)

    async def _write_states(self, dumps: dict[int, Dump]) -> dict[int, int]:
        """E6; returns the next offset of each partition that was sealed."""
        outcomes = await asyncio.gather(
            *(
                self._parts.states.write(p, dump, self._said_until(p))
                for p, dump in dumps.items()
            ),
            return_exceptions=True,
        )
        sealed = {}
        for (partition, dump), outcome in zip(dumps.items(), outcomes, strict=True):
            if isinstance(outcome, NotOwnerError):
                # What was taken out of the engine is written nowhere.
                self._portfolios.drop(partition)
            elif outcome is not None:
                raise outcome
            else:
                sealed[partition] = dump.p
                self._parts.metrics.checkpoints.inc()
        return sealed

    def _said_until(self, partition: int) -> dict[str, int]:
        """By family, the offset before which a checkpoint knows what was said."""
        lanes = self._parts.publisher.result_lanes(partition)
        return {
            family: min([lane.expected or 0, *(start for start, _ in lane.foreign)])
            for family, lane in lanes.items()
        }

    async def _write_market(self, dump: Dump | None) -> None:
        if dump is None:
            return
        try:
            await self._parts.market_state.write(dump)
        except NotOwnerError:
            self._parts.market_state.distrust()


def _log_outcome(cycle: "asyncio.Task[bool]") -> None:
    """Log how a cycle failed that outlived its time; nobody waits for it."""
    if not cycle.cancelled() and (error := cycle.exception()):
        logger.warning("a flush that was not waited for failed: %s", error)
