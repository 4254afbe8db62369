"""PostgreSQL against the journal: which rows are missing, extra or stale there.

The source is read in one REPEATABLE READ transaction, the journal from its start to its
end; of each row the newest version counts. Both sides are rows as the door decides
(``analytics.validity``): a refused row is absent on both. Rows are put into ranges of
their keys, and of each range a count and a digest are compared; only where one differs
are its rows looked at one by one.

What is on its way differs too: ``reconcile_until`` looks again, and believes what
differs twice in a row.

Repair
------
``repair`` touches missing and stale rows by their keys with an UPDATE that changes
nothing, in short transactions. Debezium streams each of them anew, with a version of
its own, and so the journal has the row as it is. (An incremental snapshot leaves out
rows: it goes by the message key, of which ours are not unique. A blocking one stops
streaming; see docs/decisions/0002-capture.md.) An *extra* row is not in PostgreSQL any
more, so nothing can be touched: it is named, and left. To remove it, INSERT a row with
its key and portfolio and DELETE it again: the deletion is streamed. Where a row with
that id is in another portfolio, UPDATE its ``portfolio_id`` there and back, in one
transaction.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, TypeAlias

import msgspec

from analytics.calendar import Calendar
from analytics.columns import EPOCH_ORDINAL
from analytics.rows import TABLES, Change, Row
from analytics.validity import Refusal, validate
from connectors.journal import JournalFormatError, decode
from connectors.kafka import read_to_end
from connectors.postgres import Connection, connect, quote
from connectors.settings import Settings
from connectors.source_tables import DATES, SOURCE, select_source

Key: TypeAlias = tuple[int | str, ...]
Place: TypeAlias = tuple[Key, int | None]
"""Primary key and portfolio: what a version is of."""
Rows: TypeAlias = dict[str, dict[Place, Row]]

PER_RANGE = 1000
"""Rows of the source in a range, about."""

PER_TRANSACTION = 500
LOOK_SECONDS = 0.5
_KEYS: Mapping[str, tuple[str, ...]] = {
    "market_data_cache": ("symbol", "date"),
    "company_profiles": ("symbol",),
}
_NAME = (
    "CASE jsonb_typeof(to_jsonb(t) -> 'name') "
    "WHEN 'string' THEN to_jsonb(t) ->> 'name' END AS name"
)
"""A portfolio's name, which the oracle does not read and a table may lack."""
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Range:
    """A range of keys of a table whose two sides differ.

    Attributes
    ----------
    table, first, last
        Which one; both ends are in it.
    source, journal
        How many rows each side has.
    missing, extra, stale
        Keys of rows that the journal lacks, has beside, or has otherwise.
    """

    table: str
    first: Key
    last: Key
    source: int
    journal: int
    missing: tuple[Place, ...]
    extra: tuple[Place, ...]
    stale: tuple[Place, ...]


@dataclass(slots=True)
class Found:
    """A comparison: rows and ranges compared by table, and the ranges that differ."""

    rows: dict[str, int] = field(default_factory=dict)
    ranges: int = 0
    differing: list[Range] = field(default_factory=list)

    @property
    def differ(self) -> int:
        """Rows that differ."""
        return sum(
            len(one.missing) + len(one.extra) + len(one.stale) for one in self.differing
        )


Differing: TypeAlias = dict[tuple[str, Place], Row | None]
"""Rows that differ, as the source has them."""


def differing(found: Found, source: Rows) -> Differing:
    """Take the rows that were found to differ from the source."""
    return {
        (one.table, place): source[one.table].get(place)
        for one in found.differing
        for place in (*one.missing, *one.extra, *one.stale)
    }


