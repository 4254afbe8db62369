"""Risk, live: after corrections the engine says what the oracle says of the rows.

A world of short windows, where a correction leaves the windows within the world's
sessions: six symbols (four of them factors), three portfolios, forty sessions.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from analytics.batch import Oracle
from analytics.batch.compare import Comparison
from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.factors import Factors, Spread, Style, Window
from analytics.reach import Ranges
from analytics.results import ALL_FAMILIES, FAMILIES, RISK, SNAPSHOTS
from analytics.rows import (
    Change,
    Lot,
    Portfolio,
    Price,
    Profile,
    Row,
    Version,
    Weight,
)

DAY = date(2024, 1, 1).toordinal()
COUNT = 40
CALENDAR = Calendar(list(range(DAY, DAY + COUNT)), [0] * COUNT, DAY, DAY + COUNT)
SYMBOLS = ("AAA", "BBB", "MKT", "RATE", "S1", "S2")
PARTITIONS = 2
FACTORS = Factors(
    market="MKT",
    interest_rate="RATE",
    styles=(Style("One", "S1"), Style("Two", "S2")),
    spreads=(Spread("S1", "S2"),),
    history=5,
    beta=Window(8, 5),
    spread=Window(9, 5),
    ridge=Window(8, 5),
    volatility=(Window(4, 3), Window(6, 4), Window(10, 7)),
    har_window=14,
    har_week=2,
    har_month=3,
    har_horizon=3,
    har_minimum=5,
    trend=Window(4, 3),
    percentile=Window(6, 4),
    correlation=Window(8, 5),
    name_value=10,
)


def lot(ident: int, owner: int, symbol: str, quantity: int, entry: int) -> Lot:
    kind = "LONG" if quantity >= 0 else "SHORT"
    scaled = (quantity * 10_000, 100_000_000, DAY + entry)
    return Lot(ident, owner, symbol, kind, "PUBLIC", *scaled, *[None] * 6)


@dataclass
class Desk:
    """An engine, its reader, and the rows as they are."""

    factors: Factors = FACTORS
    families: Collection[str] = ALL_FAMILIES
    engine: Engine = field(init=False)
    rows: dict[tuple[str, Any], Row] = field(default_factory=dict)
    records: dict[Any, bytes] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Engine(
            CALENDAR,
            families=self.families,
            factors=self.factors,
            symbol_partition=lambda s: len(s) % PARTITIONS,
        )
        for partition in range(PARTITIONS):
            self.engine.add_partition(partition)

    def put(self, table: str, key: tuple[Any, ...], row: Row | None, owner: Any = None):
        number = len(self.log) + 1
        if row is None:
            self.rows.pop((table, key), None)
        else:
            self.rows[table, key] = row
        version = Version(number, number, 0)
        self.log.append(Change(table, key, version, number, owner, row))
        fold(self.engine, self.log[-1], number)

    def price(
        self,
        symbol: str,
        session: int,
        close: float | None,
        adjusted: float | None = None,
    ) -> None:
        key, day = (symbol, DAY + session), DAY + session
        row = None
        if close is not None:
            row = Price(symbol, day, round(close * 1e6), adjusted)
        self.put("market_data_cache", key, row)

    def lot(self, ident: int, owner: int, *what: Any) -> None:
        self.put("positions", (ident,), lot(ident, owner, *what), owner)

    def derive(
        self, families: Collection[str] = ALL_FAMILIES, limit: int = 50
    ) -> list[Any]:
        found = self.engine.derive(families, limit)
        while self.engine.waiting(families):
            # Of so many cells none need say anything new.
            found += self.engine.derive(families, limit)
        keys = [(r.family, r.owner, r.session) for r in found]
        assert len(set(keys)) == len(keys)
        for key, result in zip(keys, found, strict=True):
            assert self.records.get(key) != result.content, f"{key} says nothing new"
            if result.content is None:
                del self.records[key]
            else:
                self.records[key] = result.content
        return keys


def fold(engine: Engine, change: Change, number: int) -> None:
    if change.portfolio is None:
        engine.fold_market([change], next_offset=number)
    else:
        engine.fold_partition(
            change.portfolio % PARTITIONS, [change], next_offset=number
        )


def opened(
    chance: np.random.Generator,
    sessions: int = 30,
    factors: Factors = FACTORS,
    families: Collection[str] = ALL_FAMILIES,
) -> Desk:
    desk = Desk(factors, families)
    for ident, equity in ((1, 10_000), (2, 500_000), (3, 1_000)):
        row = Portfolio(ident, "P", equity * 10_000, None)
        desk.put("portfolios", (ident,), row, ident)
    for symbol in SYMBOLS:
        close = 100.0
        for session in range(sessions):
            close *= 1 + chance.normal(0, 0.02)
            desk.price(symbol, session, close)
    desk.lot(1, 1, "AAA", 50, 0)
    desk.lot(2, 1, "BBB", 40, 12)
    desk.lot(3, 1, "S1", -10, 5)
    desk.lot(4, 2, "AAA", 100, 20)
    desk.lot(5, 2, "MKT", 30, 3)
    desk.lot(6, 3, "BBB", -20, 7)
    return desk


def money(units: int | None, places: int) -> Decimal | None:
    return None if units is None else Decimal(units).scaleb(-places)


def raw(row: Any) -> dict[str, Any]:
    """A row as PostgreSQL gives it."""
    match row:
        case Portfolio():
            equity = money(row.equity_balance, 4)
            return {"id": row.id, "name": row.name, "equity_balance": equity,
                    "inception_date": None, "deleted_at": None}  # fmt: skip
        case Lot():
            none = ("exit_price", "exit_date", "underlying_symbol", "strike_price",
                    "expiration_date", "last_price", "deleted_at")  # fmt: skip
            return {"id": row.id, "portfolio_id": row.portfolio, "symbol": row.symbol,
                    "position_type": row.type, "investment_class": row.klass,
                    "quantity": money(row.quantity, 4),
                    "entry_price": money(row.entry_price, 6),
                    "entry_date": date.fromordinal(row.entry),
                    **dict.fromkeys(none)}  # fmt: skip
        case Price():
            none = ("open", "high", "low", "volume")
            return {"symbol": row.symbol, "date": date.fromordinal(row.date),
                    "close": money(row.close, 6), "adj_close": row.adj_close,
                    **dict.fromkeys(none)}  # fmt: skip
        case Profile():
            return {"symbol": row.symbol, "sector": row.sector, "is_etf": row.is_etf}
        case _:
            return {"id": row.id, "benchmark_code": row.benchmark,
                    "sector": row.sector, "weight": Decimal(str(row.weight)),
                    "effective_date": date.fromordinal(row.date)}  # fmt: skip


def differences(desk: Desk) -> Comparison:
    tables: dict[str, list[Any]] = {}
    for (table, _), row in desk.rows.items():
        tables.setdefault(table, []).append(raw(row))
    oracle = Oracle(tables, CALENDAR, desk.factors)
    expected: dict[Any, Any] = {}
    for owner in oracle.portfolios:
        for session, made in oracle.families(owner):
            for family, record in made.items():
                expected[family, owner, session] = record
    for symbol in oracle.symbols():
        for session, record in oracle.symbol(symbol):
            expected["symbols", symbol, session] = record
    result = Comparison()
    for key in sorted(expected.keys() | desk.records.keys(), key=str):
        family, owner, session = key
        content = desk.records.get(key)
        found = None if content is None else json.loads(content, parse_float=float)
        result.record(
            family, owner, CALENDAR.iso(session), expected.get(key), numbers(found)
        )
    return result


def numbers(record: Any) -> Any:
    """Money as the comparison wants it: exact."""
    if record is None or ("nav" not in record and "lot" not in record):
        return record
    return json.loads(json.dumps(record), parse_float=Decimal)


def fresh(desk: Desk) -> dict[Any, bytes]:
    """What an engine says that sees all changes at once."""
    other = Desk(desk.factors, desk.families)
    other.log = desk.log
    for number, change in enumerate(desk.log, 1):
        fold(other.engine, change, number)
    other.derive()
    return other.records


def disturb(desk: Desk, chance: np.random.Generator) -> None:
    """One change of any kind."""
    symbol = str(chance.choice(SYMBOLS))
    session = int(chance.integers(0, 32))
    match int(chance.integers(0, 9)):
        case 0 | 1 | 2 | 3:
            desk.price(symbol, session, float(chance.uniform(50, 150)))
        case 4:
            desk.price(symbol, session, None)
        case 5:
            ident, owner = int(chance.integers(1, 9)), int(chance.integers(1, 4))
            for (table, key), row in list(desk.rows.items()):
                if table == "positions" and key == (ident,):
                    desk.put(table, key, None, row.portfolio)  # type: ignore[union-attr]
            quantity = int(chance.integers(-50, 80))
            desk.lot(ident, owner, symbol, quantity, int(chance.integers(0, 30)))
        case 6:
            row = Profile(symbol, str(chance.choice(["Energy", "Healthcare"])), False)
            desk.put("company_profiles", (symbol,), row)
        case 7:
            ident, share = int(chance.integers(1, 4)), float(chance.uniform(0.1, 0.7))
            weight = Weight(ident, "SPX", "Energy", round(share, 6), DAY + session)
            desk.put("benchmarks_sector_weights", (ident,), weight)
        case _:
            equity = int(chance.integers(-5_000, 50_000)) * 10_000
            owner = int(chance.integers(1, 4))
            desk.put("portfolios", (owner,), Portfolio(owner, "P", equity, None), owner)


@pytest.mark.parametrize("seed", range(4))
def test_after_every_change_the_engine_says_what_the_rows_say(seed):
    chance = np.random.default_rng(seed)
    desk = opened(chance)
    desk.derive()
    for step in range(12):
        disturb(desk, chance)
        desk.derive()
        if step % 4 == 3:
            found = differences(desk)
            assert found.cells > 1000
            assert found.differ == 0, str(found.first)
    assert fresh(desk) == desk.records


@pytest.mark.parametrize("seed", range(3))
def test_which_family_goes_ahead_changes_nothing(seed):
    """Snapshots leave their daily returns to risk, until something moves them."""
    chance = np.random.default_rng(seed)
    desk = opened(chance)
    for step in range(24):
        if step % 3:
            disturb(desk, chance)
        families = ((SNAPSHOTS,), (RISK,), ALL_FAMILIES)[int(chance.integers(3))]
        # The newest sessions first: their windows hold what is not derived yet.
        desk.derive(families, limit=5)
    desk.derive()
    assert fresh(desk) == desk.records
    found = differences(desk)
    assert found.differ == 0, str(found.first)


LONGER = replace(
    FACTORS,
    history=6,
    beta=Window(12, 6),
    spread=Window(14, 8),
    ridge=Window(12, 6),
    volatility=(Window(5, 4), Window(10, 7)),
    har_window=20,
    har_month=4,
    har_horizon=2,
    har_minimum=6,
    trend=Window(5, 4),
    percentile=Window(10, 7),
    correlation=Window(12, 6),
)


def wrong(chance: np.random.Generator) -> float | None:
    """No close, one of up to a million, or a usual one."""
    kind = chance.random()
    if kind < 0.2:
        return None
    if kind < 0.7:
        return float(chance.integers(1, 10**8)) / 100
    return float(chance.uniform(98, 103))


@pytest.mark.parametrize("seed", [73, 96])
def test_closes_that_are_wrong_by_far(seed):
    """What rounding decides is left out: a slope in 73, a HAR forecast in 96."""
    chance = np.random.default_rng(seed)
    desk = opened(chance, factors=LONGER)
    desk.derive()
    for step in range(40):
        if chance.random() < 0.4:
            symbol, session = str(chance.choice(SYMBOLS)), int(chance.integers(0, 32))
            close = wrong(chance)
            desk.price(symbol, session, close)
        else:
            disturb(desk, chance)
        if step % 3 == 0:
            desk.derive()
    desk.derive()
    assert fresh(desk) == desk.records
    found = differences(desk)
    assert found.cells > 10_000
    assert found.differ == 0, str(found.first)


def test_a_correction_says_only_what_it_touches():
    desk = opened(np.random.default_rng(1))
    desk.derive()
    desk.price("BBB", 10, 123.0)
    keys = desk.derive()
    windows = FACTORS.reach + 1
    for family, owner, session in keys:
        assert 10 <= session <= 10 + windows
        assert owner in ((1, 3) if family != "symbols" else ("BBB",))
    assert {family for family, _, _ in keys} == set(ALL_FAMILIES)


def test_a_bad_print_leaves_not_one_bit():
    desk = opened(np.random.default_rng(2))
    desk.derive()
    before = dict(desk.records)
    row = desk.rows["market_data_cache", ("MKT", DAY + 9)]
    desk.put(
        "market_data_cache",
        ("MKT", DAY + 9),
        Price("MKT", DAY + 9, row.close * 10**6, None),  # type: ignore[union-attr]
    )
    assert desk.derive()
    assert desk.records != before
    desk.put("market_data_cache", ("MKT", DAY + 9), row)
    desk.derive()
    assert desk.records == before


def test_a_ripple_that_is_too_short_is_caught(monkeypatch):
    """What the first test guards: windows that are not touched."""
    take = Ranges.take
    monkeypatch.setattr(Ranges, "take", lambda self, further=0: take(self, 0))
    monkeypatch.setattr("analytics.spreading.by_symbol", _nothing)
    desk = opened(np.random.default_rng(3))
    desk.derive()
    desk.price("AAA", 12, 140.0)
    desk.derive()
    assert differences(desk).differ > 0


def _nothing(touches: Any, base: int, reach: int) -> Any:
    from analytics.reach import by_symbol

    return by_symbol(touches, base, -1)


def test_a_checkpoint_says_nothing_again():
    desk = opened(np.random.default_rng(4))
    desk.derive()
    other = Desk()
    for key, blob in desk.engine.dump_market(only_dirty=False).items():
        other.engine.load_market(key, blob)
    other.engine.set_offsets(market=desk.engine.market_offset())
    for partition in range(PARTITIONS):
        said = desk.engine.dump_said(partition, only_dirty=False)
        rows = desk.engine.dump_portfolios(partition, only_dirty=False)
        for owner, blob in rows.items():
            other.engine.load_portfolio(partition, owner, blob)
        for session, blob in said.items():
            other.engine.load_said(partition, session, blob)
        other.engine.set_offsets(partition=(partition, 1000))
    other.records, other.rows, other.log = dict(desk.records), desk.rows, desk.log
    assert other.derive() == []
    other.price("S1", 20, 90.0)
    other.derive()
    assert differences(other).differ == 0


def test_symbols_speak_in_the_newest_sessions_only():
    """T comes and goes: what falls out is retracted, what falls in is said."""
    desk = opened(np.random.default_rng(6), factors=replace(FACTORS, symbol_sessions=5))
    desk.price("CCC", 29, 7.0)
    desk.derive()
    for symbol, session, close in (
        ("AAA", 30, 101.0),
        ("AAA", 32, 102.0),
        ("BBB", 26, 55.0),
        ("AAA", 32, None),
        ("AAA", 30, None),
    ):
        desk.price(symbol, session, close)
        keys = desk.derive()
        newest = desk.engine.market.last_session
        spoken = {s for family, _, s in desk.records if family == "symbols"}
        assert spoken == set(range(newest - 4, newest + 1))
        assert keys
        assert differences(desk).differ == 0
    assert fresh(desk) == desk.records


@pytest.mark.parametrize(
    "families", [ALL_FAMILIES, FAMILIES], ids=["all", "no symbols"]
)
@pytest.mark.parametrize("symbol", ["AAA", "MKT", "S1"])
def test_ticks_of_the_newest_session_leave_no_old_beta(symbol, families):
    """What is kept between ticks is let go of, also for a factor of all.

    With family ``symbols`` risk takes its betas from there.
    """
    desk = opened(np.random.default_rng(7), families=families)
    desk.derive()
    for close in (101.0, 140.0, 99.0):
        desk.price(symbol, 29, close)
        assert {session for _, _, session in desk.derive()} == {29}
        assert fresh(desk) == desk.records
    for close in (98.0, 97.0):
        desk.price(symbol, 30, close)
        assert {session for _, _, session in desk.derive()} == {30}
        assert fresh(desk) == desk.records
