"""Cells to look at again, and the newest change that touched each.

Folding only notes what changed. When results are asked for, it is spread to
cells of (session, portfolio) with the holdings of that moment. Touching too much
costs time and publishes nothing; touching too little is a bug.
"""

from collections.abc import Iterable

import numpy as np

from analytics.book import NO_FIRST, Book
from analytics.marks import NEVER, NO_CAUSE, NO_TIME
from analytics.money import Bools, Indices, Ints
from analytics.reach import Ranges
from analytics.results import FAMILIES, RISK
from analytics.scope import EVERYTHING, Scope

__all__ = ["NEVER", "NO_CAUSE", "NO_TIME", "Onwards", "Pending", "Touched"]

# (session, slot, ts, ref): from this session on
Onwards = tuple[int, int, int, int]


class Pending:
    """Touched cells of one family: by session, time and cause for each slot.

    Sessions out of ``scope`` are not touched.
    """

    def __init__(self, scope: Scope = EVERYTHING) -> None:
        self._scope = scope
        self._sessions: dict[int, tuple[Ints, Ints]] = {}
        self._next = 0

    def __bool__(self) -> bool:
        return bool(self._sessions)

    def ready(self, closed: Bools | None) -> int:
        """How many cells can be taken."""
        found = 0
        for times, _ in self._sessions.values():
            there = times != NEVER
            if closed is not None:
                there &= ~closed[: len(there)]
            found += int(np.count_nonzero(there))
        return found

    def sessions(self) -> list[int]:
        """Sessions with a touched cell."""
        return sorted(self._sessions)

    def slots(self, session: int) -> Indices:
        """Touched slots of a session."""
        ts, _ = self._sessions[session]
        return np.flatnonzero(ts != NEVER)

    def add(
        self, session: int, slot: Indices, ts: Ints | int, ref: Ints | int, slots: int
    ) -> None:
        """Touch cells; of several changes the newest is the cause."""
        if not len(slot) or not self._scope.has(session):
            return
        times, refs = self._arrays(session, slots)
        ts, ref = np.broadcast_to(ts, slot.shape), np.broadcast_to(ref, slot.shape)
        np.maximum.at(times, slot, ts)
        newest = ts == times[slot]
        refs[slot[newest]] = ref[newest]

    def _arrays(self, session: int, slots: int) -> tuple[Ints, Ints]:
        held = self._sessions.get(session)
        if held is not None and len(held[0]) >= slots:
            return held
        times = np.full(max(slots, 1), NEVER)
        refs = np.full(max(slots, 1), NO_CAUSE)
        if held is not None:
            times[: len(held[0])], refs[: len(held[1])] = held
        self._sessions[session] = (times, refs)
        return times, refs

    def take(
        self,
        closed: Bools | None,
        limit: int | None = None,
        parted: int | None = None,
    ) -> tuple[Indices, Ints, Ints]:
        """Take touched cells out: slot, session, reference of the cause.

        ``closed`` marks slots that must wait (their transaction is not complete).
        Newest sessions come first; those that would exceed ``limit`` stay, but at
        least one is taken, whole: its cells share much of what they cost. Only of
        session ``parted`` not more than the limit: the next slots in turn, so that
        those that are touched again and again do not keep others waiting.
        """
        taken = 0
        parts: list[tuple[Indices, Ints, Ints]] = []
        for session in sorted(self._sessions, reverse=True):
            times, refs = self._sessions[session]
            ready = times != NEVER
            if closed is not None:
                ready &= ~closed[: len(ready)]
            slot = np.flatnonzero(ready)
            if not len(slot):
                continue
            if limit is not None and taken + len(slot) > limit:
                if parts:
                    break
                if session == parted:
                    slot = self._in_turn(slot, limit)
            taken += len(slot)
            parts.append((slot, np.full(len(slot), session), refs[slot]))
            self._clear(session, slot)
        if not parts:
            empty = np.empty(0, dtype=np.int64)
            return empty.astype(np.intp), empty, empty
        slot, day, ref = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((day, slot))
        return slot[order], day[order], ref[order]

    def _in_turn(self, slot: Indices, limit: int) -> Indices:
        """Take so many slots after the last that was taken in turn."""
        turned = np.roll(slot, -int(np.searchsorted(slot, self._next)))[:limit]
        self._next = int(turned[-1]) + 1
        return turned

    def forget(self, slot: int) -> None:
        """Forget a slot's cells."""
        for session in list(self._sessions):
            if slot < len(self._sessions[session][0]):
                self._clear(session, slot)

    def _clear(self, session: int, slot: Indices | int) -> None:
        times, _ = self._sessions[session]
        times[slot] = NEVER
        if not (times != NEVER).any():
            del self._sessions[session]


