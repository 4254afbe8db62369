"""Risk of portfolios and statistics of symbols: from closes to records.

Statistics are computed from the returns for the cells that are asked for; nothing
is kept between two calls that would have to be taken back, but a portfolio's own
daily returns (``OwnReturns``), the newest session's betas (``Loads``) and pairs
(``NewestPairs``), and sectors.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics import contents
from analytics.book import Book
from analytics.changed import Touches
from analytics.contents import Arrays
from analytics.correlating import correlations
from analytics.factors import Factors
from analytics.kernels.risk import portfolio_risk, return_volatility
from analytics.kernels.symbols import symbol_statistics
from analytics.loads import Loads
from analytics.market import Market
from analytics.money import Indices, Ints
from analytics.newest_pairs import NewestPairs
from analytics.own_returns import OwnReturns, rectangles
from analytics.returns import Returns
from analytics.sectoring import Sectoring
from analytics.standing import holdings, runs, stand, symbols_held
from analytics.texts import Table, table


class RiskDesk:
    """Makes the contents of families ``risk`` and ``symbols``.

    Parameters
    ----------
    book, market
        Of the engine.
    factors
        What risk is measured against.
    """

    def __init__(self, book: Book, market: Market, factors: Factors) -> None:
        self.factors = factors
        self.returns = Returns(market)
        self.own = OwnReturns(book, market)
        self.loads = Loads(market, factors)
        self.pairs = NewestPairs(market, factors)
        self._book = book
        self._market = market
        self._kept: tuple[Sectoring, Table] | None = None

    def portfolios(
        self, slot: Indices, session: Ints, status: Sequence[bytes]
    ) -> list[bytes]:
        """Contents of cells, which may be in any order; ``status`` is their text."""
        order = np.argsort(session, kind="stable")
        made = self._sorted(slot[order], session[order], [status[i] for i in order])
        found = [b""] * len(made)
        for place, content in zip(order.tolist(), made, strict=True):
            found[place] = content
        return found

    def _sorted(self, slot: Indices, session: Ints, status: list[bytes]) -> list[bytes]:
        book, market, f = self._book, self._market, self.factors
        standing = stand(book, market, slot, session)
        parts = runs(session)
        held = [holdings(book, standing, run) for run in parts]
        panel = self.returns.panel
        sectoring, symbols = self._words()
        counts = symbols_held(book, standing)
        values = []
        blocks: list[bytes] = []
        self.own.learn(slot, session, standing.earned)
        loads = self.loads.of(held, panel)
        risks = portfolio_risk(panel, held, loads, f, self.pairs)
        for run, names, risk in zip(parts, held, risks, strict=True):
            values.append(risk.values)
            blocks += correlations(names, risk.correlations, symbols, counts[run])
        sectors = [block for span in sectoring.spans(standing, parts) for block in span]
        own = self._twr(slot, session)
        return contents.portfolios(_beside(values), own, blocks, sectors, f, status)

    def _twr(self, slot: Indices, session: Ints) -> Arrays:
        """Volatilities of portfolios' own returns."""
        longest = max(w.sessions for w in self.factors.volatility)
        made: dict[str, NDArray[Any]] = {}
        for part in rectangles(slot, session):
            block = self.own.block(part.slots, part.start, part.stop, longest)
            for name, values in return_volatility(block, self.factors).items():
                cells = made.setdefault(name, np.empty(len(slot), values.dtype))
                cells[part.places] = values[part.down, part.across]
        return made

    def update(self, touches: Touches) -> None:
        """Let go of what changed closes move."""
        self.returns.update(touches)
        self.loads.update(touches)
        self.pairs.update(touches)

    def rebuild(self) -> None:
        """Make all anew: closes were set, and no touches tell of it."""
        self.returns.rebuild()
        self.loads.clear()
        self.pairs = NewestPairs(self._market, self.factors)
        self.others_moved()

    def others_moved(self) -> None:
        """Let go of sectors: a profile or a benchmark weight changed."""
        self._kept = None

    def _words(self) -> tuple[Sectoring, Table]:
        """Sectors of symbols and their texts, made again when there are more."""
        symbols = self._market.symbols
        if self._kept is None or len(self._kept[1]) != len(symbols):
            self._kept = Sectoring(self._book, self._market), table(symbols)
        return self._kept

    def symbols(self, column: Indices, session: Ints) -> list[bytes]:
        """Contents of cells of symbols, which may be in any order."""
        columns, across = np.unique(column, return_inverse=True)
        sessions, down = np.unique(session, return_inverse=True)
        panel = self.returns.panel
        found = symbol_statistics(
            panel,
            sessions,
            columns,
            self.factors,
            self._market.columns,
            lambda start, stop: self.loads.regressors(panel, start, stop),
        )
        self.loads.learn(sessions, columns, found)
        cells = {name: values[down, across] for name, values in found.items()}
        return contents.symbols(cells, self.factors)


def _beside(parts: Sequence[Arrays]) -> Arrays:
    """Put the cells of several sessions side by side."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
