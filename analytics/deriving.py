"""From touched cells to results: value, encode, compare with what was said."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from analytics import exact, snapshots
from analytics.book import Book
from analytics.causes import Causes
from analytics.market import Market
from analytics.money import Bools, Indices, Ints
from analytics.positions import PositionWriter
from analytics.records import FINAL, INTRADAY, encode
from analytics.results import RISK, SNAPSHOTS, Result, Revision
from analytics.risk import RiskDesk
from analytics.said import NOTHING, SAID, UNKNOWN, Said, marks_of, previous
from analytics.valuation import Cells, value

CHUNK = 2048
STATUS = (encode(INTRADAY), encode(FINAL))
Story = dict[int, tuple[Revision, int]]


@dataclass(frozen=True, slots=True)
class Taken:
    """Touched cells at hand: slot, session, and reference of the cause of each."""

    family: str
    slot: Indices
    session: Ints
    ref: Ints

    def __len__(self) -> int:
        return len(self.slot)

    def by_session(self) -> "Taken":
        """Order by session: what is computed of symbols is shared within one."""
        order = np.argsort(self.session, kind="stable")
        parts = self.slot[order], self.session[order], self.ref[order]
        return Taken(self.family, *parts)

    def chunks(self) -> Iterator["Taken"]:
        """Cut into parts that stay in the processor's cache.

        Of risk not: sessions side by side share the sums of their windows.
        """
        size = len(self) if self.family == RISK else CHUNK
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Taken(
                self.family, self.slot[part], self.session[part], self.ref[part]
            )


@dataclass(frozen=True, slots=True)
class Made:
    """Contents of cells (None: the cell does not exist), and NAV and P&L."""

    contents: list[bytes | None]
    nav: Ints
    pnl: Ints


class Deriver:
    """Derives cells; keeps nothing that another engine would not make again."""

    def __init__(self, market: Market, book: Book, said: Said, risk: RiskDesk) -> None:
        self._market = market
        self._book = book
        self._said = said
        self._risk = risk
        self._positions = PositionWriter(book, market)
        self._closes = np.array(market.calendar.closes, dtype=np.int64)

    def derive(self, cells: Taken, story: Story, causes: Causes) -> list[Result]:
        """Results of cells that differ from what was said.

        ``story`` gives revision and as-of time of each partition.
        """
        found: list[Result] = []
        if not len(cells):
            return found
        if cells.family == RISK:
            cells = cells.by_session()
        first, last = int(cells.session.min()), int(cells.session.max())
        self._said.cover(first, last, self._book.slots.used)
        for part in cells.chunks():
            made = self._make(part, story)
            places, results = self._differing(part, made, story, causes)
            self._say(part, made, places, results)
            found += results
        return found

    def _make(self, cells: Taken, story: Story) -> Made:
        slot, session = cells.slot, cells.session
        there = self._book.slots["first"][slot] <= session
        there &= session <= self._market.last_session
        made = Made(
            [None] * len(slot),
            np.full(len(slot), UNKNOWN),
            np.full(len(slot), UNKNOWN),
        )
        some = np.flatnonzero(there)
        if len(some):
            found = self.contents(cells.family, slot[some], session[some], story)
            for place, content in zip(some.tolist(), found.contents, strict=True):
                made.contents[place] = content
            made.nav[some], made.pnl[some] = found.nav, found.pnl
        return made

    def contents(self, family: str, slot: Indices, session: Ints, story: Story) -> Made:
        """Contents of cells that exist."""
        book, market = self._book, self._market
        partial = self._partial(slot, session)
        partition = book.slots["partition"][slot]
        as_of = np.array([story[p][1] for p in partition.tolist()])
        final = (as_of >= self._closes[session]) & ~partial
        if family == RISK:
            unknown = np.full(len(slot), UNKNOWN)
            words = [STATUS[yes] for yes in final.tolist()]
            risks = self._risk.portfolios(slot, session, words)
            return Made([*risks], unknown, unknown)
        cells, rows = value(book, market, slot, session)
        phase = snapshots.phases(book, cells)
        contents: list[bytes | None]
        nav, pnl = np.full(len(slot), UNKNOWN), np.full(len(slot), UNKNOWN)
        if family == SNAPSHOTS:
            money = snapshots.money(book, cells, rows, phase)
            nav, pnl = money.nav, money.pnl
            self._learn(cells, money)
            contents = [
                *snapshots.snapshots(book, market, cells, rows, money, final, partial)
            ]
        else:
            contents = [*self._positions.write(cells, rows, phase, final)]
        made = Made(contents, nav, pnl)
        for place in np.flatnonzero(cells.exact).tolist():
            self._exactly(family, cells, place, final, partial, made)
        return made

    def _learn(self, cells: Cells, money: snapshots.Money) -> None:
        """Keep the daily returns for risk, which is derived after."""
        if RISK in self._said.frames:
            known = np.flatnonzero(~cells.exact)
            slot, session = cells.slot[known], cells.session[known]
            earned = snapshots.daily_returns(money)[known]
            self._risk.own.learn(slot, session, earned)

    def _exactly(
        self,
        family: str,
        cells: Cells,
        place: int,
        final: Bools,
        partial: Bools,
        made: Made,
    ) -> None:
        """Make one cell anew in Python's integers."""
        snapshot, lots, nav, pnl = exact.records(
            self._market,
            self._book.compiled[int(cells.slot[place])],
            int(cells.session[place]),
            status=FINAL if final[place] else INTRADAY,
            partial=bool(partial[place]),
        )
        made.contents[place] = encode(snapshot if family == SNAPSHOTS else lots)
        made.nav[place] = UNKNOWN if nav is None else nav
        made.pnl[place] = UNKNOWN if pnl is None else pnl

    def _partial(self, slot: Indices, session: Ints) -> Bools:
        partial: Bools = self._book.slots["partial"][slot].copy()
        since = self._market.partial_from()
        if since is not None:
            # A settlement flags its lot at every session, earlier ones too.
            late = {s for s in slot.tolist() if self._book.settles(s, since)}
            partial |= (session >= since) | np.isin(slot, list(late))
        return partial

    def _differing(
        self, cells: Taken, made: Made, story: Story, causes: Causes
    ) -> tuple[list[int], list[Result]]:
        """Pick what differs from what was said: places and results."""
        marks = marks_of(made.contents)
        places = self._said.differing(cells.family, cells.session, cells.slot, marks)
        at = np.array(places, dtype=np.intp)
        session, slot = cells.session[at], cells.slot[at]
        said = self._said.get(cells.family, session, slot)
        portfolio = self._book.slots["portfolio"][slot].tolist()
        partition = self._book.slots["partition"][slot].tolist()
        refs = cells.ref[at].tolist()
        cause = {ref: causes.get(ref) for ref in set(refs)}
        told = [story[home] for home in partition]
        found = list(
            map(
                Result,
                repeat(cells.family),
                partition,
                portfolio,
                session.tolist(),
                [revision for revision, _ in told],
                marks[at].tolist(),
                [made.contents[place] for place in places],
                [as_of for _, as_of in told],
                [cause[ref] for ref in refs],
                [previous(said, i) for i in range(len(places))],
            )
        )
        return places, found

    def _say(
        self, cells: Taken, made: Made, places: list[int], found: list[Result]
    ) -> None:
        """Remember results as said."""
        if not found:
            return
        at = np.array(places)
        values: dict[str, Any] = {
            "state": [NOTHING if r.content is None else SAID for r in found],
            "digest": np.array([r.digest for r in found], dtype=np.uint64),
            "p": [r.revision.p for r in found],
            "m": [r.revision.m for r in found],
            "v": [r.revision.version for r in found],
        }
        if cells.family == SNAPSHOTS:
            values |= {"nav": made.nav[at], "pnl": made.pnl[at]}
        self._said.put(cells.family, cells.session[at], cells.slot[at], values)
        for partition, session in {(r.partition, r.session) for r in found}:
            self._said.dirty.setdefault(partition, set()).add(session)
