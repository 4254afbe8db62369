"""What the engine says, read by the models: every field, nothing besides."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.results import ALL_FAMILIES, Result
from analytics.rows import (
    Change,
    Event,
    Flow,
    Lot,
    Portfolio,
    Price,
    Row,
    Version,
)
from connectors.models import MODELS, Retraction, Snapshot, read_record
from connectors.record_models import SymbolHead, SymbolRetraction
from connectors.risk_models import SymbolStatistics
from streams.record import Record, RecordWriter

DAYS = [date(2024, 1, day).toordinal() for day in (2, 3, 4, 5, 8, 9, 10, 11)]
CLOSES = [(day - date(1970, 1, 1).toordinal()) * 86_400_000_000 for day in DAYS]
CALENDAR = Calendar(DAYS, CLOSES, DAYS[0], DAYS[-1])
PRICE, QUANTITY = 1_000_000, 10_000


class World:
    """An engine with one partition, and hands to change rows."""

    def __init__(self) -> None:
        self.engine = Engine(CALENDAR, symbol_partition=lambda symbol: 0)
        self.engine.add_partition(0)
        self._offsets = [0, 0]

    def market(self, *rows: Price) -> None:
        changes = [self._change(row, (row.symbol, row.date), None) for row in rows]
        self.engine.fold_market(changes, next_offset=self._next(0))

    def portfolios(self, *rows: Portfolio | Lot | Flow | Event) -> None:
        changes = [
            self._change(row, (row.id,), getattr(row, "portfolio", row.id))
            for row in rows
        ]
        self.engine.fold_partition(0, changes, next_offset=self._next(1))

    def delete(self, table: str, key: Any, portfolio: int | None = None) -> None:
        version = Version(10**6, 0, 0)
        key = key if isinstance(key, tuple) else (key,)
        change = Change(table, key, version, CLOSES[-1], portfolio, None)
        if portfolio is None:
            self.engine.fold_market([change], next_offset=self._next(0))
        else:
            self.engine.fold_partition(0, [change], next_offset=self._next(1))

    def records(self) -> Iterator[tuple[Result, Record]]:
        writer = RecordWriter(CALENDAR)
        for result in self.engine.derive():
            yield result, writer.record(result)

    def _next(self, log: int) -> int:
        self._offsets[log] += 1
        return self._offsets[log]

    def _change(self, row: Row, key: tuple[Any, ...], portfolio: int | None) -> Change:
        tables = {
            Price: "market_data_cache",
            Portfolio: "portfolios",
            Lot: "positions",
            Flow: "equity_changes",
            Event: "position_realized_events",
        }
        version = Version(sum(self._offsets), 0, 0)
        return Change(tables[type(row)], key, version, CLOSES[2], portfolio, row)


def lot(ident: int, symbol: str, kind: str = "LONG", **values: Any) -> Lot:
    sign = -1 if kind in ("SHORT", "SC", "SP") else 1
    option = kind in ("LC", "LP", "SC", "SP")
    row = {
        "id": ident,
        "portfolio": 1,
        "symbol": symbol,
        "type": kind,
        "klass": "OPTIONS" if option else "PUBLIC",
        "quantity": sign * 10 * QUANTITY,
        "entry_price": 50 * PRICE,
        "entry": DAYS[0],
        "exit_price": None,
        "exit": None,
        "underlying": "A" if option else None,
        "strike": 45 * PRICE if option else None,
        "expiry": DAYS[4] if option else None,
        "last_price": None,
    }
    return Lot(**{**row, **values})


def odd_world() -> World:
    """Everything that leaves a trace in a record."""
    world = World()
    world.market(
        *(Price("A", day, (50 + i) * PRICE, None) for i, day in enumerate(DAYS)),
        *(
            Price("JUMPS", day, 10 ** (i % 2) * PRICE, 1.5)
            for i, day in enumerate(DAYS)
        ),
        Price("GAP", DAYS[0], 20 * PRICE, None),
    )
    world.portfolios(
        Portfolio(1, "odd", 10_000 * 10_000, DAYS[0]),
        Portfolio(2, "poor", 0, DAYS[0]),
        Portfolio(3, "overflowing", 0, DAYS[0]),
        lot(1, "A"),
        lot(2, "A", "SHORT"),
        lot(3, "A240105C45", "LC"),
        lot(4, "GAP"),
        lot(5, "NEVER"),
        lot(6, "HOUSE", klass="PRIVATE"),
        lot(7, "BOAT", klass="PRIVATE", last_price=7 * PRICE),
        lot(8, "JUMPS", entry=DAYS[2]),
        lot(9, "A", exit=DAYS[3], exit_price=60 * PRICE),
        lot(10, "A", quantity=0, exit=DAYS[3], exit_price=60 * PRICE),
        lot(11, "A", portfolio=3, quantity=2**62, entry_price=2**62),
        lot(12, 'odd "\\ \n é'),
        Flow(1, 1, 100 * 10_000, DAYS[2]),
        Event(1, 1, 1, DAYS[2], 4 * QUANTITY, 61 * PRICE, None),
        Event(2, 1, 404, DAYS[2], QUANTITY, 61 * PRICE, None),
        Event(3, 1, 8, DAYS[0], QUANTITY, None, 5 * 10_000),
    )
    return world


def owner_of(model: Any) -> int | str:
    return model.symbol if isinstance(model, SymbolHead) else model.portfolio


def unknown(value: Any, model: Any, path: str = "") -> Iterator[str]:
    """Fields of the JSON that the model, read from it, does not know."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from unknown(item, model[i], f"{path}[{i}]")
    if isinstance(value, dict) and isinstance(model, BaseModel):
        for name, item in value.items():
            if name not in type(model).model_fields | (model.model_extra or {}):
                yield f"{path}.{name}"
            else:
                yield from unknown(item, getattr(model, name), f"{path}.{name}")


