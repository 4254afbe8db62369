"""Closes by session and symbol, profiles and benchmark weights, with versions.

A price of a symbol stands in the row of its session and the column of its
symbol. ``last`` of a cell is the newest session up to it that has a close: what
a symbol is valued with. Deleted rows leave their version behind, so that an
older change that comes late is still dropped.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.calendar import Calendar
from analytics.carry import Carry
from analytics.changed import Touches, merge
from analytics.frame import Frame
from analytics.money import SMALL, Bools, Floats, Indices, Ints
from analytics.rows import Change, Price, Profile, Version, Weight
from analytics.state import Trace

PRICES = "market_data_cache"
PROFILES = "company_profiles"
WEIGHTS = "benchmarks_sector_weights"
NEVER = -(2**63)
COMPACT = 1 << 20
JUMP = 1.8
CELLS = ("close", "adj", "commit", "lsn", "order")
FIELDS: dict[str, tuple[str, float | int]] = {
    "close": ("i8", 0),
    "adj": ("f8", float("nan")),
    "commit": ("i8", NEVER),
    "lsn": ("i8", NEVER),
    "order": ("i4", 0),
    "last": ("i4", -1),
}


class Market:
    """Everything that all portfolios see.

    Attributes
    ----------
    offset
        Next record of the market log.
    others_at
        Market offset after the newest change of a profile or weight.
    newest
        T: the newest session that has a price of any symbol; None without one.
    clock
        Newest commit time of any change folded.
    """

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self.symbols: list[str] = []
        self.columns: dict[str, int] = {}
        self.frame = Frame(FIELDS)
        self.newest: int | None = None
        self.clock = 0
        self.clocks: dict[int, int] = {}
        self.profiles: dict[str, tuple[Version, Profile | None]] = {}
        self.weights: dict[int, tuple[Version, Weight | None]] = {}
        self.dirty: set[int | str] = set()
        self.offset = 0
        self.partial: dict[str, int] = {}
        self.open_at = -1
        self._carry = Carry(self.frame)
        self._touches: list[Touches] = []
        self._touched = 0
        self._others: Trace | None = None
        self.others_at = 0

    # --- reading ---------------------------------------------------------------

    @property
    def close(self) -> Ints:
        """Closes, 0 where there is none."""
        return self.frame["close"]

    @property
    def adj(self) -> Floats:
        """Adjusted closes, NaN where there is none."""
        return self.frame["adj"]

    @property
    def last(self) -> NDArray[np.int32]:
        """Newest session up to the cell's with a close, -1 without; see ``refresh``."""
        return self.frame["last"]

    def column(self, symbol: str) -> int:
        """Column of a symbol, made when it is new."""
        found = self.columns.get(symbol)
        if found is None:
            found = self.columns[symbol] = len(self.symbols)
            self.symbols.append(symbol)
            self.frame.widen(len(self.symbols))
        return found

    def newest_close(self, symbol: str, oldest: int, session: int) -> tuple[int, int]:
        """(session, close) of the newest in [oldest, session]; (-1, 0) for none."""
        column = self.columns.get(symbol)
        if column is None:
            return -1, 0
        for day in range(session, oldest - 1, -1):
            close = int(self.close[self.frame.row(day), column])
            if close:
                return day, close
        return -1, 0

    def jumps(self, session: Ints, column: Indices) -> Bools:
        """Whether a close or adjusted close is 1.8 times the one before, or more.

        Or 1/1.8 of it, or less; without both rows there is no ratio.
        """
        row, ahead = self.frame.rows_of(session), self.frame.rows_of(session - 1)
        a, b = self.close[row, column], self.close[ahead, column]
        both = (a > 0) & (b > 0)
        with np.errstate(all="ignore"):
            ratio = self.adj[row, column] / self.adj[ahead, column]
        adjusted = (ratio >= JUMP) | (ratio <= 1 / JUMP)
        closes = (5 * a >= 9 * b) | (9 * a <= 5 * b)
        for place in np.flatnonzero(np.maximum(a, b) >= SMALL).tolist():
            now, before = int(a[place]), int(b[place])  # 9·close may leave int64
            closes[place] = 5 * now >= 9 * before or 9 * now <= 5 * before
        found: Bools = both & (adjusted | closes)
        return found

    def jump(self, symbol: str, session: int) -> bool:
        """``jumps`` of one symbol."""
        column = np.array([self.column(symbol)])
        return bool(self.jumps(np.array([session]), column)[0])

    def version(self, column: int, session: int) -> Version:
        """Version of a price."""
        cell = self.frame.row(session), column
        fields = [int(self.frame[name][cell]) for name in ("commit", "lsn", "order")]
        return Version(*fields)

    # --- folding ---------------------------------------------------------------

    def fold(self, changes: Iterable[Change]) -> int:
        """Fold changes; the first session that they speak of (profiles: all)."""
        prices: list[Change] = []
        others = 0
        for change in changes:
            if change.ts > self.clock:
                self.clock = change.ts
                self.dirty.add("clock")
            if change.table == PRICES:
                prices.append(change)
            else:
                self._other(change)
                others += 1
        sessions = self._prices(prices) if prices else []
        return 0 if others else min(sessions, default=0)

    def _other(self, change: Change) -> None:
        name = "profiles" if change.table == PROFILES else "weights"
        held: dict[Any, Any] = getattr(self, name)
        key = change.key[0]
        known = held.get(key)
        if known is None or known[0] < change.version:
            held[key] = (change.version, change.row)
            self.dirty.add(name)
            old = None if known is None else known[1]
            if old != change.row:
                self._others = Trace(
                    change.table, key, change.version, change.ts, old, change.row
                )

    def _prices(self, changes: list[Change]) -> list[int]:
        index, column = self.calendar.index, self.column
        sessions: list[int] = []
        columns: list[int] = []
        values: list[tuple[int, float]] = []
        versions: list[tuple[int, int, int]] = []
        times: list[int] = []
        for change in changes:
            symbol, day = change.key
            session = index(day)  # type: ignore[arg-type]
            if session is None:
                continue  # a refused row: no session, no cell
            sessions.append(session)
            columns.append(column(symbol))  # type: ignore[arg-type]
            v = change.version
            versions.append((v.commit, v.lsn, v.order))
            values.append(_value(change.row))  # type: ignore[arg-type]
            times.append(change.ts)
        if sessions:
            self._cells(sessions, columns, values, versions, times)
        return sessions

    def _cells(
        self,
        sessions: list[int],
        columns: list[int],
        values: list[tuple[int, float]],
        versions: list[tuple[int, int, int]],
        times: list[int],
    ) -> None:
        n = len(sessions)
        self.frame.cover(min(sessions), max(sessions))
        session = np.array(sessions, dtype=np.int64)
        col = np.array(columns, dtype=np.intp)
        version = np.fromiter(chain.from_iterable(versions), np.int64, 3 * n)
        commit, lsn, order = version.reshape(n, 3).T
        closes, adjs = zip(*values, strict=True)
        close = np.array(closes, dtype=np.int64)
        adj = np.array(adjs, dtype=np.float64)
        ts = np.array(times, dtype=np.int64)
        row = self.frame.rows_of(session)
        keep = self._latest(row, col, commit, lsn, order)
        if keep is not None:
            session, col, row, ts = session[keep], col[keep], row[keep], ts[keep]
            close, adj = close[keep], adj[keep]
            commit, lsn, order = commit[keep], lsn[keep], order[keep]
        self._store(session, row, col, close, adj, ts)
        self.frame["commit"][row, col] = commit
        self.frame["lsn"][row, col] = lsn
        self.frame["order"][row, col] = order

    def _latest(
        self, row: Indices, col: Indices, commit: Ints, lsn: Ints, order: Ints
    ) -> Indices | None:
        """Which entries are newer than what is held, one a cell; None for all.

        Of equal versions the first one counts, as if they came one by one.
        """
        held = [self.frame[name][row, col] for name in ("commit", "lsn", "order")]
        same_commit, same_lsn = commit == held[0], lsn == held[1]
        later = (lsn > held[1]) | (same_lsn & (order > held[2]))
        newer: Bools = (commit > held[0]) | (same_commit & later)
        cell = row * self.frame.columns + col
        if bool(newer.all()) and len(np.unique(cell)) == len(cell):
            return None
        place = -np.arange(len(cell))
        ranked = np.lexsort((place, order, lsn, commit, cell))
        ranked = ranked[newer[ranked]]
        top = np.ones(len(ranked), dtype=bool)
        top[:-1] = cell[ranked][1:] != cell[ranked][:-1]
        return ranked[top]

    def _store(
        self,
        session: Ints,
        row: Indices,
        col: Indices,
        close: Ints,
        adj: Floats,
        ts: Ints,
    ) -> None:
        old_close, old_adj = self.close[row, col], self.adj[row, col]
        self.close[row, col] = close
        self.adj[row, col] = adj
        both_nan = np.isnan(old_adj) & np.isnan(adj)
        moved = (close != old_close) | ((adj != old_adj) & ~both_nan)
        present = (close != 0).astype(np.int64) - (old_close != 0)
        changed = np.flatnonzero(present)
        if len(changed):
            self._presence(session[changed], col[changed], present[changed])
        m = np.flatnonzero(moved)
        if len(m):
            touches = (col[m], session[m], ts[m], old_close[m], old_adj[m])
            self._touch(Touches(*touches))
        newest: dict[int, int] = {}
        for day, stamp in zip(session.tolist(), ts.tolist(), strict=True):
            newest[day] = max(stamp, newest.get(day, 0))
        for day, stamp in newest.items():
            self.clocks[day] = max(stamp, self.clocks.get(day, 0))
            self.dirty.add(day)

    def _touch(self, touches: Touches) -> None:
        self._touches.append(touches)
        self._touched += len(touches)
        if self._touched > COMPACT:
            self._touches = [merge(self._touches)]
            self._touched = len(self._touches[0])

    def _presence(self, session: Ints, col: Indices, by: Ints) -> None:
        self._carry.note(session.tolist(), col.tolist(), by.tolist())
        self.newest = self._carry.newest

    @property
    def last_session(self) -> int:
        """T, or -1 without a price."""
        return -1 if self.newest is None else self.newest

    @property
    def top(self) -> int:
        """Newest session that ever had a price; -1 for none."""
        return self._carry.top

    def refresh(self) -> None:
        """Bring ``last`` up to date."""
        self._carry.refresh()

    @property
    def open(self) -> bool:
        """Whether the transaction of the last record goes on in the next."""
        return self.open_at == self.offset

    def note_record(
        self,
        tx: str | None,
        since: int,
        next_offset: int,
        *,
        more: bool,
        partial: bool,
    ) -> None:
        """Note whether the record just folded leaves a transaction incomplete."""
        self.offset = next_offset
        if self._others is not None:
            self.others_at = next_offset
        if more or self.open_at >= 0:
            self.open_at = next_offset if more else -1
            self.dirty.add("clock")
        name = tx or ""
        if partial:
            self.partial[name] = min(since, self.partial.get(name, since))
            self.dirty.add("clock")
        elif not more and self.partial.pop(name, None) is not None:
            self.dirty.add("clock")

    def partial_from(self) -> int | None:
        """First session that a part of a transaction touches, None without one."""
        return min(self.partial.values(), default=None)

    def touched(self) -> bool:
        """Whether anything changed that was not taken."""
        return bool(self._touches) or self._others is not None

    def restore(
        self, session: int, columns: Indices, arrays: list[Any], clock: int
    ) -> None:
        """Set the prices of a session as a checkpoint holds them: no touches."""
        self.frame.cover(session, session)
        row = self.frame.row(session)
        for name, values in zip(CELLS, arrays, strict=True):
            self.frame[name][row, columns] = values
        self.clocks[session] = clock
        self.clock = max(self.clock, clock)
        if len(columns):
            day = np.full(len(columns), session)
            self._presence(day, columns, (arrays[0] != 0).astype(np.int64))

    def take_touches(self) -> Touches | None:
        """Take out what changed since the last call."""
        parts, self._touches, self._touched = self._touches, [], 0
        return merge(parts) if parts else None

    def take_others(self) -> Trace | None:
        """Take out the newest change of a profile or a weight."""
        change, self._others = self._others, None
        return change


def _value(row: Price | None) -> tuple[int, float]:
    if row is None:
        return 0, float("nan")
    return row.close, float("nan") if row.adj_close is None else row.adj_close
