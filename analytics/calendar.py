"""Sessions of one exchange as a value: numbers of trading days, and rolling.

A session is named by its index in ``days``; dates are proleptic ordinals. The
value is built at the border (``connectors.calendar``) with fixed bounds, so the
same date has the same index for as long as the settings stand.
"""

from bisect import bisect_left, bisect_right
from datetime import date


class OutOfCalendarError(ValueError):
    """A date has no session to roll to within the calendar's bounds."""


class Calendar:
    """The sessions of an exchange between fixed bounds.

    Parameters
    ----------
    days
        Ordinals of the sessions, ascending.
    closes
        Close of each session, microseconds since the epoch (UTC).
    first, last
        Ordinals of the bounds; a date outside them is refused.

    Examples
    --------
    >>> week = Calendar([737425, 737426, 737429], [0, 1, 2], 737425, 737431)
    >>> week.forward(737427), week.backward(737427), week.index(737427)
    (2, 1, None)
    """

    def __init__(
        self, days: list[int], closes: list[int], first: int, last: int
    ) -> None:
        self.days = days
        self.closes = closes
        self.first = first
        self.last = last
        self._index = {day: i for i, day in enumerate(days)}
        self._iso = [date.fromordinal(day).isoformat() for day in days]

    def __len__(self) -> int:
        return len(self.days)

    def index(self, day: int) -> int | None:
        """Session of exactly this date, or None when it is not a session."""
        return self._index.get(day)

    def forward(self, day: int) -> int:
        """Session of this date or the first after it."""
        i = bisect_left(self.days, day)
        if day < self.first or day > self.last or i == len(self.days):
            raise OutOfCalendarError(day)
        return i

    def backward(self, day: int) -> int:
        """Session of this date or the last before it."""
        i = bisect_right(self.days, day) - 1
        if day < self.first or day > self.last or i < 0:
            raise OutOfCalendarError(day)
        return i

    def iso(self, session: int) -> str:
        """Date of a session as ``YYYY-MM-DD``."""
        return self._iso[session]
