"""Changes that came after a time and touch what is not the same any more.

A change is told as the journal has it: the row, its columns before and after, when it
was committed. Listed are rows of the portfolios that differ, and of the market what
they hold or are measured against, up to their newest session that differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import msgspec
from aiokafka import TopicPartition

from analytics.causes import changed_columns, key_words
from analytics.results import RISK
from analytics.rows import Change, Lot
from connectors.settings import Settings
from replay.ask import Ask
from replay.differences import Differences
from replay.edited import change_of
from replay.editing import RowKey
from replay.feed import then_of
from replay.logs import Head, Prefix, Then, ends_of, heads_of, places_of, read, reading


class Moved(msgspec.Struct, frozen=True):
    """A change of a row after a time.

    Attributes
    ----------
    table, key
        The row; dates are ``YYYY-MM-DD``.
    portfolio
        Whose it is; None of the market.
    committed
        Microseconds since the epoch.
    changed
        Column, old and new value as text; None is null, or all of an absent row.
    """

    table: str
    key: tuple[int | str, ...]
    portfolio: int | None
    committed: int
    changed: tuple[tuple[str, str | None, str | None], ...]


class Bounds(msgspec.Struct, frozen=True):
    """What of the journal can have moved the differences.

    Attributes
    ----------
    portfolios
        Those that differ.
    symbols
        Held by them, or a factor.
    last
        Newest session that differs, as an ordinal.
    risk
        Whether profiles and benchmark weights count too.
    """

    portfolios: frozenset[int]
    symbols: frozenset[str]
    last: int
    risk: bool

    def holds(self, change: Change | Head) -> bool:
        """Whether a change counts, by its table and key."""
        if change.portfolio is not None:
            return change.portfolio in self.portfolios
        if change.table == "market_data_cache":
            return change.key[0] in self.symbols and int(change.key[1]) <= self.last
        if change.table == "company_profiles":
            return self.risk and change.key[0] in self.symbols
        return self.risk


async def explain(settings: Settings, ask: Ask, found: Differences) -> list[Moved]:
    """List the changes since ``ask.as_of`` that touch what differs, as committed.

    Parameters
    ----------
    settings
        Of the live system.
    ask
        Of the run.
    found
        What differs.
    """
    then = then_of(settings, ask.as_of)
    lines = [line for line in found.lines if line.sessions]
    if then is None or not lines:
        return []
    bounds = Bounds(
        frozenset(line.portfolio for line in lines),
        frozenset(settings.factors.symbols if RISK in ask.families else ()),
        max(line.newest.session for line in lines).toordinal(),
        RISK in ask.families,
    )
    async with reading(settings) as consumer:
        ends = await ends_of(consumer, settings.topics)

        async def collect(bounds: Bounds, *, market: bool) -> list[Change]:
            taken: list[Change] = []
            for place, end in _stretches(settings, ends, market=market):
                async for records in read(consumer, place, 0, end):
                    for record in records:
                        taken += _changes(record.value, bounds.holds)
            return taken

        owned = await collect(bounds, market=False)
        bounds = msgspec.structs.replace(bounds, symbols=bounds.symbols | held(owned))
        every = owned + await collect(bounds, market=True)
    return in_order(since(every, then))


def in_order(changes: Iterable[Moved]) -> list[Moved]:
    """Sort by time; one transaction may be of several tables, whose keys differ."""
    return sorted(changes, key=lambda moved: (moved.committed, moved.table, moved.key))


def _stretches(
    settings: Settings, ends: Prefix, *, market: bool
) -> Iterator[tuple[TopicPartition, int]]:
    first, *others = places_of(settings.topics)
    if market:
        yield first, ends.market
    else:
        yield from zip(others, ends.portfolios, strict=True)


def _changes(value: bytes | None, wanted: Callable[[Head], bool]) -> Iterator[Change]:
    heads = heads_of(value)
    return (change_of(h) for h in (heads.changes if heads else ()) if wanted(h))


def held(changes: Iterable[Change]) -> frozenset[str]:
    """Symbols of every lot that there ever was."""
    return frozenset(c.row.symbol for c in changes if isinstance(c.row, Lot))


def since(changes: Iterable[Change], then: Then) -> Iterator[Moved]:
    """Say what changed in each row after a time; what moved no column is left out.

    The newest version of a row wins, in whatever order changes come.
    """
    rows: dict[RowKey, list[Change]] = defaultdict(list)
    for change in changes:
        rows[change.table, change.key, change.portfolio].append(change)
    for (table, _, portfolio), some in rows.items():
        some.sort(key=lambda change: change.version)
        known = [change for change in some if then.knew(change)]
        held = known[-1] if known else None
        old = held.row if held else None
        for change in some:
            late = held is None or change.version > held.version
            if not late or then.knew(change):
                continue
            columns = changed_columns(table, old, change.row)
            old = change.row
            if columns:
                key = tuple(key_words(change.key))
                yield Moved(table, key, portfolio, change.ts, columns)
