"""Compile a portfolio from its rows, and say from which session on it differs."""

from collections.abc import Iterable

from analytics.calendar import Calendar
from analytics.lots import Holding, NewestClose, compile_lot, first_difference, opened
from analytics.rows import Event, Flow, Lot, Portfolio
from analytics.state import (
    EVENTS,
    FLOWS,
    LOTS,
    PORTFOLIOS,
    Account,
    Compiled,
    Trace,
    lots_of,
)


def compile_account(
    account: Account,
    calendar: Calendar,
    newest_close: NewestClose,
    newest: int,
    only: Iterable[int] | None = None,
) -> Compiled:
    """Compile an account anew; ``only``: the lots that can have changed."""
    events: dict[int, list[Event]] = {}
    for event in account.valid(EVENTS):
        assert isinstance(event, Event)  # noqa: S101
        events.setdefault(event.lot, []).append(event)
    lots = {row.id: row for row in account.valid(LOTS) if isinstance(row, Lot)}
    changed = lots.keys() if only is None else set(only) & lots.keys()
    old = account.compiled.holdings
    holdings: dict[int, Holding] = {}
    for ident, lot in lots.items():
        if ident in changed:
            mine = events.get(ident, [])
            made = compile_lot(lot, mine, calendar, newest_close, newest)
        else:
            made = old.get(ident)
        if made is not None:
            holdings[ident] = made
    unknown = [
        ident
        for ident, lot in lots.items()
        if lot.exit is not None and opened(lot, events.get(ident, [])) == 0
    ]
    orphans = [e.id for of, found in events.items() if of not in lots for e in found]
    flows = _flows(account, calendar)
    row = next(iter(account.valid(PORTFOLIOS)), None)
    portfolio = row if isinstance(row, Portfolio) else None
    starts = [h.entry for h in holdings.values()] + list(flows)
    if portfolio is not None and portfolio.inception is not None:
        starts.append(calendar.forward(portfolio.inception))
    first = min(starts, default=None)
    return Compiled(
        portfolio, first, holdings, flows, tuple(sorted(orphans)), tuple(unknown)
    )


def _flows(account: Account, calendar: Calendar) -> dict[int, int]:
    flows: dict[int, int] = {}
    for flow in account.valid(FLOWS):
        assert isinstance(flow, Flow)  # noqa: S101
        session = calendar.forward(flow.date)
        flows[session] = flows.get(session, 0) + flow.amount
    return flows


def differences(
    old: Compiled, new: Compiled, traces: Iterable[Trace]
) -> dict[int, Trace | None]:
    """Sessions from which on results may differ, each with the newest change.

    An entry (session, change) means: every session from this one on.
    """
    traces = list(traces)
    found: dict[int, Trace | None] = {}

    def add(session: int | None, trace: Trace | None) -> None:
        if session is None:
            return
        known = found.get(session)
        if known is None or (trace is not None and known.ts < trace.ts):
            found[session] = trace

    newest = max(traces, key=lambda trace: trace.ts, default=None)
    starts = [start for start in (old.start, new.start) if start is not None]
    if not starts:
        return {}
    if _whole(old) != _whole(new):
        add(min(starts), newest)
    by_lot = lots_of(traces)
    for ident in by_lot.keys() | _settled(old, new):
        session = first_difference(old.holdings.get(ident), new.holdings.get(ident))
        add(session, by_lot.get(ident))
    moved = old.flows.items() ^ new.flows.items()
    flows = [trace for trace in traces if trace.table == FLOWS]
    newest_flow = max(flows, key=lambda trace: trace.ts, default=None)
    add(min((session for session, _ in moved), default=None), newest_flow)
    return found


def _whole(compiled: Compiled) -> tuple[object, ...]:
    """Name what every session of a portfolio says or depends on."""
    row = compiled.portfolio
    equity = None if row is None else row.equity_balance
    return (equity, compiled.start, compiled.orphans, compiled.unknown)


def _settled(old: Compiled, new: Compiled) -> set[int]:
    """Lots whose steps hang on a close of their underlying."""
    both = (old.holdings, new.holdings)
    return {i for held in both for i, h in held.items() if h.settles is not None}