@pytest.fixture(scope="module")
def said() -> list[tuple[Result, Record]]:
    return list(odd_world().records())


def test_every_record_of_an_odd_world_is_read(said):
    assert {result.family for result, _ in said} == set(ALL_FAMILIES)
    for result, record in said:
        model = read_record(result.family, record.value)
        assert (owner_of(model), model.revision.m) == (result.owner, 1)
        assert list(unknown(json.loads(record.value), model)) == []


def test_the_odd_world_is_odd_in_every_way(said):
    """Else the test above proves little."""
    snapshots = [
        read_record(result.family, record.value)
        for result, record in said
        if result.family == "snapshots"
    ]
    for name in type(snapshots[0].quality).model_fields:
        if name != "partial":
            assert any(getattr(s.quality, name) for s in snapshots), name
    reasons = {reason for s in snapshots for reason in s.reasons.values()}
    assert {"overflow", "no_positions", "nav_not_positive"} <= reasons


def test_a_correction_and_a_retraction_are_read():
    world = odd_world()
    list(world.records())
    world.market(Price("A", DAYS[5], 99 * PRICE, None))
    moved = [
        read_record(result.family, record.value) for result, record in world.records()
    ]
    # Eight sessions are too few for a symbol's statistics: they stay null.
    assert {type(model) for model in moved} == {*MODELS.values()} - {SymbolStatistics}
    assert all(model.cause and model.previous for model in moved)
    assert all(list(model.cause.changed) == ["close"] for model in moved)
    world.delete("portfolios", 2, 2)
    gone = [
        read_record(result.family, record.value) for result, record in world.records()
    ]
    owners = [m.portfolio for m in gone if isinstance(m, Retraction)]
    assert set(owners) == {2}
    world.delete("market_data_cache", ("GAP", DAYS[0]))
    gone = [
        read_record(result.family, record.value) for result, record in world.records()
    ]
    owners = [m.symbol for m in gone if isinstance(m, SymbolRetraction)]
    assert owners == ["GAP"] * len(DAYS)


def test_money_adds_up_exactly_as_read(said):
    for result, record in said:
        model = read_record(result.family, record.value)
        if isinstance(model, Snapshot) and model.nav is not None:
            assert model.nav == model.cash + model.long_value + model.short_value
            assert isinstance(model.nav, Decimal)
