"""One cell in Python's integers: for numbers that arrays cannot hold exactly.

The same definitions as ``valuation`` and the records made of it, a lot at a
time. It is slow and used where something is too large (section 4: overflow);
tests run it for every cell beside the fast path and compare the bytes.
"""

from dataclasses import dataclass

from analytics.lots import Holding
from analytics.market import Market
from analytics.money import fits, half_even, number
from analytics.records import (
    CONCENTRATION,
    LOT_MONEY,
    MONEY,
    Carried,
    Positions,
    Quality,
    Snapshot,
)
from analytics.state import Compiled
from analytics.valuation import (
    COST,
    MARK,
    NONE,
    PRICED,
    STALE,
    STALE_SESSIONS,
    STATUS,
    UNPRICED,
)


@dataclass(slots=True)
class Day:
    """A lot in a session."""

    holding: Holding
    quantity: int
    price: int
    used: int
    status: int
    value: int
    before: int
    traded: int
    realized: int


@dataclass(slots=True)
class Cell:
    """A portfolio in a session, before nulls."""

    days: list[Day]
    money: dict[str, int]
    broken: list[int]
    known: bool
    denominator: int


def price(market: Market, holding: Holding, t: int) -> tuple[int, int, int]:
    """Valuation price, session of the close used (-1 for none), status."""
    lot = holding.lot
    column = market.column(lot.symbol)
    used = int(market.last[market.frame.row(t), column])
    private = holding.private
    if used >= 0 and (private or used >= holding.entry):
        close = int(market.close[market.frame.row(used), column])
        if private:
            return close, used, MARK
        age = t - used
        carried = UNPRICED if age > STALE_SESSIONS else STALE
        return close, used, carried if age else PRICED
    if not private:
        return lot.entry_price, -1, UNPRICED
    if lot.last_price is not None:
        return lot.last_price, -1, MARK
    return lot.entry_price, -1, COST


def _quantity(holding: Holding, t: int) -> int:
    quantity = 0
    for step in holding.steps:
        if step.session > t:
            break
        quantity = step.quantity
    return quantity


def _worth(market: Market, holding: Holding, t: int) -> int:
    quantity = _quantity(holding, t)
    if quantity == 0:
        return 0
    paid, _, _ = price(market, holding, t)
    return half_even(quantity * holding.multiplier * paid)


def _day(market: Market, holding: Holding, t: int) -> Day:
    quantity = _quantity(holding, t)
    paid, used, status = price(market, holding, t)
    today = [step for step in holding.steps if step.session == t]
    return Day(
        holding,
        quantity,
        paid,
        used,
        status if quantity else NONE,
        _worth(market, holding, t),
        _worth(market, holding, t - 1),
        sum(step.amount for step in today),
        sum(step.realized for step in today),
    )


def cell(market: Market, compiled: Compiled, t: int) -> Cell:
    """Value a portfolio in a session, whatever its size."""
    assert compiled.portfolio is not None  # noqa: S101  (only cells that exist)
    holdings = [compiled.holdings[lot] for lot in sorted(compiled.holdings)]
    days = [_day(market, h, t) for h in holdings if h.entry <= t <= h.end]
    steps = [s for h in holdings for s in h.steps if s.session <= t]
    equity = compiled.portfolio.equity_balance
    flow = compiled.flows.get(t, 0)
    flows = sum(amount for day, amount in compiled.flows.items() if day <= t)
    cash = equity + flows - sum(step.amount for step in steps)
    long_value = sum(day.value for day in days if day.quantity > 0)
    short_value = sum(day.value for day in days if day.quantity < 0)
    nav = cash + long_value + short_value
    pnl = sum(day.value - day.before - day.traded for day in days)
    money = {
        "nav": nav,
        "cash": cash,
        "market_value": long_value + short_value,
        "long_value": long_value,
        "short_value": short_value,
        "gross_value": long_value - short_value,
        "net_value": long_value + short_value,
        "flow": flow,
        "pnl": pnl,
        "realized_pnl": sum(day.realized for day in days),
        "cumulative_pnl": nav - equity - flows,
        "cumulative_realized_pnl": sum(step.realized for step in steps),
        "cumulative_flow": flows,
    }
    bad = {h.lot.id for h in holdings if h.broken is not None and h.broken <= t}
    bad |= {day.holding.lot.id for day in days if not fits(day.value)}
    levels = [money[name] for name in MONEY if name != "pnl"]
    levels += [part for day in days for part in (day.traded, day.realized)]
    known = not bad and all(fits(level) for level in levels)
    # NAV(t - 1) + flow(t), by the identity of section 4
    return Cell(days, money, sorted(bad), known, nav - pnl)


def _result_known(market: Market, compiled: Compiled, t: int, now: Cell) -> bool:
    """Whether P&L is known: both sessions are, and it fits by itself."""
    if not now.known or not fits(now.money["pnl"]):
        return False
    if not all(fits(day.value - day.before - day.traded) for day in now.days):
        return False
    start = compiled.start
    return start is None or t <= start or cell(market, compiled, t - 1).known