class Touched:
    """Touched cells of all families, each taken at its own pace."""

    def __init__(
        self,
        book: Book,
        families: Iterable[str] = FAMILIES,
        scope: Scope = EVERYTHING,
    ) -> None:
        self._book = book
        self._pending = {family: Pending(scope) for family in families}
        self.ranges = Ranges()
        self._windowed = RISK in self._pending

    def __bool__(self) -> bool:
        return any(self._pending.values())

    def ready(self, closed: Bools | None, families: Iterable[str] = FAMILIES) -> int:
        """How many cells can be taken of the largest of some families."""
        held = self._pending
        return max((held[f].ready(closed) for f in families if f in held), default=0)

    def take(
        self, family: str, closed: Bools | None, limit: int | None, parted: int
    ) -> tuple[Indices, Ints, Ints]:
        """Take cells of a family; see ``Pending.take``."""
        return self._pending[family].take(closed, limit, parted)

    def add(
        self,
        session: int,
        slot: Indices,
        ts: Ints | int = NO_TIME,
        ref: Ints | int = NO_CAUSE,
    ) -> None:
        """Touch cells of a session in all families."""
        for pending in self._pending.values():
            pending.add(session, slot, ts, ref, self._book.slots.used)
        if self._windowed:
            self.ranges.note(slot, session, session, ts, ref)

    def add_to(
        self, family: str, session: int, slot: Indices, ts: Ints, ref: Ints
    ) -> None:
        """Touch cells of one family; those before a first session are left out."""
        there = self._book.slots["first"][slot] <= session
        slots = self._book.slots.used
        self._pending[family].add(session, slot[there], ts[there], ref[there], slots)

    def add_one(self, family: str, session: int, slot: int) -> None:
        """Touch one cell of one family."""
        width = self._book.slots.used
        self._pending[family].add(session, np.array([slot]), NO_TIME, NO_CAUSE, width)

    def onwards(self, entries: Iterable[Onwards], newest: int) -> None:
        """Touch all sessions from those of the entries on, up to ``newest``."""
        listed = list(entries)
        if not listed:
            return
        first, slot, ts, ref = np.array(listed, dtype=np.int64).T
        for session in range(int(first.min()), newest + 1):
            here = np.flatnonzero(first <= session)
            self.add(session, slot[here].astype(np.intp), ts[here], ref[here])

    def everyone(
        self, first: int, last: int, partition: int | None = None
    ) -> Iterable[tuple[int, Indices]]:
        """Sessions of a range with a result, and the slots that have one."""
        slots = self._book.slots
        starts = slots["first"][: slots.used]
        mine = (
            True if partition is None else slots["partition"][: slots.used] == partition
        )
        low = int(starts.min(initial=NO_FIRST))
        for session in range(max(first, low), last + 1):
            yield session, np.flatnonzero((starts <= session) & mine)

    def waiting(self, slots: Indices) -> dict[int, dict[str, Indices]]:
        """Touched cells of some slots, by session and family."""
        found: dict[int, dict[str, Indices]] = {}
        mine = np.zeros(self._book.slots.used, bool)
        mine[slots] = True
        for family, pending in self._pending.items():
            for session in pending.sessions():
                touched = pending.slots(session)
                here = touched[mine[touched]]
                if len(here):
                    found.setdefault(session, {})[family] = here
        return found

    def forget(self, slot: int) -> None:
        """Forget a slot's cells."""
        for pending in self._pending.values():
            pending.forget(slot)
