"""Once a second: look at the logs' ends, measure, see that it goes on, mend.

Faust's recovery can hang and swallows exceptions, and its own stall detector
mixes two clocks. So the worker watches itself: a recovery to which nothing comes
for five seconds is begun again; if there is something to do and nothing is done for
a minute, or results wait so long for the group's word that they are ours, the worker
ends, and whoever runs it starts another. It ends at once if Faust crashed. If the event
loop itself stands still for two minutes, the interpreter writes where every thread is
and ends the process, without the loop's help.
"""

import asyncio
import faulthandler
import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from connectors.health import (
    FROZEN_S,
    STALL_S,
    TICK_S,
    Health,
    StalledError,
)
from streams.filler import must_reach
from streams.parts import Parts
from streams.portfolios import WRITER_OF_THE_MARKET, Portfolios

logger = logging.getLogger(__name__)

RECOVERY_S = 5.0
READY_LAG = 1000
"""Records behind, of both logs together, up to which a worker is ready."""


class WorkerHealth(Health):
    """What a worker says of itself, beside what every process says.

    Attributes
    ----------
    lag
        Records behind the ends of the logs.
    owned, published
        Partitions assigned, and those whose results are published.
    market
        Next record of the market.
    folded
        Next record of each partition that is published.
    """

    lag: int = 0
    owned: list[int] = msgspec.field(default_factory=list)
    published: list[int] = msgspec.field(default_factory=list)
    market: int = 0
    folded: dict[int, int] = msgspec.field(default_factory=dict)


