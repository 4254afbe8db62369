"""From changed rows to touched cells: what ``analytics.md`` 11 lists.

``Spreader`` notes which accounts changed, and when asked compiles them, compares
with what they were, and marks the cells of every family that may differ.
"""

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np

from analytics import checkpoint
from analytics.accounts import compile_account, differences
from analytics.book import NO_FIRST, Book
from analytics.changed import Touches
from analytics.history import History
from analytics.market import Market
from analytics.money import Indices, Ints
from analytics.partitions import Partition
from analytics.results import FAMILIES
from analytics.said import Said
from analytics.state import NOTHING, Account, Trace, lots_of
from analytics.touch import NO_CAUSE, NO_TIME, Causes, Pending, holders, spread
from analytics.watch import Hits, Watch


class Spreader:
    """What must be looked at again, and why."""

    def __init__(
        self,
        market: Market,
        book: Book,
        said: Said,
        partitions: dict[int, Partition],
    ) -> None:
        self._market = market
        self._book = book
        self._said = said
        self._partitions = partitions
        self._pending = {family: Pending() for family in FAMILIES}
        self._changed: dict[int, Account] = {}
        self._whole: dict[int, Account] = {}
        self._loaded: dict[int, Account] = {}
        self._watch = Watch()
        self._newest = -1
        self._partial: int | None = None
        self.causes = Causes(market)
        self.history = History()

    # --- noting ----------------------------------------------------------------

    def note(self, account: Account) -> None:
        """Rows of an account changed, or were loaded."""
        if account.loaded and not account.traces:
            self._loaded[account.slot] = account
        else:
            self._changed[account.slot] = account

    def settle(self, account: Account) -> None:
        """Compile a loaded account as it was, before it changes."""
        if account.slot in self._loaded and account.compiled is NOTHING:
            self._compile(account, None)

    def touch(self, account: Account) -> None:
        """Look at all sessions of an account."""
        self._whole[account.slot] = account

    def touch_cell(self, family: str, session: int, slot: int) -> None:
        """Look at one cell."""
        width = self._book.slots.used
        self._pending[family].add(session, np.array([slot]), NO_TIME, NO_CAUSE, width)

    def forget(self, account: Account) -> None:
        """Forget an account that goes to another worker."""
        for noted in (self._changed, self._whole, self._loaded):
            noted.pop(account.slot, None)
        self._watch.drop(account.slot)
        for pending in self._pending.values():
            pending.forget(account.slot)

    def market_loaded(self) -> None:
        """Take the market as it is: its changes have been spread before."""
        self._newest = self._top()
        self._partial = self._market.partial_from()

    def waiting(self) -> bool:
        """Whether there is anything to spread or to derive."""
        noted = self._changed or self._whole or self._market.touched()
        if noted or self._partial != self._market.partial_from():
            return True
        if any(self._finals(home) != home.finals for home in self._partitions.values()):
            return True
        closed = self._closed()
        return any(pending.ready(closed) for pending in self._pending.values())

    # --- spreading -------------------------------------------------------------

    def spread(self) -> None:
        """Mark the cells that everything noted so far touches."""
        market = self._market
        for account in self._loaded.values():
            self.settle(account)
        touches = market.take_touches()
        market.refresh()
        base = NO_CAUSE if touches is None else self.causes.add_prices(touches)
        newest, self._newest = self._newest, self._top()
        hits = self._watch.hits(market, touches, base, newest, self._newest)
        for home in self._partitions.values():
            self._catch_up(home)
        self._accounts(hits)
        self._loaded.clear()
        self._move_newest(newest, touches, base)
        self._move_partial()
        for home in self._partitions.values():
            self._move_finals(home)
        if touches is not None:
            self.history.add(market.offset, touches)
            effects = spread(market, touches, base)
            for cells in holders(self._book, effects, touches):
                self._add(*cells)

    def take(self, family: str, limit: int | None) -> tuple[Indices, Ints, Ints]:
        """Take cells of a family: slot, session, reference of the cause."""
        return self._pending[family].take(self._closed(), limit)

    def clean(self) -> None:
        """Forget causes when no cell needs them."""
        if not any(self._pending.values()):
            self.causes.clear()

    def _top(self) -> int:
        return -1 if self._market.newest is None else self._market.newest

    def _closed(self) -> np.ndarray | None:
        """Slots whose partition is within a transaction."""
        if not any(home.open for home in self._partitions.values()):
            return None
        slots = self._book.slots
        closed = np.zeros(slots.used, dtype=bool)
        for home in self._partitions.values():
            if home.open:
                closed |= slots["partition"][: slots.used] == home.id
        return closed

    def _add(
        self, session: int, slot: Indices, ts: Ints | int, ref: Ints | int
    ) -> None:
        for pending in self._pending.values():
            pending.add(session, slot, ts, ref, self._book.slots.used)

    # --- accounts --------------------------------------------------------------

    def _compile(self, account: Account, only: Iterable[int] | None) -> None:
        market, top = self._market, self._top()
        account.compiled = compile_account(
            account, market.calendar, market.newest_close, top, only
        )
        self._book.put(account.slot, account.compiled)
        self._watch.put(account.slot, account.compiled)

    def _accounts(self, hits: Hits) -> None:
        entries: list[tuple[int, int, int, int]] = []
        for slot in self._changed.keys() | hits.keys():
            account = self._changed.get(slot) or self._find(slot)
            entries += self._account(account, hits)
        for account in self._whole.values():
            starts = [account.compiled.start, *self._said.sessions(account.slot)[:1]]
            first = min((s for s in starts if s is not None), default=None)
            if first is not None:
                entries.append((first, account.slot, NO_TIME, NO_CAUSE))
            for session in self._said.sessions(account.slot):
                if session > self._newest:
                    self._add(session, np.array([account.slot]), NO_TIME, NO_CAUSE)
        self._changed.clear()
        self._whole.clear()
        self._onwards(entries)

    def _find(self, slot: int) -> Account:
        slots = self._book.slots
        home = self._partitions[int(slots["partition"][slot])]
        return home.accounts[int(slots["portfolio"][slot])]

    def _account(self, account: Account, hits: Hits) -> list[tuple[int, int, int, int]]:
        """Compile an account; (session, slot, ts, ref) from which it differs."""
        hit = hits.get(account.slot)
        old, traces = account.compiled, list(account.traces.values())
        lots = lots_of(traces).keys() | (hit.lots if hit else set())
        self._compile(account, lots)
        account.traces.clear()
        late = (hit.ts, hit.ref) if hit else (NO_TIME, NO_CAUSE)
        refs: dict[int, int] = {}
        found = []
        for session, trace in differences(old, account.compiled, traces).items():
            ts, ref = late if trace is None else (trace.ts, self._ref(trace, refs))
            found.append((session, account.slot, ts, ref))
        if hit and account.slot in self._loaded:
            # compiled with the closes of today: what it was is not known
            self._whole[account.slot] = account
        account.loaded = False
        return _newer(found)

    def _ref(self, trace: Trace, refs: dict[int, int]) -> int:
        if id(trace) not in refs:
            refs[id(trace)] = self.causes.add(trace)
        return refs[id(trace)]

    def _onwards(self, entries: list[tuple[int, int, int, int]]) -> None:
        """Touch all sessions from those of the entries on, up to T."""
        if not entries:
            return
        first, slot, ts, ref = np.array(entries, dtype=np.int64).T
        for session in range(int(first.min()), self._newest + 1):
            here = np.flatnonzero(first <= session)
            self._add(session, slot[here].astype(np.intp), ts[here], ref[here])

    # --- everything ------------------------------------------------------------

    def _slots(self, session: int, partition: int | None = None) -> Indices:
        """Slots that have a result in a session."""
        slots = self._book.slots
        there = slots["first"][: slots.used] <= session
        if partition is not None:
            there &= slots["partition"][: slots.used] == partition
        return np.flatnonzero(there)

    def _first(self) -> int:
        slots = self._book.slots
        return int(slots["first"][: slots.used].min(initial=NO_FIRST))

    def _move_newest(self, old: int, touches: Touches | None, base: int) -> None:
        """Touch the sessions that have come (for every portfolio) or gone."""
        new = self._newest
        for session in range(max(old + 1, self._first()), new + 1):
            ts, ref = _newest_of(touches, session, base)
            self._add(session, self._slots(session), ts, ref)
        said = self._said.first() if old > new else None
        if said is not None:
            everyone = np.arange(self._book.slots.used)
            for session in range(max(new + 1, said), old + 1):
                ts, ref = _newest_of(touches, session, base)
                self._add(session, everyone, ts, ref)

    def _move_partial(self) -> None:
        """Touch what a part of a market transaction, or its rest, concerns."""
        old, self._partial = self._partial, self._market.partial_from()
        if old != self._partial:
            since = min(s for s in (old, self._partial) if s is not None)
            for session in range(max(since, self._first()), self._newest + 1):
                self._add(session, self._slots(session), NO_TIME, NO_CAUSE)
            late = [s for s in self._book.compiled if self._book.settles(s, since)]
            firsts = self._book.slots["first"]
            self._onwards([(firsts[s], s, NO_TIME, NO_CAUSE) for s in late])

    def _finals(self, home: Partition) -> int:
        """How many sessions of the calendar have closed by the as-of time."""
        as_of = max(home.clock, self._market.clock)
        return bisect_right(self._market.calendar.closes, as_of)

    def _move_finals(self, home: Partition) -> None:
        """Touch the sessions whose close the as-of time has passed."""
        count = self._finals(home)
        first = max(home.finals, self._first())
        turned: Iterable[int] = range(first, min(count, self._newest + 1))
        if home.finals < 0:  # all its accounts are new, or were loaded
            turned = [
                session
                for session, (final, _) in home.loaded_as.items()
                if final != (session < count)
            ]
        home.finals = count
        home.loaded_as.clear()
        for session in turned:
            slots = self._slots(session, home.id)
            self._add(session, slots, NO_TIME, NO_CAUSE)

    # --- after a restore -------------------------------------------------------

    def _catch_up(self, home: Partition) -> None:
        """Touch what prices reach that changed since a partition's checkpoint."""
        part = self._market.partial_from()
        for session, (_, partial) in home.loaded_as.items():
            if partial != (part is not None and session >= part):
                for account in home.accounts.values():
                    self.touch(account)
                break
        since, home.since = home.since, None
        if since is None:
            return
        self._complete(home)
        touches = self.history.since(since)
        if touches is None:
            return
        for cells in holders(self._book, spread(self._market, touches, 0), touches):
            session, slot, _, _ = cells
            mine = slot[self._book.slots["partition"][slot] == home.id]
            self._add(session, mine, NO_TIME, NO_CAUSE)
        low = int(touches.session.min())
        for account in home.accounts.values():
            if self._book.settles(account.slot, low):
                self.touch(account)

    def _complete(self, home: Partition) -> None:
        """Touch cells that exist and were not said, and the other way round."""
        slots = self._book.slots
        mine = np.flatnonzero(slots["partition"][: slots.used] == home.id)
        first = slots["first"][mine]
        sessions = set(range(int(first.min(initial=NO_FIRST)), self._newest + 1))
        for session in sessions | self._said.spoken(mine):
            there = (first <= session) & (session <= self._newest)
            for said in self._said.states(session, mine):
                self._add(session, mine[there != said], NO_TIME, NO_CAUSE)

    # --- checkpoint ------------------------------------------------------------

    def dump_said(self, home: Partition, only_dirty: bool) -> dict[int, bytes]:
        """Dump what was said of a partition by session, with what is pending."""
        slots = self._book.slots
        mine = np.flatnonzero(slots["partition"][: slots.used] == home.id)
        ids = slots["portfolio"][mine]
        waiting: dict[int, dict[str, list[int]]] = {}
        for family, pending in self._pending.items():
            for session in pending.sessions():
                here = np.intersect1d(pending.slots(session), mine)
                if len(here):
                    portfolios = slots["portfolio"][here].tolist()
                    waiting.setdefault(session, {})[family] = portfolios
        sessions = set(waiting) | self._said.dirty.pop(home.id, set())
        if not only_dirty:
            sessions |= self._said.spoken(mine)
        return {
            session: checkpoint.encode_said(
                session < self._finals(home),
                self._partial is not None and session >= self._partial,
                {
                    family: self._said.dump(
                        family,
                        session,
                        mine,
                        ids,
                        waiting.get(session, {}).get(family, []),
                    )
                    for family in FAMILIES
                },
            )
            for session in sorted(sessions)
        }


def _newer(
    entries: list[tuple[int, int, int, int]],
) -> list[tuple[int, int, int, int]]:
    """Entries that are the newest change for some session: later, and newer."""
    found: list[tuple[int, int, int, int]] = []
    for entry in sorted(entries):
        if not found or entry[2] > found[-1][2]:
            found.append(entry)
    return found


def _newest_of(touches: Touches | None, session: int, base: int) -> tuple[int, int]:
    """Time and reference of the newest change of a session's prices."""
    if touches is None:
        return NO_TIME, NO_CAUSE
    here = np.flatnonzero(touches.session == session)
    if not len(here):
        return NO_TIME, NO_CAUSE
    entry = int(here[np.argmax(touches.ts[here])])
    return int(touches.ts[entry]), base + entry
