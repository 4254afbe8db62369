"""What is asked of a replay, and the plan that answers before anything is made."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import msgspec

from analytics.calendar import Calendar, OutOfCalendarError
from connectors.ids import Wanted
from replay.errors import AskError
from replay.logs import Head, Prefix, Then
from replay.sources import Source


class Ask(msgspec.Struct, frozen=True):
    """What is to be replayed.

    Attributes
    ----------
    first, last
        Dates of the range, both included.
    portfolios
        Ids; None for all.
    workers
        Processes that derive.
    families
        What is derived.
    as_of
        Microseconds since the epoch: what was committed later is left out.
    publish
        Whether what differs goes to the live topics.
    edits
        What is edited, in words; the changes lie in the run's directory.
    source
        What is fed: the journal, or the tables as they are now.
    rate
        Records a second that all workers together derive at most; None: no limit.
    ranges
        Of ids, both ends included: a plan adds those that are known to ``portfolios``.
    """

    first: date
    last: date
    portfolios: tuple[int, ...] | None = None
    workers: int = 1
    families: tuple[str, ...] = ("snapshots", "positions")
    as_of: int | None = None
    publish: bool = False
    edits: tuple[str, ...] = ()
    source: Source = Source.JOURNAL
    rate: float | None = None
    ranges: tuple[tuple[int, int], ...] = ()

    def narrowed(self, wanted: Wanted | None) -> Ask:
        """Ask for some portfolios only; None for all of them."""
        if wanted is None:
            return self
        return msgspec.structs.replace(
            self, portfolios=wanted.ids, ranges=wanted.ranges
        )

    @property
    def is_now(self) -> bool:
        """Whether it is about the journal as it stands, so that it may be published."""
        return self.is_present and self.source is Source.JOURNAL

    @property
    def is_present(self) -> bool:
        """Whether it is about what is committed now, in the journal or the tables."""
        return self.as_of is None and not self.edits


class Facts:
    """What the heads of the journal tell: portfolios, days that have prices.

    Attributes
    ----------
    changes
        Counted, those that were known ``then``.
    late
        Changes that were not.
    newest
        Commit time of the newest change that counts.
    """

    def __init__(self, then: Then | None = None) -> None:
        self._then = then
        self.changes = self.late = self.newest = 0
        self.days: set[int] = set()
        self.portfolios: set[int] = set()

    def take(self, changes: Iterable[Head]) -> bool:
        """Count a record's changes; whether one of them counts."""
        before = self.changes
        for change in changes:
            if self._then is not None and not self._then.knew(change):
                self.late += 1
                continue
            self.changes += 1
            self.newest = max(self.newest, change.ts)
            if change.table == "market_data_cache":
                if not change.absent:
                    self.days.add(int(change.key[1]))
            elif change.portfolio is not None:
                self.portfolios.add(change.portfolio)
        return self.changes > before


class Plan(msgspec.Struct, frozen=True):
    """What a run will do.

    Attributes
    ----------
    ask
        What was asked for, every portfolio by its id.
    prefix
        How much of the journal is fed.
    changes
        Rows in it.
    portfolios, sessions
        How many are derived; a portfolio that begins later has fewer sessions.
    warm_up
        Sessions with prices before the range: folded, and nothing derived of them.
    newest
        Commit time of the newest change that is fed.
    refused
        Rows of the tables that break a rule and were left out.
    """

    ask: Ask
    prefix: Prefix
    changes: int
    portfolios: int
    sessions: int
    warm_up: int
    newest: int
    refused: int = 0

    @property
    def cells(self) -> int:
        """Portfolio-days at most."""
        return self.portfolios * self.sessions


def check_publish(ask: Ask) -> None:
    """Refuse to publish what is not the present.

    Raises
    ------
    AskError
        If it is asked for.
    """
    if ask.publish and not ask.is_now:
        what = "what edits make of it" if ask.edits else "what was said then"
        if ask.is_present:
            what = "what the tables say: a revision is a prefix of the journal"
        message = f"only what is known now can be published, not {what}"
        raise AskError(message)


