"""A journal of two portfolios and three symbols, in memory."""

from __future__ import annotations

from random import Random

from analytics.rows import Change, Lot, Portfolio, Price, Row, Version
from tests.analytics.engine_desk import CALENDAR, HOUR, SESSIONS, day, lot_row

SYMBOLS = ("A", "B", "C")


def change(
    table: str, key: tuple, row: Row | None, owner: int | None, order: int, ts: int = 0
) -> Change:
    return Change(table, key, Version(order, order, 0), ts or order, owner, row)


def market() -> list[Change]:
    """Closes of every session but the last two."""
    random, found = Random(7), []  # noqa: S311 - seeded, not secret
    for session in range(SESSIONS - 1):
        for symbol in SYMBOLS:
            close = random.randrange(10_000_000, 90_000_000)
            row = Price(symbol, day(session), close, None)
            key = (symbol, row.date)
            found.append(change("market_data_cache", key, row, None, len(found) + 1))
    return found


def owners() -> list[Change]:
    """Two portfolios of two lots; the second was written after the last close."""
    found = []
    for owner in (1, 2):
        ts = (CALENDAR.closes[-1] + HOUR) * (owner - 1) + owner
        row = Portfolio(owner, f"p{owner}", 10_000_000_000, None)
        found.append(change("portfolios", (owner,), row, owner, owner, ts))
        for n, symbol in enumerate(SYMBOLS[:2]):
            ident = owner * 10 + n
            lot = lot_row(ident, owner, symbol, 10 + ident, 20, owner)
            assert isinstance(lot, Lot)
            found.append(change("positions", (ident,), lot, owner, ident, ts))
    return found
