"""Snapshots of many cells: money, return, exposures, counts, concentration."""

from dataclasses import dataclass

import numpy as np

from analytics.book import Book
from analytics.market import Market
from analytics.money import Bools, Floats, Indices, Ints
from analytics.records import (
    CONCENTRATION,
    FINAL,
    INTRADAY,
    Carried,
    Quality,
    Snapshot,
    encode,
)
from analytics.texts import Parts, joined, numbers, objects, picked, table
from analytics.valuation import (
    COST,
    MARK,
    NONE,
    PRICED,
    STALE,
    UNPRICED,
    Cells,
    Lots,
    concentrate,
    latest,
    sums,
)

STATUS_OF = table((INTRADAY, FINAL))


@dataclass(frozen=True, slots=True)
class Phase:
    """Where cells stand among the days of their portfolio that have an amount.

    ``day`` is the row (in ``book.days``) of the newest such day up to the session,
    ``today`` whether it is the session itself.
    """

    day: Indices
    today: Bools


def phases(book: Book, cells: Cells) -> Phase:
    """Find the phase of each cell."""
    slots, sessions = book.slots, book.days["session"]
    first = slots["day"][cells.slot].astype(np.intp)
    end = slots["day_end"][cells.slot].astype(np.intp)
    day = latest(sessions, first, end, cells.session)
    return Phase(day, sessions[day] == cells.session)


@dataclass(frozen=True, slots=True)
class Money:
    """Money of cells, in 1/10 000."""

    nav: Ints
    cash: Ints
    value: Ints
    long: Ints
    short: Ints
    flow: Ints
    pnl: Ints
    realized: Ints
    total_pnl: Ints
    gains: Ints
    flows: Ints
    denominator: Ints


def money(book: Book, cells: Cells, rows: Lots, phase: Phase) -> Money:
    """Cash, NAV and P&L in closed form (section 4)."""
    days, now, before = book.days, phase.day, phase.day - phase.today
    equity = book.slots["equity"][cells.slot]
    flows = days["flows"][now]
    cash = equity + flows - days["cost"][now]
    cash_before = equity + days["flows"][before] - days["cost"][before]
    long = sums(rows, np.maximum(rows.value, 0))
    short = sums(rows, np.minimum(rows.value, 0))
    nav, nav_before = cash + long + short, cash_before + sums(rows, rows.before)
    flow = np.where(phase.today, days["flow"][now], 0)
    return Money(
        nav=nav,
        cash=cash,
        value=long + short,
        long=long,
        short=short,
        flow=flow,
        pnl=nav - nav_before - flow,
        realized=np.where(phase.today, days["realized"][now], 0),
        total_pnl=nav - equity - flows,
        gains=days["gains"][now],
        flows=flows,
        denominator=nav_before + flow,
    )


def daily_returns(found: Money) -> Floats:
    """P&L on yesterday's NAV and today's flow; NaN where these are not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        earned = found.pnl / found.denominator
    return np.where(found.denominator > 0, earned, np.nan)


def snapshots(
    book: Book,
    market: Market,
    cells: Cells,
    rows: Lots,
    found: Money,
    final: Bools,
    partial: Bools,
) -> list[bytes]:
    """Content of the snapshot of each cell (of an exact one: meaningless)."""
    held = rows.quantity != 0
    lots, longs = (
        sums(rows, held.astype(np.int64)),
        sums(rows, (rows.quantity > 0).astype(np.int64)),
    )
    spread = concentrate(book, cells, rows)
    earned = daily_returns(found)
    amounts = [found.nav, found.cash, found.value, found.long, found.short]
    amounts += [found.long - found.short, found.value, found.flow, found.pnl]
    more = [found.realized, found.total_pnl, found.gains, found.flows]
    covered = ~np.isnan(spread.hhi)
    ratios = (spread.hhi, spread.effective, spread.top3, spread.top10)
    columns: list[Parts] = [
        picked(final & ~partial, STATUS_OF),
        *[numbers(amount / 1e4) for amount in amounts],
        numbers(earned),
        *[numbers(amount / 1e4) for amount in more],
        *[numbers(count) for count in (lots, longs, lots - longs, spread.names)],
        *[numbers(np.where(covered, ratio, np.nan)) for ratio in ratios],
        [_reasons(~np.isnan(earned), covered, lots)],
        [_qualities(book, market, cells, rows, partial)],
    ]
    fields = Snapshot.__struct_fields__
    return joined(objects(dict(zip(fields, columns, strict=True))), len(final))


def _reasons(good: Bools, covered: Bools, lots: Ints) -> list[bytes]:
    found = [b"{}"] * len(good)
    for place in np.flatnonzero(~good | ~covered).tolist():
        reasons = {} if good[place] else {"daily_return": "nav_not_positive"}
        if not covered[place]:
            reason = "no_coverage" if lots[place] else "no_positions"
            reasons |= dict.fromkeys(CONCENTRATION, reason)
        found[place] = encode(reasons)
    return found


def _qualities(
    book: Book, market: Market, cells: Cells, rows: Lots, partial: Bools
) -> list[bytes]:
    """Text of each cell's quality; most say nothing but how many lots are priced."""
    counted = np.isin(rows.status, (PRICED, MARK, COST)).astype(np.int64)
    priced, incomplete = sums(rows, counted).tolist(), partial.tolist()
    special: dict[int, Quality] = {}

    def of(cell: int) -> Quality:
        if cell not in special:
            special[cell] = Quality(priced[cell], partial=incomplete[cell])
        return special[cell]

    for cell, slot in enumerate(cells.slot.tolist()):
        compiled = book.compiled[slot]
        if compiled.orphans or compiled.unknown:
            of(cell).orphan_events = compiled.orphans
            of(cell).quantity_unknown = compiled.unknown
    odd = np.flatnonzero((rows.status != PRICED) & (rows.status != NONE))
    for row in odd.tolist():
        _carried(book, market, rows, of(int(rows.cell[row])), row)
    for cell, symbols in _jumps(book, market, cells, rows).items():
        of(cell).jump = sorted(symbols)
    plain = {
        key: encode(Quality(key[0], partial=key[1]))
        for key in set(zip(priced, incomplete, strict=True))
    }
    found = [plain[key] for key in zip(priced, incomplete, strict=True)]
    for cell, quality in special.items():
        found[cell] = encode(quality)
    return found


NAMES = {STALE: "stale", UNPRICED: "unpriced", MARK: "private_mark", COST: "at_cost"}


def _carried(
    book: Book, market: Market, rows: Lots, quality: Quality, row: int
) -> None:
    status, lot = int(rows.status[row]), int(rows.lot[row])
    ident = int(book.lots["lot"][lot])
    entry: object = ident
    if status in (STALE, UNPRICED):
        used = int(rows.used[row])
        symbol = market.symbols[book.lots["column"][lot]]
        entry = Carried(ident, symbol, market.calendar.iso(used) if used >= 0 else None)
    name = NAMES[status]
    setattr(quality, name, [*getattr(quality, name), entry])


def _jumps(book: Book, market: Market, cells: Cells, rows: Lots) -> dict[int, set[str]]:
    """Symbols that jumped, by cell."""
    column = book.lots["column"][rows.lot]
    jump = market.jumps(cells.session[rows.cell], column)
    jump &= (rows.quantity != 0) & ~book.lots["private"][rows.lot]
    names: dict[int, set[str]] = {}
    for row in np.flatnonzero(jump).tolist():
        names.setdefault(int(rows.cell[row]), set()).add(market.symbols[column[row]])
    return names
