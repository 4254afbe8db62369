"""The exchange's own clock: which date it is there."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from connectors.calendar import exchange_calendar


@lru_cache(maxsize=4)
def exchange_zone(name: str) -> tzinfo:
    """Time zone of an exchange calendar of exchange_calendars (``XNYS``)."""
    # Any short range will do; its zone does not depend on it.
    start = date(2024, 1, 2)
    calendar = exchange_calendar(name, start, start + timedelta(30))
    zone: tzinfo = calendar.tz
    return zone


def exchange_today(
    name: str, now: Callable[[], float] = time.time
) -> Callable[[], int]:
    """Make a clock that tells the date at an exchange, as an ordinal.

    A session begins with the first second of its date at the exchange.

    Examples
    --------
    >>> tokyo = exchange_today("XTKS", lambda: 15 * 3600.0)  # midnight there
    >>> date.fromordinal(tokyo()).isoformat()
    '1970-01-02'
    """
    zone = exchange_zone(name)

    def today() -> int:
        at = datetime.fromtimestamp(now(), UTC)
        return at.astimezone(zone).date().toordinal()

    return today
