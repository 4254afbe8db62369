"""From the source tables to the records of every portfolio and session."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeAlias, TypeVar

from analytics.batch import rows
from analytics.batch.market import Market
from analytics.batch.portfolios import Book, Record, records
from analytics.calendar import Calendar

Tables: TypeAlias = Mapping[str, Iterable[rows.Raw]]
Owned = TypeVar("Owned", rows.Lot, rows.Flow, rows.Event)


def derive(
    tables: Tables, calendar: Calendar, portfolios: Collection[int] | None = None
) -> Iterator[tuple[int, int, Record, Record]]:
    """Every record that must exist, ordered by portfolio and session.

    Parameters
    ----------
    tables
        Rows of the source tables by name, as PostgreSQL gives them; a table that
        is not there has no rows. Prices that are dated after the exchange's
        current session must have been left out.
    calendar
        Sessions.
    portfolios
        Ids to derive; all when None.

    Yields
    ------
    tuple
        Portfolio, session, snapshot, positions; see ``portfolios`` for units.
    """
    market = Market(
        rows.valid(tables.get("market_data_cache", ()), rows.close, calendar)
    )
    lots = _owned(rows.valid(tables.get("positions", ()), rows.lot, calendar))
    flows = _owned(rows.valid(tables.get("equity_changes", ()), rows.flow, calendar))
    events = _owned(
        rows.valid(tables.get("position_realized_events", ()), rows.event, calendar)
    )
    found = rows.valid(tables.get("portfolios", ()), rows.portfolio, calendar)
    for portfolio in sorted(found, key=lambda row: row.id):
        if portfolios is not None and portfolio.id not in portfolios:
            continue
        owner = portfolio.id
        book = Book(portfolio, lots[owner], flows[owner], events[owner])
        for session, snapshot, positions in records(book, market, calendar):
            yield owner, session, snapshot, positions


def _owned(found: Iterable[Owned]) -> dict[int, list[Owned]]:
    """Rows by the portfolio that owns them."""
    by_owner: dict[int, list[Owned]] = defaultdict(list)
    for row in found:
        by_owner[row.portfolio].append(row)
    return by_owner
