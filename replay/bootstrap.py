"""A journal made of the tables themselves, for a run of its own.

The rows are read once, at one instant, into a file in the run's directory: records as
the run's logs will hold them, in the order in which they are fed. A run that is resumed
feeds the rest of the same file, not what the tables hold by then.
"""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import asyncpg  # type: ignore[import-untyped]

from analytics.calendar import Calendar
from analytics.rows import Change, Price
from connectors.debezium import Decoded
from connectors.journal import encode, partition_of
from connectors.kafka import MAX_RECORD_BYTES
from connectors.settings import Settings
from connectors.source_rows import read_rows
from replay.ask import Facts
from replay.errors import WorkError
from replay.logs import Prefix, heads_of

FILE = "source"
MARKET = 0
"""Number of the market's log in the file; partition p of portfolios is p + 1."""

_HEAD = struct.Struct("<HI")


class Read(NamedTuple):
    """What was read of the tables: what is in it, how many records, rows refused."""

    facts: Facts
    prefix: Prefix
    refused: int


async def bootstrap(
    settings: Settings, calendar: Calendar, today: int, path: Path
) -> Read:
    """Read the tables into a file.

    Parameters
    ----------
    settings
        Of the database and of the live journal's partitions.
    calendar
        What dates are held against.
    today
        The exchange's date: prices dated ahead of it do not count yet.
    path
        The file.

    Raises
    ------
    WorkError
        If PostgreSQL cannot be reached or refuses.
    OSError
        If the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        writer = _Writer(file, settings, today)
        try:
            await read_rows(settings.postgres, calendar, writer.take)
        except asyncpg.PostgresError as error:
            message = f"the tables cannot be read: {error}"
            raise WorkError(message) from error
        writer.end()
    market, *portfolios = writer.counts
    return Read(writer.facts, Prefix(market, tuple(portfolios)), writer.refused)


def stored_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Read the file: the number of a log, and a record of it.

    Raises
    ------
    WorkError
        If it is not there, or ends within a record.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        message = f"what was read of the tables is gone ({error}): begin a new run"
        raise WorkError(message) from error
    with file:
        while head := file.read(_HEAD.size):
            log, size = _HEAD.unpack(head.ljust(_HEAD.size, b"\0"))
            value = file.read(size)
            if len(head) < _HEAD.size or len(value) < size:
                message = f"{path} is not whole: begin a new run"
                raise WorkError(message)
            yield log, value


class _Writer:
    """Gathers changes by log and writes them as records."""

    def __init__(self, file: IO[bytes], settings: Settings, today: int) -> None:
        self.facts = Facts()
        self.refused = 0
        self.counts = [0] * (settings.topics.partitions + 1)
        self._file = file
        self._partitions = settings.topics.partitions
        self._rows = settings.intake.rows_per_record
        self._today = today
        self._waiting: dict[int, list[Change]] = defaultdict(list)

    def take(self, decoded: Decoded) -> None:
        """Take a row."""
        self.refused += decoded.refused is not None
        for change in decoded.changes:
            if isinstance(change.row, Price) and change.row.date > self._today:
                continue
            log = MARKET
            if change.portfolio is not None:
                log = 1 + partition_of(change.portfolio, self._partitions)
            waiting = self._waiting[log]
            waiting.append(change)
            if len(waiting) >= self._rows:
                self._write(log, waiting)
                waiting.clear()

    def end(self) -> None:
        """Write what waits, and see that the disk has all of it."""
        for log, waiting in self._waiting.items():
            if waiting:
                self._write(log, waiting)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _write(self, log: int, changes: list[Change]) -> None:
        value = encode(changes)
        if len(value) > MAX_RECORD_BYTES // 2 and len(changes) > 1:
            half = len(changes) // 2
            self._write(log, changes[:half])
            self._write(log, changes[half:])
            return
        heads = heads_of(value)
        self.facts.take(heads.changes if heads else ())
        self._file.write(_HEAD.pack(log, len(value)) + value)
        self.counts[log] += 1
