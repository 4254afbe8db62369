"""Whether the closes of the newest session are there.

A close that never came is no error of anybody's: the last one is carried forward, and
results say so (``quality.stale``). Whoever loads prices wants to hear of it all the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from analytics.calendar import Calendar, OutOfCalendarError
from connectors.postgres import Connection, quote


@dataclass(frozen=True, slots=True)
class Prices:
    """Closes of the last session that is over.

    Attributes
    ----------
    session
        The last session before today's date at the exchange.
    held
        How many symbols of open public lots there are.
    stale
        Those of them without a close of that session, and the date of their last
        close; None where there is none.
    """

    session: date
    held: int
    stale: dict[str, date | None]


_QUERY = """
SELECT held.symbol, (
    SELECT max(prices.date) FROM {schema}.market_data_cache AS prices
    WHERE prices.symbol = held.symbol AND prices.close > 0 AND prices.date <= $1
) AS last
FROM (
    SELECT DISTINCT symbol FROM {schema}.positions
    WHERE investment_class = 'PUBLIC' AND deleted_at IS NULL
        AND (exit_date IS NULL OR exit_date > $1) AND entry_date <= $1
) AS held
ORDER BY held.symbol
"""


async def read_prices(
    connection: Connection, schema: str, calendar: Calendar, today: int
) -> Prices | None:
    """Look which held symbols lack the close of the last session before ``today``.

    None if the calendar has no such session.

    Raises
    ------
    asyncpg.PostgresError
        If a table or a column is not there.
    """
    try:
        session = date.fromordinal(calendar.days[calendar.backward(today - 1)])
    except OutOfCalendarError:
        return None
    rows = await connection.fetch(_QUERY.format(schema=quote(schema)), session)
    stale = {row["symbol"]: row["last"] for row in rows if row["last"] != session}
    return Prices(session, len(rows), stale)
