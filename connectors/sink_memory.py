"""A sink in memory: what a sink does, in the fewest lines; for tests and trials."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.sink import Family, RefusedError, ResultRecord, Revision, Written
from connectors.sink_records import Owner, Reader


class MemorySink:
    """Keeps the newest content of each cell in a dictionary.

    Attributes
    ----------
    rows
        Content by (portfolio or symbol, session); what was retracted is not there.
    offsets
        Next offset by partition.
    refused
        Reason by (partition, offset).
    """

    def __init__(self, family: Family) -> None:
        self.rows: dict[tuple[Owner, datetime.date], Any] = {}
        self.offsets: dict[int, int] = {}
        self.refused: dict[tuple[int, int], str] = {}
        self._revisions: dict[tuple[Owner, datetime.date], Revision] = {}
        self._reader = Reader(family)
        self._guard = asyncio.Lock()

    async def open(self) -> dict[int, int]:
        """Wait for the guard; where to read on."""
        await self._guard.acquire()
        return dict(self.offsets)

    async def write(
        self, records: Sequence[ResultRecord], offsets: Mapping[int, int]
    ) -> Written:
        """Keep what is newer."""
        written = sum(map(self._write, records), Written())
        self.offsets |= offsets
        return written

    def _write(self, record: ResultRecord) -> Written:
        try:
            cell = self._reader.read(record)
        except RefusedError as error:
            self.refused[record.partition, record.offset] = str(error)
            return Written(refused=1)
        key = cell.owner, cell.session
        if cell.revision <= self._revisions.get(key, (-1, -1, -1)):
            return Written(stale=1)
        self._revisions[key] = cell.revision
        if cell.content is None:
            self.rows.pop(key, None)
            return Written(retracted=1)
        self.rows[key] = cell.content
        return Written(stored=1)

    async def close(self) -> None:
        """Let the next one in."""
        if self._guard.locked():
            self._guard.release()
