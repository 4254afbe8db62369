"""The process ``worker``: the journal in, results out.

Starting (``docs/delivery.md``, T1 to T6):

T1. the market from its checkpoint;
T2. the market's log up to the end that is seen now: only then
T3. the group is joined, and for each partition that it gives, see `Portfolios`.

Ending, in seven seconds at most (a supervisor kills after eight):

Z1. nothing is folded any more;
Z2. what was folded is derived, published, put down and acknowledged;
Z3. the group is left, which gives the partitions to others at once.

If anything fails the worker ends without Z2, and the failure is its exit: what was
not put down is done again by whoever takes over.
"""

import asyncio
import logging
import shutil
from contextlib import AsyncExitStack, suppress
from time import monotonic

from aiokafka.errors import KafkaError

from connectors.health import HealthServer
from connectors.memory import keep_freed
from connectors.settings import Settings
from connectors.steps import Step, crash
from connectors.topics import Topic, compacted, ensure_topics, worker_topics
from streams.app import changelog_topic, data_directory
from streams.flush import Flush
from streams.parts import assemble
from streams.portfolios import Portfolios
from streams.watch import Watch, WorkerHealth

logger = logging.getLogger(__name__)

NOISY = ("aiokafka", "faust", "mode")
"""They tell of each step of a rebalance; ours tells what came of it."""

END_S = 7.0
"""How long ending may take; the steps below have of it what is left."""
PUT_DOWN_S = 4.0
COMMIT_S = 1.0
TELL_S = 1.0
LEAVE_S = 4.0
MINUTE = 60_000


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Run one worker until ``stop`` is set.

    Raises
    ------
    Exception
        Whatever made it impossible to go on.
    """
    keep_freed()
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    await ensure_topics(settings, [changelog(settings)], worker_topics(settings))
    try:
        await Worker(settings).run(stop)
    finally:
        shutil.rmtree(data_directory(settings.home), ignore_errors=True)


def changelog(settings: Settings) -> Topic:
    """Topic of the table, with policies that keep it short.

    Faust gives its changelogs no segment size, and a segment that is not closed is
    never compacted: recovery would read every checkpoint there ever was.
    """
    policies = compacted(
        **{
            "segment.ms": str(2 * MINUTE),
            "min.cleanable.dirty.ratio": "0.1",
            "max.compaction.lag.ms": str(5 * MINUTE),
            "delete.retention.ms": str(60 * MINUTE),
        }
    )
    return Topic(changelog_topic(settings), settings.topics.partitions, policies)


class Worker:
    """One worker process, from its start to its end; see the module's text."""

    def __init__(self, settings: Settings) -> None:
        self._work = asyncio.Event()
        self._parts = assemble(settings, self._work.set)
        self._flush = Flush(self._parts, self._work)
        self._portfolios = Portfolios(
            self._parts, self._work.set, self._flush.before_revoke
        )
        self._flush.wire(self._portfolios)
        self._parts.metrics.busy(self._flush.busy)
        self._health = WorkerHealth()
        self._server = HealthServer(
            settings.home,
            "worker",
            self._health,
            self._parts.metrics.registry,
            settings.worker.web_port,
        )
        self._end_by = float("inf")
        self._failure: asyncio.Future[None] = asyncio.Future()
        self._parts.faust.wire(self._portfolios, self._fail)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set or something fails; then end.

        Raises
        ------
        Exception
            What failed.
        """
        life = asyncio.create_task(self._live())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({life, stopped}, return_when=asyncio.FIRST_COMPLETED)
        self._end_by = monotonic() + END_S
        if not life.done():
            await self._put_down()
            with suppress(TimeoutError, KafkaError):
                told = self._parts.catch_up.stopped()
                await asyncio.wait_for(told, self._at_most(TELL_S))
        await self._leave()
        stopped.cancel()
        life.cancel()
        await asyncio.wait({life}, timeout=self._at_most(LEAVE_S))
        if life.done() and not life.cancelled():
            life.result()

    def _at_most(self, seconds: float) -> float:
        """How long a step of ending may take."""
        return max(0.0, min(seconds, self._end_by - monotonic()))

    async def _live(self) -> None:
        """T1 to T3, then everything that goes on until the end."""
        parts = self._parts
        async with AsyncExitStack() as clients:
            for client in (self._server, parts.filler, parts.publisher):
                clients.push_async_callback(client.stop)
                await client.start()
            await parts.market_state.take_up(parts.filler)  # T1
            crash.done(Step.T1)
            try:
                await self._together()
            except Exception as error:
                await parts.catch_up.failed(error)
                raise

    async def _together(self) -> None:
        parts = self._parts
        watch = Watch(
            parts, self._portfolios, self._health, self._work.set, self._flush.busy
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._failing())
                tasks.create_task(watch.beat())
                tasks.create_task(parts.market.run())
                ends = await parts.filler.ends([parts.market.place])
                await parts.market.reached(ends[parts.market.place])  # T2
                crash.done(Step.T2)
                logger.info("market is at %d", parts.engine.market_offset())
                tasks.create_task(self._flush.run())
                tasks.create_task(watch.run())
                tasks.create_task(parts.faust.app.start())  # T3
                tasks.create_task(parts.catch_up.run(self._has_caught_up))
        except BaseExceptionGroup as group:
            # One failure cancels the others: it is the first, and says why.
            raise group.exceptions[0] from None

    def _has_caught_up(self) -> bool:
        health = self._health
        return health.ready and not health.lag and not self._flush.busy()

    async def _failing(self) -> None:
        """End with the failure of whatever Faust called."""
        await self._failure

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _put_down(self) -> None:
        """Z1, Z2: nothing more is folded; what was is published and put down."""
        self._portfolios.stop_folding()
        self._parts.faust.ending()
        crash.done(Step.Z1)
        if await self._flush.put_down(self._at_most(PUT_DOWN_S)):
            with suppress(TimeoutError):
                commit = self._parts.faust.commit()
                await asyncio.wait_for(commit, self._at_most(COMMIT_S))
        crash.done(Step.Z2)

    async def _leave(self) -> None:
        """Z3: leave the group; if that takes too long, the session runs out."""
        self._parts.ownership.revoke()
        await self._parts.faust.stop(self._at_most(LEAVE_S))
        crash.done(Step.Z3)
