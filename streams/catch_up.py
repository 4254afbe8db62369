"""A worker's catch-up: from its start until it has published all that it found.

It is a run (``connectors.runs``), told when the group is joined and when it is over.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from aiokafka.errors import KafkaError

from analytics.calendar import Calendar
from analytics.results import Result
from connectors.runs import (
    CATCH_UP,
    DONE,
    FAILED,
    RUNNING,
    STOPPED,
    RunRecord,
    encode_run,
)
from connectors.settings import Settings
from streams.metrics import Metrics
from streams.publisher import Publisher
from streams.record import Record

LOOK_S = 0.2


class CatchUp:
    """Tells of one worker's catch-up.

    Parameters
    ----------
    settings, calendar, metrics, publisher
        Of the worker.

    Attributes
    ----------
    open
        Whether it is still going on.
    """

    def __init__(
        self,
        settings: Settings,
        calendar: Calendar,
        metrics: Metrics,
        publisher: Publisher,
    ) -> None:
        now = time.time()
        at = datetime.datetime.fromtimestamp(now, datetime.UTC)
        name = f"{settings.worker.app_id}-{at:%Y%m%d-%H%M%S}"
        self.record = RunRecord(
            f"{name}-{socket.gethostname()}-{os.getpid()}", CATCH_UP, RUNNING, now, now
        )
        self.open = True
        self._topic = settings.topics.runs
        self._calendar = calendar
        self._metrics = metrics
        self._publisher = publisher
        self._sessions: tuple[int, int] | None = None

    def saw(self, results: Sequence[Result]) -> None:
        """Note what was published."""
        if not self.open:
            return
        days = [result.session for result in results]
        first, last = self._sessions or (days[0], days[0])
        self._sessions = min(first, *days), max(last, *days)

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Tell the beginning, wait for the end, and tell that."""
        await self._tell(RUNNING)
        while not is_over():  # noqa: ASYNC110 - many things decide it
            await asyncio.sleep(LOOK_S)
        await self._end(DONE)

    async def stopped(self) -> None:
        """Tell that it was ended before it was over."""
        await self._end(STOPPED)

    async def failed(self, error: BaseException) -> None:
        """Tell why it failed; whoever is down may be the one who is told."""
        with suppress(KafkaError):
            await self._end(FAILED, f"{type(error).__name__}: {error}")

    async def _end(self, status: str, error: str = "") -> None:
        if self.open:
            self.open = False
            await self._tell(status, error)

    async def _tell(self, status: str, error: str = "") -> None:
        now = time.time()
        days = [self._date(session) for session in self._sessions or ()]
        first, last = days or (None, None)
        record = msgspec.structs.replace(
            self.record,
            status=status,
            updated=now,
            first=first,
            last=last,
            ended=None if status == RUNNING else now,
            counts=self._metrics.counts(),
            seconds=self._metrics.seconds() | {"total": now - self.record.started},
            error=error,
        )
        await self._publisher.append(self._topic, Record(*encode_run(record)))

    def _date(self, session: int) -> datetime.date:
        return datetime.date.fromordinal(self._calendar.days[session])