def records(
    market: Market, compiled: Compiled, t: int, *, status: str, partial: bool
) -> tuple[Snapshot, Positions, int | None, int | None]:
    """Both records of a cell, and NAV and P&L in 1/10 000 (None: unknown)."""
    now = cell(market, compiled, t)
    result = _result_known(market, compiled, t, now)
    reasons: dict[str, str] = {}
    values: dict[str, object] = {}
    for name in MONEY:
        if now.known and (result or name != "pnl"):
            values[name] = number(now.money[name], 4)
        else:
            values[name], reasons[name] = None, "overflow"
    values["daily_return"] = _return(now, reasons, result=result)
    values |= _concentration(now, reasons)
    held = [day for day in now.days if day.quantity]
    values["lots"] = len(held)
    values["long_lots"] = sum(day.quantity > 0 for day in held)
    values["short_lots"] = sum(day.quantity < 0 for day in held)
    quality = _quality(market, compiled, t, now)
    quality.partial = partial
    ordered = {name: values[name] for name in FIELDS}
    snapshot = Snapshot(
        status=status,
        reasons=sorted_reasons(reasons),
        quality=quality,
        **ordered,  # type: ignore[arg-type]
    )
    rows = _positions(market, now, status, result=result)
    return (
        snapshot,
        rows,
        now.money["nav"] if now.known else None,
        now.money["pnl"] if result else None,
    )


FIELDS = [
    f for f in Snapshot.__struct_fields__ if f not in ("status", "reasons", "quality")
]
PLACES = {name: place for place, name in enumerate(Snapshot.__struct_fields__)}


def sorted_reasons(reasons: dict[str, str]) -> dict[str, str]:
    """Reasons in the order of the fields."""
    return {name: reasons[name] for name in sorted(reasons, key=PLACES.__getitem__)}


def _return(now: Cell, reasons: dict[str, str], *, result: bool) -> float | None:
    if not result:
        reasons["daily_return"] = "overflow"
        return None
    if now.denominator <= 0:
        reasons["daily_return"] = "nav_not_positive"
        return None
    return float(now.money["pnl"]) / float(now.denominator)


def daily_return(market: Market, compiled: Compiled, t: int, now: Cell) -> float | None:
    """Daily return of a cell, None where it is null."""
    return _return(now, {}, result=_result_known(market, compiled, t, now))


def _concentration(now: Cell, reasons: dict[str, str]) -> dict[str, object]:
    net: dict[str, int] = {}
    for day in now.days:
        if day.status not in (UNPRICED, NONE):
            symbol = day.holding.lot.symbol
            net[symbol] = net.get(symbol, 0) + day.value
    names = len(net)
    held = any(day.quantity for day in now.days)
    values = [abs(net[symbol]) for symbol in sorted(net)]
    gross = sum(values)
    reason = None if now.known else "overflow"
    if reason is None and gross == 0:
        reason = "no_coverage" if held else "no_positions"
    if reason is not None:
        reasons.update(dict.fromkeys(CONCENTRATION, reason))
        return {"names": names, **dict.fromkeys(CONCENTRATION)}
    squares = 0.0
    for value in values:  # one by one, as np.bincount adds
        share = float(value) / float(gross)
        squares += share * share
    hhi = 10_000 * squares
    values.sort(reverse=True)
    return {
        "names": names,
        "hhi": hhi,
        "effective_names": 10_000 / hhi,
        "top3": float(sum(values[:3])) / float(gross),
        "top10": float(sum(values[:10])) / float(gross),
    }


def _quality(market: Market, compiled: Compiled, t: int, now: Cell) -> Quality:
    lists: dict[int, list[object]] = {s: [] for s in (STALE, UNPRICED, MARK, COST)}
    jumps = set()
    priced = 0
    for day in now.days:
        lot = day.holding.lot
        priced += day.status in (PRICED, MARK, COST)
        if day.status in (STALE, UNPRICED):
            used = market.calendar.iso(day.used) if day.used >= 0 else None
            lists[day.status].append(Carried(lot.id, lot.symbol, used))
        elif day.status in (MARK, COST):
            lists[day.status].append(lot.id)
        if day.quantity and not day.holding.private and market.jump(lot.symbol, t):
            jumps.add(lot.symbol)
    return Quality(
        priced,
        lists[STALE],  # type: ignore[arg-type]
        lists[UNPRICED],  # type: ignore[arg-type]
        lists[MARK],  # type: ignore[arg-type]
        lists[COST],  # type: ignore[arg-type]
        sorted(jumps),
        compiled.orphans,
        compiled.unknown,
        now.broken,
    )


def _positions(market: Market, now: Cell, status: str, *, result: bool) -> Positions:
    days, iso = now.days, market.calendar.iso
    lots = [day.holding.lot for day in days]
    money: dict[str, list[object]] = {
        "market_value": [number(day.value, 4) for day in days],
        "pnl": [number(day.value - day.before - day.traded, 4) for day in days],
        "traded": [number(day.traded, 4) for day in days],
        "realized_pnl": [number(day.realized, 4) for day in days],
    }
    reasons = {}
    for name in LOT_MONEY if days else ():
        if not (result if name == "pnl" else now.known):
            money[name], reasons[name] = [None] * len(days), "overflow"
    return Positions(
        status,
        [lot.id for lot in lots],
        [lot.symbol for lot in lots],
        [lot.type for lot in lots],
        [lot.klass for lot in lots],
        [number(day.quantity, 4) for day in days],
        [number(lot.entry_price, 6) for lot in lots],
        [number(day.price, 6) if day.quantity else None for day in days],
        [iso(d.used) if d.quantity and d.used >= 0 else None for d in days],
        [STATUS[day.status] for day in days],
        flags=[day.holding.flags for day in days],
        reasons=reasons,
        **money,  # type: ignore[arg-type]
    )
