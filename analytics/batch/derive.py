"""From the source tables to every record that must exist."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from analytics.batch import rows
from analytics.batch.market import Market
from analytics.batch.portfolios import Book, Outcome, Record, records
from analytics.calendar import Calendar
from analytics.factors import Factors

if TYPE_CHECKING:
    from analytics.batch.risk import Desk

Tables: TypeAlias = Mapping[str, Iterable[rows.Raw]]
Owned = TypeVar("Owned", rows.Lot, rows.Flow, rows.Event)


class Oracle:
    """All records of all families, derived from all rows.

    Parameters
    ----------
    tables
        Rows of the source tables by name, as PostgreSQL gives them; a table that
        is not there has no rows. Prices that are dated after the exchange's
        current session must have been left out.
    calendar
        Sessions.
    factors
        What risk is measured against.
    """

    def __init__(
        self, tables: Tables, calendar: Calendar, factors: Factors | None = None
    ) -> None:
        self.calendar = calendar
        self.factors = factors or Factors()
        self._tables = tables
        prices = tables.get("market_data_cache", ())
        self.market = Market(rows.valid(prices, rows.close, calendar))
        found = rows.valid(tables.get("portfolios", ()), rows.portfolio, calendar)
        self.portfolios = {row.id: row for row in sorted(found, key=lambda r: r.id)}
        self._lots = _owned(rows.valid(tables.get("positions", ()), rows.lot, calendar))
        self._flows = _owned(
            rows.valid(tables.get("equity_changes", ()), rows.flow, calendar)
        )
        events = tables.get("position_realized_events", ())
        self._events = _owned(rows.valid(events, rows.event, calendar))

    def outcomes(self, portfolio: int) -> Iterator[Outcome]:
        """Money of a portfolio, by session; none of one that is not valid."""
        found = self.portfolios.get(portfolio)
        if found is None:
            return iter(())
        lots, flows = self._lots[portfolio], self._flows[portfolio]
        book = Book(found, lots, flows, self._events[portfolio])
        return records(book, self.market, self.calendar)

    @cached_property
    def desk(self) -> "Desk":
        """What risk is made of."""
        # pandas and statsmodels take seconds to import; only risk needs them.
        from analytics.batch.risk import Desk

        tables, calendar = self._tables, self.calendar
        profiles = tables.get("company_profiles", ())
        weights = tables.get("benchmarks_sector_weights", ())
        return Desk(
            self.market,
            rows.valid(profiles, rows.profile, calendar),
            rows.valid(weights, rows.weight, calendar),
            calendar,
            self.factors,
        )

    def families(
        self, portfolio: int, *, risk: bool = True
    ) -> Iterator[tuple[int, dict[str, Record]]]:
        """Derive the records of a portfolio by session and family."""
        returns: list[float | None] = []
        for outcome in self.outcomes(portfolio):
            returns.append(outcome.snapshot["daily_return"])
            made = {"snapshots": outcome.snapshot, "positions": outcome.positions}
            if risk:
                made["risk"] = self.desk.outcome(outcome, returns)
            yield outcome.session, made

    def symbols(self) -> list[str]:
        """Symbols that have records, in code-point order."""
        return sorted(self.market.sessions)

    def symbol(self, symbol: str) -> Iterator[tuple[int, Record]]:
        """Derive the records of a symbol: up to the newest session of all.

        From its first close on, and not before ``symbol_sessions`` sessions.
        """
        newest = self.market.newest or 0
        oldest = newest - self.factors.symbol_sessions + 1
        for session in range(max(self.market.sessions[symbol][0], oldest), newest + 1):
            yield session, self.desk.symbol(symbol, session)


def derive(
    tables: Tables, calendar: Calendar, portfolios: Collection[int] | None = None
) -> Iterator[tuple[int, int, Record, Record]]:
    """Money of every portfolio: (portfolio, session, snapshot, positions).

    ``portfolios`` are the ids to derive, all when None; see ``portfolios`` for
    units.
    """
    oracle = Oracle(tables, calendar)
    for owner in oracle.portfolios:
        if portfolios is None or owner in portfolios:
            for outcome in oracle.outcomes(owner):
                yield owner, outcome.session, outcome.snapshot, outcome.positions


def _owned(found: Iterable[Owned]) -> dict[int, list[Owned]]:
    """Rows by the portfolio that owns them."""
    by_owner: dict[int, list[Owned]] = defaultdict(list)
    for row in found:
        by_owner[row.portfolio].append(row)
    return by_owner
