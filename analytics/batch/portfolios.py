"""The two records of a portfolio in each of its sessions.

Money fields are integers of 1/10 000, quantities too, prices integers of
1/1 000 000, ratios doubles, dates ISO texts; null is None with its reason in
``reasons``. Names and order of the fields are those of the published records.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from analytics.batch.lots import Day, days, opened, trades
from analytics.batch.market import Market
from analytics.batch.rows import INT64, Event, Flow, Lot, Portfolio
from analytics.calendar import Calendar

Record: TypeAlias = dict[str, Any]

MONEY = (
    "nav",
    "cash",
    "market_value",
    "long_value",
    "short_value",
    "gross_value",
    "net_value",
    "flow",
    "pnl",
    "realized_pnl",
    "cumulative_pnl",
    "cumulative_realized_pnl",
    "cumulative_flow",
)
CONCENTRATION = ("hhi", "effective_names", "top3", "top10")
LOT_MONEY = ("market_value", "pnl", "traded", "realized_pnl")


@dataclass(frozen=True, slots=True)
class Book:
    """The valid rows of one portfolio."""

    portfolio: Portfolio
    lots: Sequence[Lot]
    flows: Sequence[Flow]
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A session of a portfolio: its two records, and the lots behind them.

    ``nav`` and ``gross`` are the exact ones, also where the records have null.
    """

    session: int
    snapshot: Record
    positions: Record
    days: Sequence[Day]
    nav: int
    gross: int


@dataclass(slots=True)
class Held:
    """What sections 3 and 4 make of a book: its days, flags and first session."""

    days: dict[int, list[Day]] = field(default_factory=dict)
    flags: dict[int, list[str]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)


def held(book: Book, market: Market) -> Held:
    """Trade every lot of a book through all sessions."""
    of_lot: dict[int, list[Event]] = {lot.id: [] for lot in book.lots}
    made = Held()
    for event in sorted(book.events, key=lambda event: event.id):
        if event.lot in of_lot:
            of_lot[event.lot].append(event)
        else:
            made.orphans.append(event.id)
    for lot in sorted(book.lots, key=lambda lot: lot.id):
        if opened(lot, of_lot[lot.id]) == 0:
            made.unknown += [lot.id] if lot.exit is not None else []
            continue
        made.starts.append(lot.entry)
        traded, made.flags[lot.id] = trades(lot, of_lot[lot.id], market)
        for day in days(lot, traded, market):
            made.days.setdefault(day.session, []).append(day)
    return made


def first_session(book: Book, lots: Held) -> int | None:
    """F: entry of a lot, inception or flow, whichever is the earliest."""
    starts = lots.starts + [flow.session for flow in book.flows]
    if book.portfolio.inception is not None:
        starts.append(book.portfolio.inception)
    return min(starts, default=None)


@dataclass(slots=True)
class Running:
    """Totals from F to a session, and the lots whose amounts do not fit."""

    nav: int
    nav_known: bool = True
    spent: int = 0
    flows: int = 0
    realized: int = 0
    broken: set[int] = field(default_factory=set)


def records(book: Book, market: Market, calendar: Calendar) -> Iterator[Outcome]:
    """Every session of a portfolio, from its first to the newest."""
    lots = held(book, market)
    first = first_session(book, lots)
    if first is None or market.newest is None:
        return
    totals = Running(nav=book.portfolio.equity)
    for session in range(first, market.newest + 1):
        today = lots.days.get(session, [])
        flow = sum(f.amount for f in book.flows if f.session == session)
        snapshot = _snapshot(book, today, flow, totals)
        nav, gross = snapshot["nav"], snapshot["gross_value"]
        _null(snapshot, _overflows(snapshot, today, totals))
        quality = _quality(today, session, market, calendar)
        quality["orphan_events"] = lots.orphans
        quality["quantity_unknown"] = lots.unknown
        quality["overflow"] = sorted(
            totals.broken | {d.lot.id for d in today if not d.value_fits}
        )
        quality["partial"] = False
        snapshot["quality"] = quality
        positions = _positions(today, lots, snapshot, calendar)
        yield Outcome(session, snapshot, positions, today, nav, gross)


def _snapshot(book: Book, today: list[Day], flow: int, totals: Running) -> Record:
    """Money, counts and concentration of a session; advances the totals."""
    before = totals.nav
    totals.flows += flow
    totals.spent += sum(day.traded for day in today)
    totals.realized += sum(day.realized for day in today)
    long_value = sum(d.market_value for d in today if d.quantity > 0)
    short_value = sum(d.market_value for d in today if d.quantity < 0)
    cash = book.portfolio.equity + totals.flows - totals.spent
    nav = totals.nav = cash + long_value + short_value
    record: Record = {
        "nav": nav,
        "cash": cash,
        "market_value": long_value + short_value,
        "long_value": long_value,
        "short_value": short_value,
        "gross_value": long_value - short_value,
        "net_value": long_value + short_value,
        "flow": flow,
        "pnl": sum(day.pnl for day in today),
        "daily_return": None,
        "realized_pnl": sum(day.realized for day in today),
        "cumulative_pnl": nav - book.portfolio.equity - totals.flows,
        "cumulative_realized_pnl": totals.realized,
        "cumulative_flow": totals.flows,
        "lots": sum(day.quantity != 0 for day in today),
        "long_lots": sum(day.quantity > 0 for day in today),
        "short_lots": sum(day.quantity < 0 for day in today),
        "reasons": {},
    }
    if before + flow > 0:
        record["daily_return"] = record["pnl"] / (before + flow)
    else:
        record["reasons"]["daily_return"] = "nav_not_positive"
    _concentrate(record, today)
    return record


