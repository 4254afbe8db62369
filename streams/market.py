"""The one reader of ``journal.market`` in a worker.

Every worker reads all of the market by itself, with a plain consumer from where
its state ends: a price is folded once in a worker, however many partitions it has.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from analytics.engine import Engine
from connectors.kafka import make_consumer
from connectors.settings import Settings
from streams.filler import MissingRecordsError
from streams.folding import MARKET_PARTITION, Folder
from streams.metrics import Metrics, Phase

POLL_RECORDS = 100
POLL_MS = 1000
YIELD_S = 0.02
"""How long folding may keep the event loop for itself."""


class MarketReader:
    """Folds the market's log, from the engine's offset on, for ever.

    Parameters
    ----------
    settings
        Of the brokers and topics.
    engine, folder
        Where it goes.
    metrics
        Told how long was waited for records that were there.
    wake
        Called after some records were folded.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        folder: Folder,
        metrics: Metrics,
        wake: Callable[[], None],
    ) -> None:
        self._consumer = make_consumer(settings, auto_offset_reset="none")
        self.place = TopicPartition(settings.topics.market, MARKET_PARTITION)
        self._engine = engine
        self._folder = folder
        self._metrics = metrics
        self._wake = wake
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled.

        Raises
        ------
        MissingRecordsError
            If the log does not reach back to the engine's offset.
        """
        await self._consumer.start()
        try:
            self._consumer.assign([self.place])
            self._consumer.seek(self.place, self._engine.market_offset())
            while True:
                await self._read_some()
        except OffsetOutOfRangeError as error:
            message = f"{self.place.topic} does not hold record "
            message += f"{self._engine.market_offset()}, which the state needs"
            raise MissingRecordsError(message) from error
        finally:
            await self._consumer.stop()

    async def reached(self, end: int) -> None:
        """Wait until everything before ``end`` is folded."""
        while self._engine.market_offset() < end:
            moved = self._moved
            await moved.wait()

    @property
    def behind(self) -> int:
        """Records between the state and the log's end as of the last fetch."""
        if self.place not in self._consumer.assignment():
            return 0
        highwater = self._consumer.highwater(self.place) or 0
        return max(0, highwater - self._engine.market_offset())

    async def _read_some(self) -> None:
        behind, asked = self.behind, monotonic()
        found = await self._consumer.getmany(
            self.place, timeout_ms=POLL_MS, max_records=POLL_RECORDS
        )
        since = monotonic()
        if behind:
            self._metrics.spent(Phase.READ, since - asked)
        for record in found.get(self.place, ()):
            self._folder.market(record.offset, record.value, record.timestamp)
            if monotonic() - since > YIELD_S:
                self._tell()
                await asyncio.sleep(0)
                since = monotonic()
        if found:
            self._tell()

    def _tell(self) -> None:
        """Wake whoever waits for the market, and the flush."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        self._wake()
