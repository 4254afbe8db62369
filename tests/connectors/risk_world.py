"""A world with enough sessions for every statistic, and what the engine says of it."""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.results import Result
from analytics.rows import Change, Lot, Portfolio, Price, Profile, Version, Weight
from streams.record import Record, RecordWriter
from tests.connectors.test_models_engine import PRICE, QUANTITY, lot

SESSIONS = 300
FIRST = date(2023, 1, 2)
DAYS = [(FIRST + timedelta(n)).toordinal() for n in range(SESSIONS)]
CLOSES = [(day - date(1970, 1, 1).toordinal()) * 86_400_000_000 for day in DAYS]
CALENDAR = Calendar(DAYS, CLOSES, DAYS[0], DAYS[-1])
SYMBOLS = ("SPY", "TLT", "MTUM", "QUAL", "IWM", "A", "B", "C", "LATE")
NEWEST = SESSIONS - 1


def prices() -> Iterator[Price]:
    """Seeded walks; LATE has 40 sessions, and TLT misses some."""
    random = np.random.default_rng(7)
    moves = random.normal(0, 0.01, (SESSIONS, len(SYMBOLS)))
    moves[:, 1:] += moves[:, :1]
    closes = 100 * np.exp(np.cumsum(moves, axis=0))
    for n, day in enumerate(DAYS):
        for symbol, close in zip(SYMBOLS, closes[n].tolist(), strict=True):
            if (symbol == "LATE" and n < SESSIONS - 40) or (symbol, n % 50) == (
                "TLT",
                7,
            ):
                continue
            yield Price(symbol, day, round(close * 100) * PRICE // 100, None)


def rows() -> Iterator[tuple[str, tuple[Any, ...], int | None, Any]]:
    for price in prices():
        yield "market_data_cache", (price.symbol, price.date), None, price
    yield "company_profiles", ("A",), None, Profile("A", "Technology", is_etf=False)
    for n, code in enumerate(("SOME", "LATER")):
        day = DAYS[0 if code == "SOME" else -1] + n * 100
        weight = Weight(n, code, "Energy", 1.0, day)
        yield "benchmarks_sector_weights", (n,), None, weight
    lots: list[Portfolio | Lot] = [
        Portfolio(1, "some", 10**6 * 10_000, DAYS[0]),
        Portfolio(2, "empty", 10_000, DAYS[0]),
        Portfolio(3, "poor", 0, DAYS[0]),
        *(
            lot(n, symbol, entry=DAYS[0], quantity=3000 * QUANTITY)
            for n, symbol in enumerate(("A", "B", "C"), 1)
        ),
        lot(4, "LATE", entry=DAYS[0], quantity=200 * QUANTITY),
        lot(9, "A", portfolio=3, entry=DAYS[0], entry_price=500 * PRICE),
    ]
    for row in lots:
        owner = row.id if isinstance(row, Portfolio) else row.portfolio
        table = "portfolios" if isinstance(row, Portfolio) else "positions"
        yield table, (row.id,), owner, row


@cache
def risk_records() -> list[tuple[Result, Record]]:
    """All families at every seventh session, the newest among them."""
    engine = Engine(CALENDAR, symbol_partition=lambda symbol: 0)
    engine.add_partition(0)
    changes = [
        Change(table, key, Version(n, 0, 0), CLOSES[-1], owner, row)
        for n, (table, key, owner, row) in enumerate(rows())
    ]
    engine.fold_market([c for c in changes if c.portfolio is None], next_offset=1)
    engine.fold_partition(0, [c for c in changes if c.portfolio], next_offset=1)
    writer = RecordWriter(CALENDAR)
    return [
        (result, writer.record(result))
        for result in engine.derive()
        if (NEWEST - result.session) % 7 == 0
    ]
