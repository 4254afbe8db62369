"""From touched cells to results: value, encode, compare with what was said."""

from typing import Any

import numpy as np

from analytics import exact, snapshots
from analytics.book import Book
from analytics.causes import Causes
from analytics.market import Market
from analytics.money import Bools, Indices, Ints
from analytics.positions import PositionWriter
from analytics.records import FINAL, INTRADAY, digest, encode
from analytics.results import SNAPSHOTS, Result, Revision
from analytics.said import DOUBTED, NOTHING, SAID, UNKNOWN, Said, previous
from analytics.valuation import value

CHUNK = 2048
Story = dict[int, tuple[Revision, int]]


class Deriver:
    """Derives cells; keeps nothing between two calls."""

    def __init__(self, market: Market, book: Book, said: Said) -> None:
        self._market = market
        self._book = book
        self._said = said
        self._positions = PositionWriter(book, market)
        self._closes = np.array(market.calendar.closes, dtype=np.int64)

    def derive(
        self,
        family: str,
        cells: tuple[Indices, Ints, Ints],
        story: Story,
        causes: Causes,
    ) -> list[Result]:
        """Results of cells (slot, session, cause) that differ from what was said."""
        found: list[Result] = []
        slot, session, ref = cells
        self._said.cover(int(session.min()), int(session.max()), self._book.slots.used)
        for start in range(0, len(slot), CHUNK):
            part = slice(start, start + CHUNK)
            found += self._chunk(
                family, slot[part], session[part], ref[part], story, causes
            )
        return found

    def _chunk(
        self,
        family: str,
        slot: Indices,
        session: Ints,
        ref: Ints,
        story: Story,
        causes: Causes,
    ) -> list[Result]:
        newest = self._market.last_session
        there = (self._book.slots["first"][slot] <= session) & (session <= newest)
        contents: list[bytes | None] = [None] * len(slot)
        nav, pnl = np.full(len(slot), UNKNOWN), np.full(len(slot), UNKNOWN)
        some = np.flatnonzero(there)
        if len(some):
            made = self.contents(family, slot[some], session[some], story)
            for place, content in zip(some.tolist(), made[0], strict=True):
                contents[place] = content
            nav[some], pnl[some] = made[1], made[2]
        return self._differing(
            family, slot, session, ref, contents, (nav, pnl), story, causes
        )

    def contents(
        self, family: str, slot: Indices, session: Ints, story: Story
    ) -> tuple[list[bytes], Ints, Ints]:
        """Contents of cells that exist, with NAV and P&L."""
        book, market = self._book, self._market
        partial = self._partial(slot, session)
        partition = book.slots["partition"][slot]
        as_of = np.array([story[p][1] for p in partition.tolist()])
        final = (as_of >= self._closes[session]) & ~partial
        cells, rows = value(book, market, slot, session)
        phase = snapshots.phases(book, cells)
        nav = pnl = np.full(len(slot), UNKNOWN)
        if family == SNAPSHOTS:
            found = snapshots.money(book, cells, rows, phase)
            nav, pnl = found.nav, found.pnl
            made = snapshots.snapshots(book, market, cells, rows, found, final, partial)
        else:
            made = self._positions.write(cells, rows, phase, final)
        for place in np.flatnonzero(cells.exact).tolist():
            status = FINAL if final[place] else INTRADAY
            snapshot, lots, *money = exact.records(
                market,
                book.compiled[int(slot[place])],
                int(session[place]),
                status=status,
                partial=bool(partial[place]),
            )
            made[place] = encode(snapshot if family == SNAPSHOTS else lots)
            nav[place], pnl[place] = (UNKNOWN if m is None else m for m in money)
        return made, nav, pnl

    def _partial(self, slot: Indices, session: Ints) -> Bools:
        partial: Bools = self._book.slots["partial"][slot].copy()
        since = self._market.partial_from()
        if since is not None:
            # A settlement flags its lot at every session, earlier ones too.
            late = {s for s in slot.tolist() if self._book.settles(s, since)}
            partial |= (session >= since) | np.isin(slot, list(late))
        return partial

    def _differing(
        self,
        family: str,
        slot: Indices,
        session: Ints,
        ref: Ints,
        contents: list[bytes | None],
        money: tuple[Ints, Ints],
        story: Story,
        causes: Causes,
    ) -> list[Result]:
        said = self._said.get(family, session, slot)
        state, known = said["state"], said["digest"]
        portfolio = self._book.slots["portfolio"][slot].tolist()
        partition = self._book.slots["partition"][slot].tolist()
        days, refs = session.tolist(), ref.tolist()
        found: list[Result] = []
        places: list[int] = []
        for place, content in enumerate(contents):
            if content is None:
                if state[place] == NOTHING:
                    continue
                mark = 0
            else:
                mark = digest(content)
                if state[place] == SAID and known[place] == mark:
                    continue
            revision, as_of = story[partition[place]]
            places.append(place)
            found.append(
                Result(
                    family,
                    partition[place],
                    portfolio[place],
                    days[place],
                    revision,
                    mark,
                    content,
                    as_of,
                    causes.get(refs[place]),
                    previous(said, place),
                )
            )
        self._say(family, slot, session, money, places, found)
        return found

    def _say(
        self,
        family: str,
        slot: Indices,
        session: Ints,
        money: tuple[Ints, Ints],
        places: list[int],
        found: list[Result],
    ) -> None:
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
        if family == SNAPSHOTS:
            values |= {"nav": money[0][at], "pnl": money[1][at]}
        self._said.put(family, session[at], slot[at], values)
        for result in found:
            self._said.dirty.setdefault(result.partition, set()).add(result.session)


__all__ = ["DOUBTED", "Deriver"]
