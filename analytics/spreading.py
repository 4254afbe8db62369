"""From changed rows to touched cells: what ``analytics.md`` 11 lists.

``Spreader`` notes which accounts changed, and when asked compiles them, compares
with what they were, and marks the cells of every family that may differ.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable

import numpy as np

from analytics.accounts import compile_account, differences
from analytics.book import NO_FIRST, Book
from analytics.causes import Causes
from analytics.changed import Touches
from analytics.effects import holders, spread
from analytics.history import History
from analytics.market import Market
from analytics.money import Bools, Indices, Ints
from analytics.partitions import Partition
from analytics.reach import by_symbol, to_everyone, to_holders
from analytics.results import RISK, SYMBOLS
from analytics.risk import RiskDesk
from analytics.said import Said
from analytics.scope import EVERYTHING, Scope
from analytics.state import NOTHING, Account, Trace, lots_of
from analytics.symbol_cells import SymbolCells
from analytics.touch import NO_CAUSE, NO_TIME, Onwards, Touched
from analytics.watch import Hits, Watch


class Spreader:
    """What must be looked at again, and why."""

    def __init__(
        self,
        market: Market,
        book: Book,
        said: Said,
        partitions: dict[int, Partition],
        risk: RiskDesk,
        symbols: SymbolCells,
        scope: Scope = EVERYTHING,
    ) -> None:
        self._market = market
        self._book = book
        self._said = said
        self._partitions = partitions
        self._risk = risk
        self._symbols = symbols
        self._loaded_market = False
        self._windowed = RISK in said.frames
        self._changed: dict[int, Account] = {}
        self._whole: dict[int, Account] = {}
        self._loaded: dict[int, Account] = {}
        self._watch = Watch()
        self._newest = -1
        self._partial: int | None = None
        self.touched = Touched(book, said.frames, scope)
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

    def forget(self, account: Account) -> None:
        """Forget an account that goes to another worker."""
        for noted in (self._changed, self._whole, self._loaded):
            noted.pop(account.slot, None)
        self._watch.drop(account.slot)
        self._risk.own.drop(account.slot)
        self.touched.forget(account.slot)

    def market_loaded(self) -> None:
        """Take the market as it is: its changes have been spread before."""
        self._newest = self._market.last_session
        self._partial = self._market.partial_from()
        self._loaded_market = True
        self._symbols.market_loaded()

    def waiting(self) -> bool:
        """Whether there is anything to spread or to derive."""
        closed = self._closed()
        accounts = self._changed.keys() | self._whole.keys()
        if any(closed is None or not closed[slot] for slot in accounts):
            return True
        if self._market.touched() or self._partial != self._market.partial_from():
            return True
        homes = self._partitions.values()
        if any(home.since is not None or home.loaded_as for home in homes):
            return True
        if any(self.finals(home) != home.finals for home in homes):
            return True
        return self._symbols.waiting() or bool(self.touched.ready(closed))

    # --- spreading -------------------------------------------------------------

    def spread(self) -> None:
        """Mark the cells that everything noted so far touches."""
        market = self._market
        for account in self._loaded.values():
            self.settle(account)
        touches = market.take_touches()
        market.refresh()
        self._move_returns(touches)
        base = NO_CAUSE if touches is None else self.causes.add_prices(touches)
        newest, self._newest = self._newest, market.last_session
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
                self.touched.add(*cells)
            self._windows(touches, base)
        if self._symbols.published:
            moved = (newest, self._newest)
            self._symbols.spread(touches, base, moved, self.history)
        self._move_others()
        self._spread_risk()

    # --- risk ------------------------------------------------------------------

    def _move_returns(self, touches: Touches | None) -> None:
        if not self._windowed and not self._symbols.published:
            return
        if self._loaded_market:
            self._risk.rebuild()
            self._loaded_market = False
        if touches is not None:
            self._risk.update(touches)

    def _windows(
        self, touches: Touches, base: int, partition: int | None = None
    ) -> None:
        """Touch the windows that hold a return which changed closes move."""
        if not self._windowed:
            return
        symbols = by_symbol(touches, base, self._risk.factors.reach)
        factors = self._symbols.factor_columns()
        everyone = to_everyone(self._book.slots.used, symbols, factors)
        of = self._book.slots["partition"]
        for found in (to_holders(self._book, symbols), everyone):
            if found is not None:
                mine = partition is None or of[found.place] == partition
                at = np.flatnonzero(np.broadcast_to(mine, found.place.shape))
                self.touched.ranges.note(
                    found.place[at],
                    found.low[at],
                    found.high[at],
                    found.ts[at],
                    found.ref[at],
                )

    def _move_others(self) -> None:
        """Touch everything when a profile or a benchmark weight changed."""
        trace = self._market.take_others()
        if trace is not None:
            self._risk.others_moved()
            self._all_sectors(None, trace.ts, self.causes.add(trace))

    def _all_sectors(self, partition: int | None, ts: int, ref: int) -> None:
        slots = self._book.slots
        first = slots["first"][: slots.used]
        there = (first <= self._newest) & self._windowed
        if partition is not None:
            there &= slots["partition"][: slots.used] == partition
        at = np.flatnonzero(there)
        self.touched.ranges.note(at, first[at], self._newest, ts, ref)

    def _spread_risk(self) -> None:
        """Touch risk where anything in its windows was touched."""
        longest = max(w.sessions for w in self._risk.factors.volatility)
        stretch = self.touched.ranges.take(longest)
        if stretch is None:
            return
        self._risk.own.forget(stretch.place, stretch.low, stretch.high)
        for cells in stretch.cells(self._newest):
            self.touched.add_to(RISK, *cells)

    def take(self, family: str, limit: int | None) -> tuple[Indices, Ints, Ints]:
        """Take cells of a family: slot, session, reference of the cause.

        The newest session alone is taken in parts: prices of now touch it without a
        pause, and what its cells share is kept (``NewestPairs``).
        """
        return self.touched.take(family, self._closed(), limit, self._newest)

    def ready(self, families: Collection[str]) -> int:
        """How many cells can be taken of the largest of some families."""
        symbols = self._symbols.ready() if SYMBOLS in families else 0
        return max(symbols, self.touched.ready(self._closed(), families))

    def clean(self) -> None:
        """Forget causes when no cell needs them."""
        if not self.touched and not self._symbols:
            self.causes.clear()

    def _closed(self) -> Bools | None:
        """Slots whose partition is within a transaction."""
        inside = [home.id for home in self._partitions.values() if home.open]
        if not inside:
            return None
        slots = self._book.slots
        return np.isin(slots["partition"][: slots.used], inside)

    # --- accounts --------------------------------------------------------------

    def _compile(self, account: Account, only: Iterable[int] | None) -> None:
        market, top = self._market, self._market.last_session
        account.compiled = compile_account(
            account, market.calendar, market.newest_close, top, only
        )
        self._book.put(account.slot, account.compiled)
        self._watch.put(account.slot, account.compiled)

    def _accounts(self, hits: Hits) -> None:
        entries: list[Onwards] = []
        for slot in self._changed.keys() | hits.keys():
            account = self._changed.get(slot) or self._find(slot)
            entries += self._account(account, hits)
        for slot, account in self._whole.items():
            said = self._said.sessions(slot)
            starts = [account.compiled.start, *said[:1]]
            first = min((s for s in starts if s is not None), default=self._newest + 1)
            entries.append((first, slot, NO_TIME, NO_CAUSE))
            for session in said:
                if session > self._newest:
                    self.touched.add(session, np.array([slot]))
        self._changed.clear()
        self._whole.clear()
        self.touched.onwards(entries, self._newest)

    def _find(self, slot: int) -> Account:
        slots = self._book.slots
        home = self._partitions[int(slots["partition"][slot])]
        return home.accounts[int(slots["portfolio"][slot])]

    def _account(self, account: Account, hits: Hits) -> list[Onwards]:
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

    # --- everything ------------------------------------------------------------

    def _move_newest(self, old: int, touches: Touches | None, base: int) -> None:
        """Touch the sessions that have come (for every portfolio) or gone."""
        new = self._newest
        for session, slots in self.touched.everyone(old + 1, new):
            self.touched.add(session, slots, *_newest_of(touches, session, base))
        said = self._said.first() if old > new else None
        if said is not None:
            slots = np.arange(self._book.slots.used)
            for session in range(max(new + 1, said), old + 1):
                self.touched.add(session, slots, *_newest_of(touches, session, base))

    def _move_partial(self) -> None:
        """Touch what a part of a market transaction, or its rest, concerns."""
        old, self._partial = self._partial, self._market.partial_from()
        if old == self._partial:
            return
        since = min(s for s in (old, self._partial) if s is not None)
        for session, slots in self.touched.everyone(since, self._newest):
            self.touched.add(session, slots)
        firsts = self._book.slots["first"]
        late = [slot for slot in self._book.compiled if self._book.settles(slot, since)]
        entries = [(int(firsts[slot]), slot, NO_TIME, NO_CAUSE) for slot in late]
        self.touched.onwards(entries, self._newest)

    def finals(self, home: Partition) -> int:
        """How many sessions of the calendar have closed by the as-of time."""
        as_of = max(home.clock, self._market.clock)
        return bisect_right(self._market.calendar.closes, as_of)

    def _move_finals(self, home: Partition) -> None:
        """Touch the sessions whose close the as-of time has passed."""
        count, before = self.finals(home), home.finals
        home.finals = count
        if before < 0:  # all its accounts are new, or were loaded
            for session, (final, _) in home.loaded_as.items():
                if final != (session < count):
                    for _, slots in self.touched.everyone(session, session, home.id):
                        self.touched.add(session, slots)
            home.loaded_as.clear()
            return
        last = min(count - 1, self._newest)
        for session, slots in self.touched.everyone(before, last, home.id):
            self.touched.add(session, slots)

    # --- after a restore -------------------------------------------------------

    def _catch_up(self, home: Partition) -> None:
        """Touch what changed in the market since a partition's checkpoint."""
        part = self._market.partial_from()
        partial = {s for s, (_, partial) in home.loaded_as.items() if partial}
        since_part = {s for s in home.loaded_as if part is not None and s >= part}
        since, home.since = home.since, None
        if since is None and partial == since_part:
            return
        whole, low = partial != since_part, NO_FIRST
        if since is not None:
            self._complete(home)
            if self._market.others_at > since:
                self._all_sectors(home.id, NO_TIME, NO_CAUSE)
            low = self._reach(home, since)
        for account in home.accounts.values():
            if whole or self._book.settles(account.slot, low):
                self.touch(account)

    def _reach(self, home: Partition, since: int) -> int:
        """Touch what prices reach that changed after an offset; the first session."""
        touches = self.history.since(since)
        if touches is None:
            return NO_FIRST
        partition = self._book.slots["partition"]
        effects = spread(self._market, touches, 0)
        for session, slot, _, _ in holders(self._book, effects, touches):
            self.touched.add(session, slot[partition[slot] == home.id])
        self._windows(touches, NO_CAUSE, home.id)
        return int(touches.session.min())

    def _complete(self, home: Partition) -> None:
        """Touch cells that exist and were not said, and the other way round."""
        slots = self._book.slots
        mine = np.flatnonzero(slots["partition"][: slots.used] == home.id)
        first = slots["first"][mine]
        sessions = {s for s, _ in self.touched.everyone(0, self._newest, home.id)}
        for session in sessions | self._said.spoken(mine):
            there = (first <= session) & (session <= self._newest)
            for said in self._said.states(session, mine):
                self.touched.add(session, mine[there != said])


def _newer(
    entries: list[Onwards],
) -> list[Onwards]:
    """Entries that are the newest change for some session: later, and newer."""
    found: list[Onwards] = []
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