class Standstill:
    """How long something that should go on has not, as far as it was looked at."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._idle_s = 0.0
        self._looked = monotonic()

    def seconds(self, progress: Any, *, busy: bool) -> float:
        """Seconds without progress while there is something to do."""
        looked, self._looked = self._looked, monotonic()
        if not busy or progress != self._progress:
            self._progress, self._idle_s = progress, 0.0
        else:
            # A process that was frozen has not stood still: it looks once more.
            self._idle_s += min(self._looked - looked, STALL_S / 2)
        return self._idle_s


class Watch:
    """The worker's own watch; `run` is its loop.

    Parameters
    ----------
    parts, portfolios
        What is watched.
    health
        Kept up to date; it is what `HealthServer` answers.
    wake
        Called when a log shows records of another writer.
    waits
        Whether something that is folded waits to be derived or stored; not while it
        is half a transaction.
    """

    def __init__(
        self,
        parts: Parts,
        portfolios: Portfolios,
        health: WorkerHealth,
        wake: Callable[[], None],
        waits: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._portfolios = portfolios
        self._health = health
        self._wake = wake
        self._waits = waits
        self._folding = Standstill()
        self._publishing = Standstill()
        self._pushed = monotonic()

    async def beat(self) -> None:
        """Keep the interpreter from ending a process whose loop goes on."""
        try:
            while True:
                faulthandler.dump_traceback_later(FROZEN_S, exit=True)
                await asyncio.sleep(TICK_S)
        finally:
            faulthandler.cancel_dump_traceback_later()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises
        ------
        StalledError
            See the module's text.
        FaustCrashError
            If Faust crashed.
        MissingRecordsError
            If a log ends before what was folded of it.
        """
        mending: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(TICK_S)
                folded = self._portfolios.folded()
                ends = await self._ends()
                self._parts.faust.raise_crash()
                must_reach(ends, folded)
                self._look_for_strangers(ends)
                self._measure(ends)
                # Mending can take long (a state from nothing): do not wait for it.
                if mending is None or mending.done():
                    if mending is not None:
                        mending.result()
                    mending = asyncio.create_task(self._portfolios.mend(ends))
        finally:
            if mending is not None:
                mending.cancel()

    async def _ends(self) -> dict[TopicPartition, int]:
        """Ask for the logs' ends; nothing is known while no broker answers."""
        try:
            return await self._parts.filler.ends_now(self._places())
        except KafkaError as error:
            logger.warning("the logs' ends are not known: %r", error)
            return {}

    def _places(self) -> list[TopicPartition]:
        parts = self._parts
        live = list(parts.ownership.live)
        places = [parts.market.place]
        places += [self._portfolios.place(p) for p in parts.ownership.owned]
        for partition in live:
            lanes = parts.publisher.result_lanes(partition).values()
            places += [lane.place for lane in lanes]
            places.append(parts.states.lane(partition).place)
        if WRITER_OF_THE_MARKET in live:
            places.append(parts.market_state.lane.place)
        return places

    def _look_for_strangers(self, ends: Mapping[TopicPartition, int]) -> None:
        """See ends that moved while we sent nothing: somebody else moved them."""
        for partition in self._parts.ownership.live:
            for lane in self._parts.publisher.lanes(partition):
                if lane.place in ends and not lane.sending:
                    lane.seen_end(ends[lane.place])
                    if lane.foreign:
                        self._wake()

    def _measure(self, ends: Mapping[TopicPartition, int]) -> None:
        parts, health = self._parts, self._health
        ownership, engine = parts.ownership, parts.engine
        market_lag = max(0, ends.get(parts.market.place, 0) - engine.market_offset())
        lag = sum(
            max(0, ends.get(self._portfolios.place(p), 0) - engine.partition_offset(p))
            for p in ownership.live
        )
        parts.metrics.lag(parts.settings.topics.market, market_lag)
        parts.metrics.lag(parts.settings.topics.portfolios, lag)
        owned, live = len(ownership.owned), len(ownership.live)
        parts.metrics.partitions(owned=owned, live=live)
        health.lag, health.market = market_lag + lag, engine.market_offset()
        health.owned = sorted(ownership.owned)
        health.folded = {p: engine.partition_offset(p) for p in ownership.live}
        health.published = sorted(ownership.live)
        confirmed = self._is_confirmed()
        # What waits in the engine does not count: it may be half a transaction.
        idle_s = self._fold_idle_s(busy=bool(health.lag or owned != live))
        health.idle_s = max(idle_s, self._publish_idle_s(confirmed=confirmed))
        health.reason = self._reason(known=bool(ends), confirmed=confirmed)
        health.ready = not health.reason
        self._push_recovery(idle_s)
        health.live = health.idle_s < STALL_S
        if not health.live:
            why = health.reason or f"{health.lag} records behind"
            message = f"nothing was done for {health.idle_s:.0f} s: {why}"
            raise StalledError(message)

    def _is_confirmed(self) -> bool:
        """Whether the group has taken us in, and answers."""
        ownership = self._parts.ownership
        return ownership.generation >= 0 and ownership.is_confirmed()

    def _push_recovery(self, idle_s: float) -> None:
        """Begin a recovery again to which nothing comes."""
        recovering = self._parts.ownership.owned and self._portfolios.recovering
        since_push = monotonic() - self._pushed
        if recovering and min(idle_s, since_push) > RECOVERY_S:
            logger.warning("recovery stands still: begun again")
            self._parts.faust.recover_again()
            self._pushed = monotonic()

    def _fold_idle_s(self, *, busy: bool) -> float:
        progress = (
            self._parts.engine.market_offset(),
            self._parts.ownership.generation,
            self._portfolios.offsets(),
            self._parts.publisher.batches,
            len(self._parts.faust.items),
        )
        return self._folding.seconds(progress, busy=busy)

    def _publish_idle_s(self, *, confirmed: bool) -> float:
        """How long results have waited for the group's word that they are ours."""
        ownership = self._parts.ownership
        busy = bool(ownership.live) and not confirmed and self._waits()
        progress = (ownership.generation, self._parts.publisher.batches)
        return self._publishing.seconds(progress, busy=busy)

    def _reason(self, *, known: bool, confirmed: bool) -> str:
        """Why the worker is not ready; empty if it is."""
        owned, live = len(self._health.owned), len(self._health.published)
        if not known:
            return "the brokers do not answer"
        if not confirmed:
            return "the group does not answer"
        if live < owned:
            return f"{owned - live} of {owned} partitions are being taken over"
        if self._health.lag > READY_LAG:
            return f"{self._health.lag} records behind"
        return ""
