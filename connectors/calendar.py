"""The exchange calendar, from exchange_calendars, with bounds from settings."""

import warnings
from datetime import date
from functools import lru_cache

from analytics.calendar import Calendar


@lru_cache(maxsize=4)
def load_calendar(name: str, start: date, end: date) -> Calendar:
    """Build the sessions of ``name`` (for example ``XNYS``) in [start, end].

    Costs about a second for 46 years of XNYS; the value is kept.
    """
    with warnings.catch_warnings():
        # exchange_calendars uses spellings that pandas 3 announces to remove.
        warnings.simplefilter("ignore")
        import exchange_calendars  # slow: only who needs it pays

        source = exchange_calendars.get_calendar(
            name, start=start.isoformat(), end=end.isoformat()
        )
        days = [stamp.date().toordinal() for stamp in source.sessions]
        closes = [int(stamp.timestamp() * 1_000_000) for stamp in source.closes]
    return Calendar(days, closes, start.toordinal(), end.toordinal())
