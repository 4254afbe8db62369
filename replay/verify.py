"""Whether live is what the journal says: derived again, compared bit for bit.

A fresh engine, of the same code and codec as a worker's, folds the journal up to its
ends and derives. Each record is compared with its row in PostgreSQL, leaf by leaf, and
with its record on the results topic, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, NamedTuple

import msgspec
import numpy as np

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.records import digest
from analytics.results import Result
from connectors.engine import make_engine
from connectors.journal import Batch, JournalFormatError, decode, partition_of
from connectors.kafka import read_to_end
from connectors.postgres import Connection, connect
from connectors.settings import Settings
from connectors.sink import Family, Revision
from connectors.sink_records import revision_of
from replay.ask import Ask
from replay.cells import compare, read, stored
from replay.logs import ends_of, places_of, reading
from replay.logs import read as read_log
from replay.said import cell_of, families_of, wanted_by

CHUNK = 2000
"""Cells of a family that are derived and compared at once."""
SAMPLE = 20


class First(NamedTuple):
    """A difference, and what is known about it.

    Attributes
    ----------
    where
        Table or topic, and the record's key.
    family, owner, session, path
        Which number of which record; an empty path for the whole record.
    expected, found
        What it must be, what it is.
    story
        Of the stored record: its revision and what moved it last.
    inputs
        What stands beside the number in the record as it must be.
    """

    where: str
    family: str
    owner: int | str
    session: str
    path: tuple[str, ...]
    expected: Any
    found: Any
    story: str = ""
    inputs: str = ""

    def __str__(self) -> str:
        number = f", {'.'.join(self.path)}" if self.path else ""
        story = f" ({self.story})" if self.story else ""
        return (
            f"{self.where}{number}{story}: expected {self.expected}, found {self.found}"
        )


class Found(msgspec.Struct):
    """What a verification found.

    Attributes
    ----------
    records, cells
        Compared; a record that is in two places counts twice.
    differ
        Cells that are not what they must be; a record that is missing or too much
        is one.
    first
        The first of them.
    """

    records: int = 0
    cells: int = 0
    differ: int = 0
    first: First | None = None

    def note(self, difference: First) -> None:
        """Note a difference."""
        self.differ += 1
        self.first = self.first or difference


class Expected(NamedTuple):
    """What is kept of an expected record: its digest, length and leaves."""

    digest: int
    length: int
    leaves: int


def sample(portfolios: Iterable[int], seed: int) -> tuple[int, ...]:
    """Choose some portfolios; the same seed chooses the same."""
    known = sorted(portfolios)
    chosen = Random(seed).sample(known, min(SAMPLE, len(known)))  # noqa: S311
    return tuple(sorted(chosen))


class Verify:
    """One verification of what is live now.

    Parameters
    ----------
    settings
        Of the live system.
    calendar
        Sessions.
    ask
        Range, portfolios, families.
    """

    def __init__(self, settings: Settings, calendar: Calendar, ask: Ask) -> None:
        self._settings = settings
        self._calendar = calendar
        self._ask = ask
        worker = settings.worker.model_copy(
            update={
                "families": ask.families,
                "first_session": ask.first,
                "last_session": ask.last,
                "portfolios": ask.portfolios,
            }
        )
        narrowed = settings.model_copy(update={"worker": worker})
        self._engine = make_engine(narrowed, calendar)
        self._families = families_of(ask)
        self._expected: dict[str, dict[bytes, Expected]] = {
            family.name: {} for family in self._families
        }
        self.found = Found()

    async def run(self) -> Found:
        """Derive and compare everything that is asked for."""
        await fold(self._settings, self._engine)
        dsn = self._settings.postgres.dsn.get_secret_value()
        connection = await connect(dsn, "verify")
        try:
            one_moment = {"isolation": "repeatable_read", "readonly": True}
            async with connection.transaction(**one_moment):
                await self._with_tables(connection)
                for family in self._families:
                    await self._too_much(connection, family)
        finally:
            await connection.close()
        for family in self._families:
            await self._with_topic(family)
        return self.found

    # --- PostgreSQL ---

    async def _with_tables(self, connection: Connection) -> None:
        while self._engine.touched():
            made: dict[str, list[Result]] = defaultdict(list)
            for result in self._engine.derive(limit=CHUNK):
                if result.content is not None:
                    made[result.family].append(result)
            for family in self._families:
                some = made[family.name]
                rows = await _rows(connection, family, self._calendar, some)
                for result in some:
                    self._row(family, result, rows)

    def _row(self, family: Family, result: Result, rows: dict[Any, Any]) -> None:
        assert result.content is not None  # noqa: S101 - narrows the type
        day = self._calendar.iso(result.session)
        where = f"{family.table} of {family.owner} {result.owner}, session {day}"
        at = where, family.name, result.owner, day
        row, content = rows.get((result.owner, day)), read(result.content)
        leaves, differing = compare(content, stored(family, row) if row else content)
        self.found.records += 1
        for cell in differing:
            told = (_story(row), beside(content, cell.path))
            self.found.note(First(*at, cell.path, cell.expected, cell.found, *told))
        if row is None:
            self.found.note(First(*at, (), "a row", "none"))
        self.found.cells += leaves
        key = f"{result.owner}|{day}".encode()
        kept = Expected(result.digest, len(result.content) - 1, leaves)
        self._expected[family.name][key] = kept

    async def _too_much(self, connection: Connection, family: Family) -> None:
        """Look for rows that the journal knows nothing of."""
        rows = await connection.fetch(
            f"SELECT {family.owner} AS owner, session "  # noqa: S608 - our own names
            f"FROM analytics.{family.table} WHERE session BETWEEN $1 AND $2",
            self._ask.first,
            self._ask.last,
        )
        wanted, expected = wanted_by(self._ask, family), self._expected[family.name]
        for row in rows:
            key = f"{row['owner']}|{row['session']}".encode()
            if wanted(key) and key not in expected:
                at = f"{family.table}, {key.decode()}", family.name
                owned = row["owner"], str(row["session"])
                self.found.note(First(*at, *owned, (), "no row", "a row"))

    # --- topics ---

    async def _with_topic(self, family: Family) -> None:
        """Compare the bytes of the records of the highest revision."""
        expected = self._expected[family.name]
        topic = family.topic(self._settings.topics)
        wanted = wanted_by(self._ask, family)
        held: dict[bytes, tuple[Revision, bytes | None]] = {}
        async for records in read_to_end(self._settings, topic):
            for record in records:
                key = record.key
                if key is None or not wanted(key):
                    continue
                revision = revision_of(record)
                if key not in held or revision >= held[key][0]:
                    value = record.value or b""
                    right = is_as(value, expected.get(key))
                    held[key] = revision, None if right else value
        for key in expected.keys() | held.keys():
            self.found.records += 1
            self.found.cells += expected[key].leaves if key in expected else 1
            value = held[key][1] if key in held else b""
            if value is not None:
                self.found.note(self._record(family, f"{topic}, ", key, value))

    def _record(self, family: Family, topic: str, key: bytes, value: bytes) -> First:
        """Say what is other in a record of a topic; nothing is there if it is empty."""
        where = topic + key.decode()
        owner, session = cell_of(key)
        at = where, family.name, owner, str(session)
        made = self._content(family, key)
        if self.found.first or made is None or not value:
            there = "a record that is not" if value else "none"
            return First(*at, (), "what the journal says", there)
        content, told_as = read(made), read(value)
        for cell in compare(content, told_as)[1]:
            told = (_told(told_as), beside(content, cell.path))
            return First(*at, cell.path, cell.expected, cell.found, *told)
        return First(*at, (), "these very bytes", "others of the same values")

    def _content(self, family: Family, key: bytes) -> bytes | None:
        """Derive a record of a portfolio once more; None if it has none."""
        owner, session = cell_of(key)
        if family.of_symbols or key not in self._expected[family.name]:
            return None
        home = partition_of(owner, self._settings.topics.partitions)
        account = self._engine.partitions[home].accounts[int(owner)]
        index = self._calendar.forward(session.toordinal())
        cell = np.array([account.slot]), np.array([index])
        return self._engine.contents(family.name, *cell).contents[0]


def is_as(value: bytes, expected: Expected | None) -> bool:
    """Whether a published record ends with the very bytes of the expected content.

    Of a cell that should not be, a retraction is as it must be.
    """
    if expected is None:
        return value.endswith(b'"retracted":true}')
    return digest(b"{" + value[-expected.length :]) == expected.digest


async def fold(settings: Settings, engine: Engine) -> None:
    """Fold the journal as a worker does, up to the ends that it has now."""
    async with reading(settings) as consumer:
        ends = await ends_of(consumer, settings.topics)
        market, *places = places_of(settings.topics)
        async for records in read_log(consumer, market, 0, ends.market):
            for record in records:
                engine.fold_market(**_batch(record.offset, record.value))
        for place, end in zip(places, ends.portfolios, strict=True):
            engine.add_partition(place.partition)
            async for records in read_log(consumer, place, 0, end):
                for record in records:
                    batch = _batch(record.offset, record.value)
                    engine.fold_partition(place.partition, **batch)


def _batch(offset: int, value: bytes | None) -> dict[str, Any]:
    """Arguments of a fold; what cannot be read counts as folded."""
    try:
        batch = decode(value or b"")
    except JournalFormatError:
        batch = Batch(0, None, more=False, partial=False, changes=[])
    return {
        "changes": batch.changes,
        "next_offset": offset + 1,
        "tx": batch.tx,
        "more": batch.more,
        "partial": batch.partial,
    }


async def _rows(
    connection: Connection, family: Family, calendar: Calendar, made: list[Result]
) -> dict[Any, Any]:
    """Rows of some records, by owner and session."""
    owners = [result.owner for result in made]
    days = [calendar.iso(result.session) for result in made]
    rows = await connection.fetch(
        f"SELECT t.* FROM analytics.{family.table} AS t "  # noqa: S608 - our own names
        f"JOIN unnest($1::{family.owner_type}[], $2::text[]) AS k (owner, session) "
        f"ON t.{family.owner} = k.owner AND t.session = k.session::date",
        owners,
        days,
    )
    return {(row[family.owner], str(row["session"])): row for row in rows}


def beside(content: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """Say what stands beside a number in its record: a lot's columns, a window's n.

    Examples
    --------
    >>> beside({"lot": [7, 8], "price": [1, 2], "pnl": [3, 4]}, ("pnl", "1"))
    'lot 8, price 2'
    >>> beside(
    ...     {"volatility": {"21": {"value": 0.1, "n": 20}}},
    ...     ("volatility", "21", "value"),
    ... )
    'n 20'
    """
    holder: Any = content if len(path) > 1 else {}
    for name in path[:-1]:
        holder = holder[int(name)] if isinstance(holder, list) else holder[name]
    if isinstance(holder, list):
        place = int(path[-1])
        return ", ".join(
            f"{name} {column[place]}"
            for name, column in content.items()
            if isinstance(column, list) and len(column) > place and name != path[0]
        )
    return ", ".join(
        f"{name} {value}"
        for name, value in holder.items()
        if name != path[-1] and not isinstance(value, list | dict)
    )


def _story(row: Any) -> str:
    """Say of which revision a row is, and what moved it last."""
    revision = f"p {row['rev_p']}, m {row['rev_m']}, v {row['rev_v']}"
    return revision + _moved(read(row["cause"]) if row["cause"] else None)


def _told(record: Mapping[str, Any]) -> str:
    """Say the same of a record of a topic."""
    revision = ", ".join(f"{name} {n}" for name, n in record["revision"].items())
    return revision + _moved(record["cause"])


def _moved(cause: Any) -> str:
    return f", record last moved by {cause['table']} {cause['key']}" if cause else ""


async def verify_until(make: Callable[[], Verify], wait: float) -> Found:
    """Verify until nothing differs or ``wait`` seconds have passed.

    While changes are on their way live is behind the journal.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        found = await make().run()
        if not found.differ or loop.time() >= deadline:
            return found
        await asyncio.sleep(1.0)
