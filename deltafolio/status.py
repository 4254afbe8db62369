"""What ``deltafolio status`` shows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg  # type: ignore[import-untyped]

from connectors.calendar import load_calendar
from connectors.capture_status import (
    LAG_WARNING,
    CaptureStatus,
    Connector,
    Slot,
    capture_status,
)
from connectors.capture_watch import History
from connectors.exchange import exchange_today
from connectors.postgres import Connection, connect
from connectors.prices import Prices, read_prices
from connectors.refused import Refusals, read_refused
from connectors.settings import Settings
from connectors.stack import ServiceStatus, Stack
from deltafolio.lag import Lag, read_lags
from deltafolio.supervisor import AppStatus, read_status

SHOWN = 5
"""So many symbols without a close are named."""


@dataclass(frozen=True, slots=True)
class Status:
    """All that was found.

    Attributes
    ----------
    services
        Of the embedded stack; empty where there is none in the state directory.
    processes
        Of the application that were started under the state directory.
    capture
        Connector and slot, wherever they are.
    lags
        How far intake, workers and sink are behind, or why that cannot be told.
    prices
        Whether the newest session has its closes, or why that cannot be told.
    refused
        Results that the sink left out although they are newer than what is there, or
        why that cannot be told.
    """

    services: list[ServiceStatus]
    processes: list[AppStatus]
    capture: CaptureStatus
    lags: list[Lag] | str = field(default_factory=list)
    prices: Prices | str | None = None
    refused: Refusals | str | None = None

    @property
    def is_well(self) -> bool:
        """Whether all that was started runs, nobody is late and no result is left out.

        Prices that did not come are told, and are no fault of ours.
        """
        return (
            all(one.healthy for one in self.services)
            and all(one.pid for one in self.processes)
            and self.capture.is_well
            and not isinstance(self.lags, str)
            and not any(lag.is_late for lag in self.lags)
            and self.refused is None
        )


async def look(settings: Settings, stack: Stack) -> Status:
    """Look at everything; nothing that is away raises."""
    services = stack.status()
    lags, prices, refused = await _progress(settings)
    return Status(
        services=services if any(one.port for one in services) else [],
        processes=read_status(settings.home),
        capture=await capture_status(settings),
        lags=lags,
        prices=prices,
        refused=refused,
    )


async def _progress(
    settings: Settings,
) -> tuple[list[Lag] | str, Prices | str | None, Refusals | str | None]:
    """Lags, prices and what the sink refused; all need PostgreSQL."""
    try:
        connection = await connect(settings.postgres.dsn.get_secret_value(), "status")
    except (OSError, TimeoutError, asyncpg.PostgresError):
        why = "PostgreSQL does not answer"
        return why, why, why
    try:
        return (
            await _lags(settings, connection),
            await _prices(settings, connection),
            await _refused(settings, connection),
        )
    finally:
        await connection.close()


async def _lags(settings: Settings, connection: Connection) -> list[Lag] | str:
    try:
        return await read_lags(settings, connection)
    except asyncpg.PostgresError as error:
        return str(error)


async def _refused(settings: Settings, connection: Connection) -> Refusals | str | None:
    try:
        return await read_refused(connection, settings.topics)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        return f"{error}: deltafolio setup mends the schema"
    except asyncpg.PostgresError as error:
        return str(error)


async def _prices(settings: Settings, connection: Connection) -> Prices | str | None:
    dates, schema = settings.calendar, settings.postgres.source_schema
    calendar = load_calendar(dates.name, dates.start, dates.end)
    today = exchange_today(dates.name)()
    try:
        return await read_prices(connection, schema, calendar, today)
    except asyncpg.PostgresError as error:
        return str(error)


def lines_of(status: Status) -> Iterator[str]:
    """Write it down, a line a thing."""
    yield f"{'service':<12}{'state':<12}{'pid':>8}{'port':>7}  log"
    for one in status.services:
        yield _line(one.name, service_state(one), one.pid, one.port, one.log)
    if not status.services:
        yield "  no stack in this state directory"
    for app in status.processes:
        yield _line(app.name, "running" if app.pid else "ended", app.pid, None, app.log)
    yield ""
    yield from capture_lines(status.capture)
    yield from lag_lines(status.lags)
    yield from price_lines(status.prices)
    yield from refused_lines(status.refused)


def lag_lines(lags: list[Lag] | str) -> Iterator[str]:
    """Write down who is behind, and whose oldest record waits too long.

    >>> list(lag_lines([Lag("intake", 3, 0.2, 60.0), Lag("sink", 0, None, 60.0)]))
    ['lag         intake 3 records (0 s), sink 0 records']
    """
    if isinstance(lags, str):
        yield f"lag         {lags}"
        return
    if lags:
        yield "lag         " + ", ".join(map(_lag, lags))
    for lag in lags:
        if lag.is_late:
            yield f"            {lag.reader} DOES NOT KEEP UP, or stands still"


def _lag(lag: Lag) -> str:
    waits = "" if lag.seconds is None else f" ({lag.seconds:.0f} s)"
    return f"{lag.reader} {lag.records} records{waits}"


def price_lines(prices: Prices | str | None) -> Iterator[str]:
    """Write down which symbols have no close of the last session."""
    if isinstance(prices, str):
        yield f"prices      {prices}"
        return
    if prices is None or not prices.held:
        return
    if not prices.stale:
        yield f"prices      {prices.session} for all {prices.held} held symbols"
        return
    yield (
        f"prices      STALE: {len(prices.stale)} of {prices.held} held symbols have "
        f"no close of {prices.session}"
    )
    shown = list(prices.stale.items())[:SHOWN]
    more = ", …" if len(prices.stale) > SHOWN else ""
    yield (
        "            "
        + ", ".join(f"{s} (last {d or 'never'})" for s, d in shown)
        + more
    )


def refused_lines(refused: Refusals | str | None) -> Iterator[str]:
    """Write down which results PostgreSQL does not have, though they are newer."""
    if isinstance(refused, str):
        yield f"refused     {refused}"
    elif refused is not None:
        yield (
            f"refused     {refused.count} RESULTS ARE LEFT OUT of PostgreSQL "
            "(analytics.sink_refused)"
        )
        newest = refused.newest
        yield (
            f"            newest: {newest.key} ({newest.where}) at "
            f"{newest.seen_at:%Y-%m-%d %H:%M:%S} UTC: {newest.reason}"
        )


def service_state(one: ServiceStatus) -> str:
    """Say in a word what a service does."""
    if not one.running:
        return "stopped"
    return "healthy" if one.healthy else "no answer"


def _line(name: str, state: str, pid: int | None, port: int | None, log: object) -> str:
    return f"{name:<12}{state:<12}{pid or '-':>8}{port or '-':>7}  {log}"


def capture_lines(capture: CaptureStatus) -> Iterator[str]:
    """Write down connector, slot, and what happened to capture lately."""
    if isinstance(capture.connector, Connector):
        found = capture.connector
        yield f"connector   {found.connector.lower()}, task {found.task.lower()}"
        yield from (f"            {why}" for why in found.failures)
    else:
        yield f"connector   {capture.connector}"
    yield from _slot_lines(capture.slot)
    yield from _history_lines(capture.history, time.time())


def _slot_lines(slot: Slot | str) -> Iterator[str]:
    if isinstance(slot, str):
        yield f"slot        {slot}"
        return
    state = "active" if slot.active else "NOT READ BY ANYBODY"
    yield (
        f"slot        {state}, {size(slot.lag)} of WAL behind, "
        f"{size(slot.kept)} kept, {slot.wal_status}"
    )
    if slot.wal_status == "lost":
        yield "            its WAL is gone: rows were missed; capture must start anew"
    elif not slot.active and slot.kept > LAG_WARNING:
        yield "            kept until it is read, or the slot dropped"
    elif slot.active and slot.kept > LAG_WARNING:
        yield "            WAL piles up: capture is slow, or a transaction is open"


def _history_lines(history: History, now: float) -> Iterator[str]:
    if history.last_failure is None or history.failed_at is None:
        return
    ago = _ago(now - history.failed_at)
    yield (
        f"watch       {history.restarts} restarts; last failure {ago}: "
        f"{history.last_failure}"
    )
    if history.next_try is not None and history.next_try > now:
        yield f"            next try in {history.next_try - now:.0f} s"


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    return (
        f"{seconds / 60:.0f} min ago"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h ago"
    )


def size(count: int) -> str:
    """Write a number of bytes for a reader.

    >>> size(512), size(2_300_000), size(7_000_000_000)
    ('512 B', '2.3 MB', '7.0 GB')
    """
    value, unit = float(count), "B"
    for bigger in ("kB", "MB", "GB", "TB"):
        if abs(value) < 1000:
            break
        value, unit = value / 1000, bigger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
