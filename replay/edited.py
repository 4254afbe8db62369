"""A branch's own end of the journal: rows that edits need, changes that they make.

The changes are kept in the run's directory and appended to the run's logs after the
live journal's prefix, a thousand to a record. What is there of them already is told by
the end of each log, as for the prefix itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from aiokafka import TopicPartition

from analytics.factors import Factors
from analytics.rows import Change, Row
from connectors.journal import decode, encode, partition_of
from connectors.kafka import started_producer
from connectors.settings import Settings
from replay.editing import EVENTS, LOTS, PRICES, Rows, factor_symbols
from replay.edits import Edits
from replay.errors import RunError
from replay.logs import Head, Prefix, ends_of, heads_of, places_of, read, reading

FILE = "edits.journal"
CHUNK = 1000

_row = msgspec.msgpack.Decoder(Row | None).decode


def change_of(head: Head) -> Change:
    """Read the row of a change too."""
    row = _row(head.row)
    return Change(head.table, head.key, head.version, head.ts, head.portfolio, row)


async def rows_of(settings: Settings, prefix: Prefix, edits: Edits) -> Rows:
    """Read the rows that edits may speak of: lots, events, prices of their symbols.

    Parameters
    ----------
    settings
        Of the live system.
    prefix
        How much of the journal counts.
    edits
        What is edited.
    """
    rows = Rows()
    symbols = _symbols(edits, settings.factors)
    with_lots = any(edit.drop or edit.resize for edit in edits.edits)
    async with reading(settings) as consumer:
        market, *places = places_of(settings.topics)
        wanted = [(market, prefix.market)] if symbols else []
        if with_lots:
            wanted += list(zip(places, prefix.portfolios, strict=True))
        for place, end in wanted:
            async for records in read(consumer, place, 0, end):
                for record in records:
                    heads = heads_of(record.value)
                    for head in heads.changes if heads else ():
                        if _concerns(head, symbols):
                            rows.take(change_of(head))
    return rows


def _symbols(edits: Edits, factors: Factors) -> set[str]:
    """Symbols whose prices are edited; of an unknown factor none."""
    known = factor_symbols(factors)
    found = {edit.price.symbol for edit in edits.edits if edit.price}
    for edit in edits.edits:
        if edit.shock:
            factor = (edit.shock.factor or "").casefold()
            found.add(edit.shock.symbol or known.get(factor, ""))
    return found - {""}


def _concerns(head: Head, symbols: set[str]) -> bool:
    if head.table == PRICES:
        return head.key[0] in symbols
    return head.table in (LOTS, EVENTS)


# --- the run's directory ------------------------------------------------------------


def save_changes(place: Path, changes: Sequence[Change]) -> None:
    """Keep the changes of a run."""
    part = place / f"{FILE}.part"
    part.write_bytes(encode(changes))
    part.replace(place / FILE)


def load_changes(place: Path) -> list[Change]:
    """Read the changes of a run that has edits.

    Raises
    ------
    RunError
        If they were not kept: its beginning was interrupted.
    """
    try:
        return decode((place / FILE).read_bytes()).changes
    except FileNotFoundError:
        message = "the run has no edits yet: it was interrupted when it began, clean it"
        raise RunError(message) from None


# --- the run's logs -----------------------------------------------------------------


async def feed_edits(
    branch: Settings, prefix: Prefix, changes: Sequence[Change]
) -> None:
    """Append what is not there yet of a run's edits, after its prefix.

    Parameters
    ----------
    branch
        Settings of the run, whose logs have all of the prefix.
    prefix
        Where the live journal's records end in them.
    changes
        Of the edits.
    """
    places = places_of(branch.topics)
    offsets = dict(zip(places, (prefix.market, *prefix.portfolios), strict=True))
    async with reading(branch) as consumer, started_producer(branch) as producer:
        ends = await ends_of(consumer, branch.topics)
        there = dict(zip(places, (ends.market, *ends.portfolios), strict=True))
        for place, value in records(changes, places):
            offset, offsets[place] = offsets[place], offsets[place] + 1
            if offset >= there[place]:
                await producer.send_and_wait(
                    place.topic, value, partition=place.partition
                )


def records(
    changes: Sequence[Change], places: Sequence[TopicPartition]
) -> Iterator[tuple[TopicPartition, bytes]]:
    """Make the records of changes: by log, always the same ones in the same order."""
    market, *others = places
    logs: dict[TopicPartition, list[Change]] = {}
    for change in changes:
        owner = change.portfolio
        at = market if owner is None else others[partition_of(owner, len(others))]
        logs.setdefault(at, []).append(change)
    for place, some in logs.items():
        for start in range(0, len(some), CHUNK):
            yield place, encode(some[start : start + CHUNK])
