"""The engine that the settings ask for: one place, so that no two differ."""

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.results import DERIVATION_VERSION
from analytics.scope import Scope
from connectors.journal import partition_of
from connectors.settings import Settings, WorkerSettings


def make_engine(settings: Settings, calendar: Calendar) -> Engine:
    """Make an empty engine for these factors, partitions and scope."""
    partitions = settings.topics.partitions

    def of_symbol(symbol: str) -> int:
        return partition_of(symbol, partitions)

    return Engine(
        calendar,
        derivation_version(settings),
        families=settings.worker.families,
        factors=settings.factors,
        symbol_partition=of_symbol,
        scope=scope_of(settings.worker, calendar),
    )


def derivation_version(settings: Settings) -> int:
    """Version of what is derived: of the code's definitions and of the factors.

    It rises when either does, so what was published by the definitions before is
    replaced.
    """
    return DERIVATION_VERSION + settings.factors.edition


def scope_of(worker: WorkerSettings, calendar: Calendar) -> Scope:
    """Sessions and portfolios to derive.

    Raises
    ------
    analytics.calendar.OutOfCalendarError
        If a date is out of the calendar's bounds.
    """
    first, last, portfolios = (
        worker.first_session,
        worker.last_session,
        worker.portfolios,
    )
    every = Scope()
    return Scope(
        every.first if first is None else calendar.forward(first.toordinal()),
        every.last if last is None else calendar.backward(last.toordinal()),
        None if portfolios is None else frozenset(portfolios),
    )
