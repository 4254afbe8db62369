"""What the engine says of risk, where there are numbers, read by the models."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.results import Result
from analytics.rows import Change, Lot, Portfolio, Price, Profile, Version, Weight
from connectors.models import read_record
from streams.record import Record, RecordWriter
from tests.connectors.test_models_engine import PRICE, QUANTITY, lot, unknown

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


@pytest.fixture(scope="module")
def said() -> list[tuple[Result, Record]]:
    """Records of risk and symbols at every seventh session."""
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
        for result in engine.derive(("risk", "symbols"))
        if (NEWEST - result.session) % 7 == 0
    ]


def newest(said: list[tuple[Result, Record]], owner: int | str) -> Any:
    return next(
        read_record(result.family, record.value)
        for result, record in said
        if (result.owner, result.session) == (owner, NEWEST)
    )


def test_every_record_is_read_and_no_field_is_unknown(said):
    assert len(said) > 300
    for result, record in said:
        model = read_record(result.family, record.value)
        assert list(unknown(json.loads(record.value), model)) == []


REASONS = {
    "condition": "condition_reason",
    "strength": "strength_reason",
    "money": "money_reason",
    "coverage": "coverage_reason",
    "weighted_mean": "mean_reason",
    "mean": "mean_reason",
    "effective_number": "effective_reason",
}
FREE = {"cause", "previous", "benchmark", "date", "direction", "tilt"}


def unexplained(value: Any, path: str = "") -> Iterator[str]:
    """Nulls without a reason, and reasons without a null."""
    if isinstance(value, list):
        for n, item in enumerate(value):
            yield from unexplained(item, f"{path}[{n}]")
    if isinstance(value, dict):
        for name, item in value.items():
            yield from unexplained(item, f"{path}.{name}")
            reason = value.get(REASONS.get(name, "reason"))
            is_number = item is None or isinstance(item, float)
            free = name in FREE or name.endswith("reason") or not is_number
            if not free and (item is None) != (reason is not None):
                yield f"{path}.{name}"


def test_a_null_has_its_reason_and_a_number_has_none(said):
    for result, record in said:
        found = list(unexplained(json.loads(record.value)))
        assert found == [], (result.family, result.owner, result.session)


def test_there_are_numbers_of_every_kind(said):
    """Else the tests above prove little."""
    risk, symbol = newest(said, 1), newest(said, "A")
    assert risk.betas.market.value is not None
    assert risk.styles["Momentum"].value is not None
    assert risk.styles["Value"].reason == "no_coverage"
    assert risk.spreads["IWM-SPY"].tilt is not None
    assert risk.volatility.model_extra["252"].value is not None
    assert risk.volatility.har.value is not None
    assert risk.correlation.names == ["A", "B", "C", "LATE"]
    assert [block.active_reason for block in risk.sectors] == ["no_benchmark", None]
    assert symbol.ridge.loadings["Quality"].loading is not None
    assert symbol.ridge.loadings["Value"].reason == "no_factor_history"
    assert symbol.trend.direction is not None
    assert newest(said, "LATE").volatility["252"].reason == "too_few"
    assert newest(said, 2).betas.market.reason == "no_positions"
    assert newest(said, 3).betas.market.reason == "nav_not_positive"
