"""E4, overlapped: while one publication is on its way, the next is derived.

    publish   waits until the one before is stored, hands this one over, and returns
    stored    waits until the last one is stored

So at most one publication is on its way, in the order in which it was derived, and the
time that the brokers take is not lost. Whoever needs *all* to be stored (a checkpoint,
a repair, the end) asks ``stored`` first: only then do states, what was said, and the
topics agree.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from time import perf_counter

from analytics.results import Result
from connectors.steps import Step, crash
from streams.catch_up import CatchUp
from streams.metrics import Metrics, Phase
from streams.publisher import Publisher

ON_THE_WIRE_S = 0.001
"""What was handed over is compressed and written to the socket in this time; a
derivation keeps the event loop for itself."""


class Outbox:
    """What is on its way of one worker.

    Parameters
    ----------
    publisher, metrics, catch_up
        Of the worker; the last two are told what is stored.
    drop
        Called with a partition that was lost: of what the engine believes to have
        said of it, something is not so.
    wake
        Called when what was on its way is stored, or not: somebody should look.
    """

    def __init__(
        self,
        publisher: Publisher,
        metrics: Metrics,
        catch_up: CatchUp,
        drop: Callable[[int], None],
        wake: Callable[[], None],
    ) -> None:
        self._publisher = publisher
        self._metrics = metrics
        self._catch_up = catch_up
        self._drop = drop
        self._wake = wake
        self._sending: asyncio.Task[set[int]] | None = None
        self._results: Sequence[Result] = ()

    @property
    def pending(self) -> bool:
        """Whether something is on its way, or how it ended was not looked at."""
        return self._sending is not None

    async def publish(self, results: Sequence[Result]) -> None:
        """Hand results over when what went before is stored.

        Raises
        ------
        aiokafka.errors.KafkaError
            If the brokers did not take what went before.
        """
        await self.stored()
        if not results:
            return
        began, encoded = perf_counter(), self._publisher.encoding
        handed = asyncio.Event()
        self._results = results
        self._sending = asyncio.create_task(self._publisher.publish(results, handed))
        self._sending.add_done_callback(lambda _: self._wake())
        await handed.wait()
        encoded = self._publisher.encoding - encoded
        self._metrics.spent(Phase.PUBLISH, perf_counter() - began - encoded)
        await asyncio.sleep(ON_THE_WIRE_S)

    async def stored(self) -> None:
        """Wait until nothing is on its way; partitions that were lost are dropped.

        Raises
        ------
        aiokafka.errors.KafkaError
            If the brokers did not take it.
        """
        sending = self._sending
        if sending is None:
            return
        with self._metrics.spending(Phase.PUBLISH):
            lost = await asyncio.shield(sending)
        if self._sending is not sending:
            return  # somebody else has waited too, and has accounted for it
        results, self._sending, self._results = self._results, None, ()
        crash.done(Step.E4)
        self._catch_up.saw(results)
        for partition in lost:
            self._drop(partition)
        for family, count in Counter(result.family for result in results).items():
            self._metrics.published(family, count)
        self._metrics.latency(results[-1].as_of)

    def close(self) -> None:
        """Give up waiting; what is on its way may be stored or not."""
        if self._sending is not None:
            self._sending.cancel()
