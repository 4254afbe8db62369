"""Which symbols' statistics are to be looked at, and what was last said of them.

A symbol has a record at every session from its first close to T, of which the
newest ``symbol_sessions`` are kept: what falls out as T moves is retracted. It is
published by whoever owns the partition that its name falls into, so that all workers
of a group publish each symbol once; every worker computes what its portfolios need.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from analytics.book import NO_FIRST
from analytics.changed import Touches
from analytics.factors import Factors
from analytics.frame import Frame
from analytics.history import History
from analytics.market import Market
from analytics.money import Bools, Indices, Ints
from analytics.reach import Ranges, Stretch, by_symbol, to_everyone
from analytics.said import FIELDS, NOTHING, Part
from analytics.scope import EVERYTHING, Scope
from analytics.touch import NO_CAUSE, NO_TIME, Pending

PartitionOf = Callable[[str], int]
NOBODY = -1


class SymbolCells:
    """Touched and said cells over (session, column)."""

    def __init__(
        self,
        market: Market,
        factors: Factors,
        partition_of: PartitionOf | None,
        scope: Scope = EVERYTHING,
    ) -> None:
        self._market = market
        self._factors = factors
        self._partition_of = partition_of
        self._owned: set[int] = set()
        self._new: dict[int, int | None] = {}
        self._ranges = Ranges()
        self._pending = Pending(scope)
        self._known = 0
        self.said = Frame(FIELDS)
        self.first: Ints = np.full(0, NO_FIRST)
        self.partition: Ints = np.full(0, NOBODY)

    @property
    def published(self) -> bool:
        """Whether symbols have records at all."""
        return self._partition_of is not None

    # --- ownership -------------------------------------------------------------

    def own(self, partition: int) -> None:
        """Take a partition, of which nothing was said."""
        self._owned.add(partition)
        self._new[partition] = None

    def disown(self, partition: int) -> None:
        """Forget a partition."""
        self._owned.discard(partition)
        self._new.pop(partition, None)
        self._widen()
        for column in self.columns(partition).tolist():
            self._pending.forget(column)
            if column < self.said.columns:
                self.said["state"][:, column] = NOTHING

    def touch_all(self, partition: int) -> None:
        """Look at all cells of a partition."""
        self._widen()
        mine = self.columns(partition)
        self._ranges.note(mine, self.first[mine], NO_FIRST, NO_TIME, NO_CAUSE)

    def catch_up(self, partition: int, since: int) -> None:
        """Look at what prices reach that changed after a market offset."""
        self._new[partition] = since

    def columns(self, partition: int) -> Indices:
        """Columns of a partition's symbols."""
        return np.flatnonzero(self.partition == partition)

    def factor_columns(self) -> list[int]:
        """Columns of the factors that have prices."""
        known = self._market.columns
        return [known[symbol] for symbol in self._factors.symbols if symbol in known]

    def exist(self, column: Indices, session: Ints | int) -> Bools:
        """Whether symbols have a record in sessions."""
        newest = self._market.last_session
        oldest = newest - self._factors.symbol_sessions
        there: Bools = (self.first[column] <= session) & (session > oldest)
        return there & (session <= newest)

    # --- spreading -------------------------------------------------------------

    def spread(
        self, touches: Touches | None, base: int, moved: tuple[int, int], past: History
    ) -> None:
        """Mark the cells that changed prices, and a moved T, reach."""
        self._widen()
        self._move_firsts(touches, base)
        if touches is not None:
            self._note(by_symbol(touches, base, self._factors.reach))
        old, new = moved
        if old != new:
            low, high = min(old, new) + 1, max(old, new)
            everyone = np.arange(len(self.first))
            self._ranges.note(everyone, low, high, NO_TIME, NO_CAUSE)
            back = self._factors.symbol_sessions
            for session in range(max(low - back, 0), high - back + 1):
                self._add_wrong(session, everyone)
        for partition, since in self._new.items():
            self._take_over(partition, since, past)
        self._new.clear()
        stretch = self._ranges.take()
        if stretch is not None:
            self._mark(stretch, max(old, new))

    def _widen(self) -> None:
        symbols = self._market.symbols
        more = symbols[len(self.first) :]
        if more:
            of = self._partition_of
            found = [NOBODY if of is None else of(symbol) for symbol in more]
            self.first = np.append(self.first, np.full(len(more), NO_FIRST))
            self.partition = np.append(self.partition, np.array(found, dtype=np.int64))

    def _move_firsts(self, touches: Touches | None, base: int) -> None:
        """Find first closes again where closes changed, or of all once loaded."""
        closes = self._market.close
        columns = (
            np.arange(len(self.first))
            if self._known < 0
            else np.unique(touches.column)
            if touches is not None
            else np.empty(0, dtype=np.intp)
        )
        self._known = 0
        if not len(columns):
            return
        there = closes[:, columns] != 0
        found = there.argmax(axis=0) + self._market.frame.base
        first = np.where(there.any(axis=0), found, NO_FIRST)
        old = self.first[columns]
        moved = np.flatnonzero((first != old) & ((first < NO_FIRST) | (old < NO_FIRST)))
        self.first[columns] = first
        if touches is not None and len(moved):
            low, high = np.minimum(first, old)[moved], np.maximum(first, old)[moved]
            self._ranges.note(columns[moved], low, high, NO_TIME, NO_CAUSE)

    def market_loaded(self) -> None:
        """Look at all closes again: they were set, and no touches tell of it."""
        self._known = -1

    def _note(self, symbols: Stretch) -> None:
        everyone = to_everyone(len(self.first), symbols, self.factor_columns())
        for found in (symbols, everyone):
            if found is not None:
                self._ranges.note(
                    found.place, found.low, found.high, found.ts, found.ref
                )

    def _take_over(self, partition: int, since: int | None, past: History) -> None:
        touches = None if since is None else past.since(since)
        if touches is not None:
            self._note(by_symbol(touches, NO_CAUSE, self._factors.reach))
        mine = self.columns(partition)
        for session in self._sessions(mine):
            self._add_wrong(session, mine)

    def _add_wrong(self, session: int, columns: Indices) -> None:
        """Mark cells that exist and were not said, and the other way round."""
        wrong = columns[self.exist(columns, session) != self.spoken(session, columns)]
        none = np.full(len(wrong), NO_TIME)
        self._add(session, wrong, none, np.full(len(wrong), NO_CAUSE))

    def _sessions(self, columns: Indices) -> list[int]:
        newest = self._market.last_session
        first = int(self.first[columns].min(initial=NO_FIRST))
        oldest = newest - self._factors.symbol_sessions + 1
        found = set(range(max(first, oldest), newest + 1))
        mine = columns[columns < self.said.columns]
        rows = np.flatnonzero((self.said["state"][:, mine] != NOTHING).any(axis=1))
        return sorted(found | set((rows + self.said.base).tolist()))

    def spoken(self, session: int, columns: Indices) -> Bools:
        """Whether anything was said of columns in a session."""
        frame = self.said
        found = np.zeros(len(columns), dtype=bool)
        inside = columns < frame.columns
        if frame.rows:
            state = frame["state"][frame.row(session)]
            found[inside] = state[columns[inside]] != NOTHING
        return found

    def _mark(self, stretch: Stretch, newest: int) -> None:
        for session, column, ts, ref in stretch.cells(newest):
            known = self.exist(column, session)
            known |= self.spoken(session, column)
            self._add(session, column[known], ts[known], ref[known])

    def _add(self, session: int, column: Indices, ts: Ints, ref: Ints) -> None:
        mine = np.isin(self.partition[column], list(self._owned))
        at = column[mine]
        self._pending.add(session, at, ts[mine], ref[mine], len(self.first))

    # --- taking ----------------------------------------------------------------

    def __bool__(self) -> bool:
        return bool(self._pending)

    def waiting(self) -> bool:
        """Whether there is anything to spread or to take."""
        noted = self._pending or self._new or self._ranges
        return self.published and bool(noted)

    def ready(self) -> int:
        """How many cells can be taken."""
        return self._pending.ready(None) if self.published else 0

    def take(self, limit: int | None) -> tuple[Indices, Ints, Ints]:
        """Take cells: column, session, reference of the cause."""
        return self._pending.take(None, limit)

    def note(
        self, partition: int, symbol: str, session: int, values: dict[str, int]
    ) -> None:
        """Set what is known of one cell, and look at it."""
        column = np.array([self._market.column(symbol)])
        self._widen()
        self.cover(session, session)
        row = self.said.row(session)
        for name, value in values.items():
            self.said[name][row, column] = value
        none = np.array([NO_TIME])
        if self.partition[column[0]] == partition:
            self._add(session, column, none, np.array([NO_CAUSE]))

    def cover(self, first: int, last: int) -> None:
        """Make room for sessions and all columns."""
        self.said.widen(len(self.first))
        self.said.cover(first, last)

    def sessions(self, partition: int) -> set[int]:
        """Sessions of which anything was said of a partition's symbols."""
        mine = self.columns(partition)
        mine = mine[mine < self.said.columns]
        rows = np.flatnonzero((self.said["state"][:, mine] != NOTHING).any(axis=1))
        return set((rows + self.said.base).tolist())

    def dump(self, partition: int, session: int, pending: list[str]) -> Part:
        """Cells of a session, for a checkpoint."""
        mine = self.columns(partition)
        there = mine[self.spoken(session, mine)]
        row, frame = self.said.row(session), self.said
        return Part(
            [self._market.symbols[at] for at in there.tolist()],
            {n: frame[n][row, there].tobytes() for n in frame.fields if frame.rows},
            list(pending),
        )

    def load(self, session: int, part: Part) -> None:
        """Inverse of ``dump``."""
        column = self._columns(part.owners)
        self.cover(session, session)
        row = self.said.row(session)
        for name, blob in part.fields.items():
            dtype = self.said[name].dtype
            self.said[name][row, column] = np.frombuffer(blob, dtype=dtype)
        waiting = self._columns(part.pending)
        none = np.full(len(waiting), NO_TIME)
        self._add(session, waiting, none, np.full(len(waiting), NO_CAUSE))

    def _columns(self, symbols: Iterable[object]) -> Indices:
        found = [self._market.column(str(symbol)) for symbol in symbols]
        self._widen()
        return np.array(found, dtype=np.intp)

    def pending(self, partition: int) -> Iterator[tuple[int, list[str]]]:
        """Symbols of a partition that are still touched, by session."""
        mine = self.columns(partition)
        for session in self._pending.sessions():
            here = np.intersect1d(self._pending.slots(session), mine)
            if len(here):
                yield session, [self._market.symbols[at] for at in here.tolist()]