def lasting(found: Found, now: Differing, before: Differing) -> Found:
    """Leave what differed a look ago already, by the same row of the source.

    On a system that changes all the time, something is always on its way.

    Examples
    --------
    >>> from analytics.rows import Profile
    >>> one = {((s,), None): Profile(s, None, False) for s in "AB"}
    >>> found = compare({"company_profiles": one}, {"company_profiles": {}})
    >>> now = differing(found, {"company_profiles": one})
    >>> lasting(found, now, dict([*now.items()][:1])).differing[0].missing
    ((('A',), None),)
    """

    def stays(table: str, places: tuple[Place, ...]) -> tuple[Place, ...]:
        rows = [(table, place) for place in places]
        return tuple(r[1] for r in rows if r in before and before[r] == now[r])

    ranges = [
        replace(
            one,
            missing=stays(one.table, one.missing),
            extra=stays(one.table, one.extra),
            stale=stays(one.table, one.stale),
        )
        for one in found.differing
    ]
    kept = [one for one in ranges if one.missing or one.extra or one.stale]
    return replace(found, differing=kept)


def key_columns(table: str) -> tuple[str, ...]:
    """Primary key of a captured table."""
    return _KEYS.get(table, ("id",))


def compare(source: Rows, journal: Rows, per_range: int = PER_RANGE) -> Found:
    """Compare the two sides by ranges of keys. Pure.

    Examples
    --------
    >>> from analytics.rows import Profile
    >>> one = {((s,), None): Profile(s, None, False) for s in "AB"}
    >>> found = compare({"company_profiles": one}, {"company_profiles": {}})
    >>> found.differ, found.differing[0].missing
    (2, ((('A',), None), (('B',), None)))
    """
    found = Found()
    for table in TABLES:
        here, there = source.get(table, {}), journal.get(table, {})
        found.rows[table] = len(here)
        places = sorted(here.keys() | there.keys(), key=_order)
        for start in range(0, len(places), per_range):
            part = places[start : start + per_range]
            found.ranges += 1
            if _digest(part, here) != _digest(part, there):
                found.differing.append(_range(table, part, here, there))
    return found


def fold(changes: Iterable[Change], newest: dict[Any, Change]) -> None:
    """Keep the newest version of each row, as the engine does."""
    for change in changes:
        place = (change.table, change.key, change.portfolio)
        held = newest.get(place)
        if held is None or change.version > held.version:
            newest[place] = change


async def read_journal(settings: Settings) -> Rows:
    """Rows that are there by the journal, and by the prices held back."""
    newest: dict[Any, Change] = {}
    names = settings.topics
    for topic in (names.market, names.portfolios, names.held):
        async for records in read_to_end(settings, topic):
            for record in records:
                try:
                    fold(decode(record.value or b"").changes, newest)
                except JournalFormatError:
                    continue  # a dead letter of the workers; a removed price
    rows: Rows = defaultdict(dict)
    for (table, key, portfolio), change in newest.items():
        if change.row is not None:
            rows[table][key, portfolio] = change.row
    return rows


def select_rows(schema: str, table: str) -> str:
    """Query that gives columns as Debezium does: text, days, numbers."""
    shown = [_shown(name) for name in SOURCE[table]]
    if table == "portfolios":
        shown.append(_NAME)
    return select_source(schema, table, ", ".join(shown))


async def read_source(connection: Connection, schema: str, calendar: Calendar) -> Rows:
    """Rows of the source that count, in one transaction."""
    rows: Rows = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for table in TABLES:
            kept: dict[Place, Row] = {}
            # A cursor: a table may be larger than what is kept of it.
            async for record in connection.cursor(select_rows(schema, table)):
                raw = dict(record)
                row = validate(table, raw, calendar)
                if row is not None and not isinstance(row, Refusal):
                    kept[_place(table, raw)] = row
            rows[table] = kept
    return rows