def check_dates(ask: Ask, today: date) -> None:
    """Refuse what no journal could answer.

    Raises
    ------
    AskError
        If the range is the wrong way round or reaches into the future, or what is
        not the present is to be published.
    """
    check_publish(ask)
    if ask.source is Source.POSTGRES and ask.as_of is not None:
        message = "the tables do not know what they held then: --as-of is the journal's"
        raise AskError(message)
    if ask.first > ask.last:
        message = f"the range ends ({ask.last}) before it begins ({ask.first})"
        raise AskError(message)
    if ask.last > today:
        message = f"the range ends in the future: {ask.last}, today is {today}"
        raise AskError(message)


def make_plan(ask: Ask, facts: Facts, prefix: Prefix, calendar: Calendar) -> Plan:
    """Say what a run will do, or why it cannot.

    Raises
    ------
    AskError
        No rows, no prices in the range, portfolios that nobody knows, or nothing of
        them that is published.
    """
    if not ask.families:
        message = "nothing of portfolios is published (setting worker.families)"
        raise AskError(message)
    if not facts.days:
        message = f"{_where(ask)} has no prices{_by(ask)}"
        raise AskError(message)
    oldest, newest = min(facts.days), max(facts.days)
    if ask.first.toordinal() < oldest:
        message = f"the range begins on {ask.first}, the first price"
        message += f"{_by(ask)} is of {date.fromordinal(oldest)}: begin there"
        raise AskError(message)
    if ask.first.toordinal() > newest:
        message = f"the range begins on {ask.first}, the newest price"
        message += f"{_by(ask)} is of {date.fromordinal(newest)}"
        raise AskError(message)
    first, last = _sessions(ask, newest, calendar)
    some = _portfolios(ask, facts)
    if ask.portfolios is not None:
        ids = tuple(sorted(some))
        ask = msgspec.structs.replace(ask, portfolios=ids, ranges=())
    return Plan(
        ask,
        prefix,
        facts.changes,
        len(some),
        last - first + 1,
        sum(day < calendar.days[first] for day in facts.days),
        facts.newest,
    )


def _where(ask: Ask) -> str:
    return "the journal" if ask.source is Source.JOURNAL else "PostgreSQL"


def _by(ask: Ask) -> str:
    return "" if ask.as_of is None else " known by then"


def _sessions(ask: Ask, newest: int, calendar: Calendar) -> tuple[int, int]:
    try:
        first = calendar.forward(ask.first.toordinal())
        last = calendar.backward(min(ask.last.toordinal(), newest))
    except OutOfCalendarError as error:
        message = f"the range is out of the calendar: {error}"
        raise AskError(message) from error
    if first > last:
        message = f"there is no session with prices from {ask.first} to {ask.last}"
        raise AskError(message)
    return first, last


def _portfolios(ask: Ask, facts: Facts) -> set[int]:
    if ask.portfolios is None:
        if not facts.portfolios:
            message = f"{_where(ask)} has no portfolios{_by(ask)}"
            raise AskError(message)
        return facts.portfolios
    wanted = Wanted(ask.portfolios, ask.ranges)
    if unknown := wanted.unknown(facts.portfolios):
        message = f"no such portfolio in {_where(ask)}{_by(ask)}: {unknown}"
        raise AskError(message)
    return wanted.among(facts.portfolios)


# --- words of the command line ------------------------------------------------------


def day_of(text: str) -> date:
    """Read a date.

    Raises
    ------
    AskError
        If it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is no date (YYYY-MM-DD)"
        raise AskError(message) from error


def bounds_of(first: str | None, last: str | None) -> tuple[date | None, date | None]:
    """Read the dates of a range that are given."""
    return day_of(first) if first else None, day_of(last) if last else None
