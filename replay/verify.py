"""Whether live is what the journal says: derived again, compared bit for bit.

A fresh engine, of the same code and codec as a worker's, folds the journal up to its
ends and derives. Each record is compared with its row in PostgreSQL, leaf by leaf, and
with its record on the results topic, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, NamedTuple

import msgspec

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.records import digest
from analytics.results import Result
from connectors.engine import make_engine
from connectors.journal import Batch, JournalFormatError, decode
from connectors.kafka import read_to_end
from connectors.postgres import Connection, connect
from connectors.settings import Settings
from connectors.sink import Family, Revision
from connectors.sink_records import revision_of
from replay.ask import Ask
from replay.cells import cells, read, stored
from replay.logs import ends_of, places_of, reading
from replay.logs import read as read_log
from replay.said import families_of, wanted_by

CHUNK = 2000
"""Cells of a family that are derived and compared at once."""
SAMPLE = 20


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
        The first of them, in words.
    """

    records: int = 0
    cells: int = 0
    differ: int = 0
    first: str = ""

    def note(self, where: str, expected: Any, found: Any) -> None:
        """Note a difference."""
        self.differ += 1
        if not self.first:
            self.first = f"{where}: expected {expected}, found {found}"


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
        row, content, leaves = rows.get((result.owner, day)), read(result.content), 0
        self.found.records += 1
        for cell in cells(content, stored(family, row) if row else {}):
            leaves += 1
            if row and not cell.equal:
                path = ".".join(cell.path)
                story = f"{where}, {path} ({_story(row)})"
                self.found.note(story, cell.expected, cell.found)
        if row is None:
            self.found.note(where, "a row", "none")
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
                where = f"{family.table}, {key.decode()}"
                self.found.note(where, "no row", "a row")

    # --- topics ---

    async def _with_topic(self, family: Family) -> None:
        """Compare the bytes of the records of the highest revision."""
        expected = self._expected[family.name]
        topic = family.topic(self._settings.topics)
        wanted = wanted_by(self._ask, family)
        held: dict[bytes, tuple[Revision, bool]] = {}
        async for records in read_to_end(self._settings, topic):
            for record in records:
                key = record.key
                if key is None or not wanted(key):
                    continue
                revision = revision_of(record)
                if key not in held or revision >= held[key][0]:
                    held[key] = revision, is_as(record.value or b"", expected.get(key))
        for key in expected.keys() | held.keys():
            self.found.records += 1
            self.found.cells += expected[key].leaves if key in expected else 1
            if not held.get(key, (None, False))[1]:
                what = "a record" if key in held else "none"
                where = f"{topic}, {key.decode()}"
                self.found.note(where, "what the journal says", f"{what} that is not")


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


def _story(row: Any) -> str:
    """Say of which revision a row is, and what moved it last."""
    cause = read(row["cause"]) if row["cause"] else None
    moved = f", moved by {cause['table']} {cause['key']}" if cause else ""
    return f"p {row['rev_p']}, m {row['rev_m']}, v {row['rev_v']}{moved}"


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