async def reconcile_until(
    settings: Settings, calendar: Calendar, wait: float = 0.0
) -> Found:
    """Compare until nothing differs or ``wait`` seconds have passed.

    Twice at least where something differs, however long a look takes, but for a
    ``wait`` of 0. From the second look on, what differs is what differed in the one
    before, too.

    Raises
    ------
    OSError, TimeoutError, asyncpg.PostgresError, aiokafka.errors.KafkaError
        When PostgreSQL or Kafka cannot be reached, or refuses.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    connection = await connect(settings.postgres.dsn.get_secret_value(), "reconcile")
    before: Differing | None = None
    try:
        while True:
            schema = settings.postgres.source_schema
            source = await read_source(connection, schema, calendar)
            found = compare(source, await read_journal(settings))
            now = differing(found, source)
            last = loop.time() >= deadline and (before is not None or wait <= 0)
            if before is not None:
                found = lasting(found, now, before)
            before = now
            if found.differ == 0 or last:
                return found
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await connection.close()


async def repair(settings: Settings, found: Found) -> int:
    """Touch missing and stale rows, so that they are streamed again.

    Returns how many were touched. Needs the right to UPDATE the source's tables.
    Extra rows are left (see the module).

    Raises
    ------
    OSError, TimeoutError, asyncpg.PostgresError
        When PostgreSQL cannot be reached, or refuses.
    """
    touched = 0
    connection = await connect(settings.postgres.dsn.get_secret_value(), "reconcile")
    try:
        for one in found.differing:
            keys = [place[0] for place in (*one.missing, *one.stale)]
            sql = _touch(settings.postgres.source_schema, one.table)
            for start in range(0, len(keys), PER_TRANSACTION):
                part = keys[start : start + PER_TRANSACTION]
                columns = [list(column) for column in zip(*part, strict=True)]
                if one.table == "market_data_cache":
                    columns[1] = [date.fromordinal(int(day)) for day in columns[1]]
                done = await connection.execute(sql, *columns)
                touched += int(done.rpartition(" ")[2])
    finally:
        await connection.close()
    return touched


# --- inside ---


def _order(place: Place) -> tuple[Key, int]:
    return place[0], place[1] or 0


def _digest(places: list[Place], rows: Mapping[Place, Row]) -> tuple[int, bytes]:
    made = hashlib.blake2b(digest_size=16)
    count = 0
    for place in places:
        row = rows.get(place)
        if row is not None:
            count += 1
            made.update(_encode((place, row)))
    return count, made.digest()


def _range(
    table: str, part: list[Place], here: dict[Place, Row], there: dict[Place, Row]
) -> Range:
    both = [place for place in part if place in here and place in there]
    return Range(
        table,
        part[0][0],
        part[-1][0],
        sum(place in here for place in part),
        sum(place in there for place in part),
        missing=tuple(place for place in part if place not in there),
        extra=tuple(place for place in part if place not in here),
        stale=tuple(place for place in both if here[place] != there[place]),
    )


def _place(table: str, raw: Mapping[str, Any]) -> Place:
    names = key_columns(table)
    key = tuple(
        raw[name] + EPOCH_ORDINAL if name == "date" else raw[name] for name in names
    )
    return key, raw["id"] if table == "portfolios" else raw.get("portfolio_id")


_TEXT = frozenset(
    {
        "equity_balance",
        "quantity",
        "entry_price",
        "exit_price",
        "strike_price",
        "last_price",
        "amount",
        "quantity_closed",
        "realized_pnl",
        "open",
        "high",
        "low",
        "close",
        "weight",
        "deleted_at",
    }
)
INFINITE_DAY = -2_147_472_692
"""What Debezium sends for a date of infinity: no calendar has it."""


def _shown(name: str) -> str:
    column = quote(name)
    if name in DATES:
        days = f"{column} - date '1970-01-01'"
        finite = f"CASE WHEN isfinite({column}) THEN {days} ELSE {INFINITE_DAY} END"
        return f"CASE WHEN {column} IS NULL THEN NULL ELSE {finite} END AS {column}"
    return f"{column}::text AS {column}" if name in _TEXT else column


def _touch(schema: str, table: str) -> str:
    """Statement that writes rows anew as they are, by their keys."""
    types = {"id": "bigint[]", "symbol": "text[]", "date": "date[]"}
    names = key_columns(table)
    given = ", ".join(f"${at}::{types[name]}" for at, name in enumerate(names, 1))
    keys = ", ".join(quote(name) for name in names)
    same = " AND ".join(f"t.{quote(name)} = k.{quote(name)}" for name in names)
    first = quote(names[0])
    return (
        f"UPDATE {quote(schema)}.{quote(table)} AS t SET {first} = t.{first} "  # noqa: S608
        f"FROM unnest({given}) AS k ({keys}) WHERE {same}"
    )
