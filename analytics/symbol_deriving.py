"""From touched symbols to results: compute, encode, compare with what was said."""

import numpy as np

from analytics.causes import Causes
from analytics.deriving import Story, Taken
from analytics.market import Market
from analytics.results import SYMBOLS, Result
from analytics.risk import RiskDesk
from analytics.said import NOTHING, SAID, Said, marks_of, previous, unsaid
from analytics.symbol_cells import SymbolCells


class SymbolDeriver:
    """Derives statistics of symbols; keeps nothing between two calls."""

    def __init__(
        self, market: Market, said: Said, risk: RiskDesk, cells: SymbolCells
    ) -> None:
        self._market = market
        self._said = said
        self._risk = risk
        self._cells = cells

    def derive(self, cells: Taken, story: Story, causes: Causes) -> list[Result]:
        """Results of cells that differ from what was said; ``slot`` is the column."""
        if not len(cells):
            return []
        self._cells.cover(int(cells.session.min()), int(cells.session.max()))
        contents = self._contents(cells)
        marks = marks_of(contents)
        frame = self._cells.said
        row = frame.rows_of(cells.session)
        said = {name: frame[name][row, cells.slot] for name in frame.fields}
        places = unsaid(said["state"], said["digest"], marks)
        before = {name: values[places].tolist() for name, values in said.items()}
        found = []
        for i, place in enumerate(places):
            column, session = int(cells.slot[place]), int(cells.session[place])
            partition = int(self._cells.partition[column])
            revision, as_of = story[partition]
            found.append(
                Result(
                    SYMBOLS,
                    partition,
                    self._market.symbols[column],
                    session,
                    revision,
                    int(marks[place]),
                    contents[place],
                    as_of,
                    causes.get(int(cells.ref[place])),
                    previous(before, i),
                )
            )
        self._say(found)
        return found

    def _contents(self, cells: Taken) -> list[bytes | None]:
        """Contents; None where a symbol has no record."""
        column, session = cells.slot, cells.session
        there = self._cells.exist(column, session)
        contents: list[bytes | None] = [None] * len(column)
        some = np.flatnonzero(there)
        if len(some):
            made = self._risk.symbols(column[some], session[some])
            for place, content in zip(some.tolist(), made, strict=True):
                contents[place] = content
        return contents

    def _say(self, found: list[Result]) -> None:
        """Remember results as said."""
        frame = self._cells.said
        for result in found:
            cell = frame.row(result.session), self._market.columns[str(result.owner)]
            frame["state"][cell] = NOTHING if result.content is None else SAID
            frame["digest"][cell] = result.digest
            frame["p"][cell], frame["m"][cell] = result.revision.p, result.revision.m
            frame["v"][cell] = result.revision.version
            self._said.dirty.setdefault(result.partition, set()).add(result.session)