def _concentrate(record: Record, today: list[Day]) -> None:
    """Concentration by symbol of what is not unpriced."""
    names: dict[str, int] = {}
    for day in today:
        if day.valuation is not None and day.valuation.status != "unpriced":
            symbol = day.lot.symbol
            names[symbol] = names.get(symbol, 0) + day.market_value
    record["names"] = len(names)
    sizes = sorted((abs(value) for value in names.values()), reverse=True)
    total = sum(sizes)
    if total == 0:
        reason = "no_coverage" if record["lots"] else "no_positions"
        for name in CONCENTRATION:
            record[name] = None
            record["reasons"][name] = reason
        return
    squares = sum(size * size for size in sizes)
    record["hhi"] = 10_000 * squares / (total * total)
    record["effective_names"] = total * total / squares
    record["top3"] = sum(sizes[:3]) / total
    record["top10"] = sum(sizes[:10]) / total


def _overflows(record: Record, today: list[Day], totals: Running) -> tuple[bool, bool]:
    """Whether the session's money, and whether its P&L, is unknown."""
    totals.broken |= {day.lot.id for day in today if not day.amounts_fit}
    before = totals.nav_known
    levels = [value for day in today for value in (day.traded, day.realized)]
    levels += [record[name] for name in MONEY if name != "pnl"]
    known = not totals.broken and all(day.value_fits for day in today)
    known = known and all(value in INT64 for value in levels)
    # A difference of two sessions; where it does not fit, both sessions may.
    changes = [record["pnl"], *(day.pnl for day in today)]
    result = known and before and all(value in INT64 for value in changes)
    totals.nav_known = known
    return not known, not result


def _null(record: Record, unknown: tuple[bool, bool]) -> None:
    """Take back what overflow has made unknown."""
    everything, result = unknown
    names: tuple[str, ...] = ()
    if everything:
        names = (*MONEY, "daily_return", *CONCENTRATION)
    elif result:
        names = ("pnl", "daily_return")
    for name in names:
        record[name] = None
        record["reasons"][name] = "overflow"


def _quality(
    today: list[Day], session: int, market: Market, calendar: Calendar
) -> Record:
    """How good the prices of a session are."""
    quality: Record = {"priced": 0, "stale": [], "unpriced": []}
    quality |= {"private_mark": [], "at_cost": []}
    symbols = set()
    for day in today:
        if day.valuation is None:
            continue
        status, at = day.valuation.status, day.valuation.session
        if day.lot.klass != "PRIVATE":
            symbols.add(day.lot.symbol)
        if status in ("stale", "unpriced"):
            used = None if at is None else calendar.iso(at)
            quality[status].append(
                {"lot": day.lot.id, "symbol": day.lot.symbol, "date": used}
            )
            continue
        quality["priced"] += 1
        if status != "priced":
            quality[status].append(day.lot.id)
    quality["jump"] = sorted(s for s in symbols if market.jumps(s, session))
    return quality


def _positions(
    today: list[Day], lots: Held, snapshot: Record, calendar: Calendar
) -> Record:
    """Lay out the lots of a session, ordered by id."""
    rows = [_row(day, calendar) for day in today]
    record: Record = {name: [row[name] for row in rows] for name in COLUMNS}
    record["flags"] = [lots.flags[day.lot.id] for day in today]
    record["reasons"] = {}
    for name in LOT_MONEY if rows else ():
        source = "pnl" if name == "pnl" else "nav"
        if snapshot[source] is None:
            record[name] = [None] * len(rows)
            record["reasons"][name] = "overflow"
    return record


COLUMNS = (
    "lot",
    "symbol",
    "position_type",
    "investment_class",
    "quantity",
    "entry_price",
    "price",
    "price_date",
    "price_status",
    *LOT_MONEY,
)


def _row(day: Day, calendar: Calendar) -> Record:
    used = day.valuation
    at = None if used is None or used.session is None else calendar.iso(used.session)
    return {
        "lot": day.lot.id,
        "symbol": day.lot.symbol,
        "position_type": day.lot.type,
        "investment_class": day.lot.klass,
        "quantity": day.quantity,
        "entry_price": day.lot.entry_price,
        "price": None if used is None else used.price,
        "price_date": at,
        "price_status": None if used is None else used.status,
        "market_value": day.market_value,
        "pnl": day.pnl,
        "traded": day.traded,
        "realized_pnl": day.realized,
    }
