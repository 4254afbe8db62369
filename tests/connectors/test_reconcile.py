"""PostgreSQL against the journal: what differs is found, row by row, and no more."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from analytics.calendar import Calendar
from analytics.rows import TABLES, Change, Lot, Price, Profile, Version
from analytics.validity import validate
from connectors import reconcile
from connectors.postgres import apply_schema
from connectors.reconcile import (
    Range,
    Rows,
    compare,
    differing,
    fold,
    key_columns,
    lasting,
    read_source,
    repair,
)
from connectors.settings import PostgresSettings, Settings
from tests.connectors.envelopes import EPOCH, LOT, MONDAY, PRICE

DAYS = [EPOCH + MONDAY + day for day in range(40)]
CALENDAR = Calendar(DAYS, [0] * 40, DAYS[0], DAYS[-1])


def profile(symbol: str, sector: str | None = None) -> tuple[Any, Profile]:
    return ((symbol,), None), Profile(symbol, sector, is_etf=False)


def test_each_kind_of_difference_is_found_in_its_range():
    chance = random.Random(5)  # noqa: S311 - repeatable
    source = dict(profile(f"S{n:05}") for n in range(1000))
    journal = dict(source)
    lost = chance.sample(sorted(source), 7)
    for place in lost[:3]:
        del journal[place]
    for place in lost[3:]:
        journal[place] = Profile(place[0][0], "else", is_etf=False)
    journal |= [profile("ZZZ")]
    found = compare({"company_profiles": source}, {"company_profiles": journal}, 100)
    assert found.ranges == 11
    assert found.differ == 8
    assert {p for one in found.differing for p in one.missing} == set(lost[:3])
    assert {p for one in found.differing for p in one.stale} == set(lost[3:])
    assert [p for one in found.differing for p in one.extra] == [(("ZZZ",), None)]
    for one in found.differing:
        for key, _ in (*one.missing, *one.extra, *one.stale):
            assert one.first <= key <= one.last


def test_a_lot_under_another_portfolio_is_missing_here_and_extra_there():
    lot = validate("positions", LOT, CALENDAR)
    assert isinstance(lot, Lot)
    here, there = {((2,), 1): lot}, {((2,), 7): lot}
    [found] = compare({"positions": here}, {"positions": there}).differing
    assert found == Range("positions", (2,), (2,), 1, 1, (((2,), 1),), (((2,), 7),), ())


def test_equal_sides_do_not_differ():
    rows = {"company_profiles": dict(profile(s) for s in "ABC")}
    assert compare(rows, rows).differ == 0


def test_what_was_on_its_way_in_one_look_only_does_not_count():
    lost, late, moving = (profile(name) for name in ("LOST", "LATE", "MOVING"))
    first = {"company_profiles": dict([lost, late, moving])}
    before = differing(compare(first, {}), first)
    again = {"company_profiles": dict([lost, late, profile("MOVING", "else")])}
    there = {"company_profiles": dict([late, profile("GONE")])}
    found = compare(again, there)
    assert found.differ == 3
    kept = lasting(found, differing(found, again), before)
    assert [(one.missing, one.extra) for one in kept.differing] == [((lost[0],), ())]
    assert kept.rows == found.rows


@pytest.mark.parametrize("wait", [60.0, 1e-9])
async def test_only_what_differs_twice_is_told(filled, monkeypatch, tmp_path, wait):
    """However long a look takes: the wait is over before the first one."""
    here, late, later = (profile(name) for name in ("HERE", "LATE", "LATER"))
    looks = [[here, late], [here], [here, late, later], [here, late]]
    sides = iter([{"company_profiles": dict(rows)} for rows in looks])

    async def next_side(*_: object) -> Rows:
        return next(sides)

    monkeypatch.setattr(reconcile, "read_source", next_side)
    monkeypatch.setattr(reconcile, "read_journal", next_side)
    settings = Settings(postgres=filled, home=tmp_path)
    found = await reconcile.reconcile_until(settings, CALENDAR, wait)
    assert found.differ == 0


def test_the_newest_version_counts_whatever_the_order():
    def change(lsn: int, row: Price | None) -> Change:
        return Change("market_data_cache", ("A", 1), Version(lsn, 0, 0), 0, None, row)

    changes = [change(1, Price("A", 1, 1, None)), change(3, None)]
    changes += [change(2, Price("A", 1, 2, None))]
    for order in (changes, changes[::-1]):
        newest: dict[Any, Change] = {}
        fold(order, newest)
        assert [c.row for c in newest.values()] == [None]


ROWS = [
    "INSERT INTO portfolios (id, name, inception_date, equity_balance) "
    "VALUES (1, 'one', '2024-01-01', 1000.5), (2, 'N', NULL, 'NaN'), (3, '', NULL, 1)",
    "UPDATE portfolios SET deleted_at = now() WHERE id = 3",
    "INSERT INTO positions (id, portfolio_id, symbol, position_type, investment_class, "
    "quantity, entry_price, entry_date) VALUES "
    "(2, 1, 'A', 'LONG', 'PUBLIC', 10.5, 50.25, '2024-01-02'), "
    "(3, 1, 'A', 'LONG', 'PUBLIC', 10.5, 50.25, 'infinity'), "
    "(4, 1, 'A', 'LONG', 'PUBLIC', -1, 50.25, '2024-01-02')",
    "INSERT INTO market_data_cache VALUES "
    "('A', '2024-01-02', 50, NULL, NULL, 50.5, 49.9, 100), "
    "('A', '2024-01-03', 50, NULL, NULL, 'NaN', NULL, NULL)",
    "INSERT INTO equity_changes (id, portfolio_id, change_type, amount, change_date) "
    "VALUES (4, 1, 'WITHDRAWAL', 5, '2024-01-03')",
    "INSERT INTO position_realized_events (id, portfolio_id, position_id, trade_date, "
    "quantity_closed, exit_price) VALUES (5, 1, 2, '2024-01-04', 1, 51)",
    "INSERT INTO company_profiles (symbol, sector) VALUES ('A', 'Energy')",
    "INSERT INTO benchmarks_sector_weights (id, benchmark_code, sector, weight, "
    "effective_date) VALUES (9, 'SPY', 'Energy', 0.25, '2024-01-01')",
]

ONE: Mapping[str, Any] = {
    "id": 1,
    "name": "one",
    "inception_date": MONDAY,
    "equity_balance": "1000.5000",
    "deleted_at": None,
}
"""The first of the portfolios, as Debezium sends it."""


@pytest.fixture
async def filled(postgres: PostgresSettings) -> PostgresSettings:
    await apply_schema(postgres)
    connection = await asyncpg.connect(postgres.dsn.get_secret_value())
    for statement in ROWS:
        await connection.execute(statement)
    await connection.close()
    return postgres


async def test_rows_of_the_source_are_what_the_door_makes_of_debeziums(filled):
    connection = await asyncpg.connect(filled.dsn.get_secret_value())
    rows = await read_source(connection, filled.source_schema, CALENDAR)
    await connection.close()
    assert {table: len(found) for table, found in rows.items()} == dict.fromkeys(
        TABLES, 1
    )
    assert rows["portfolios"] == {((1,), 1): validate("portfolios", ONE, CALENDAR)}
    assert rows["positions"] == {((2,), 1): validate("positions", LOT, CALENDAR)}
    place = (("A", DAYS[1]), None)
    assert rows["market_data_cache"] == {
        place: validate("market_data_cache", PRICE, CALENDAR)
    }


async def test_prices_may_lack_what_no_number_is_made_of(filled):
    drop = "alter table market_data_cache drop open, drop high, drop low"
    connection = await asyncpg.connect(filled.dsn.get_secret_value())
    try:
        await connection.execute(drop)
        rows = await read_source(connection, filled.source_schema, CALENDAR)
    finally:
        await connection.close()
    assert list(rows["market_data_cache"]) == [(("A", DAYS[1]), None)]


@pytest.mark.parametrize("table", TABLES)
async def test_repair_writes_a_row_of_any_table_anew_as_it_is(filled, table):
    connection = await asyncpg.connect(filled.dsn.get_secret_value())
    try:
        rows = await read_source(connection, filled.source_schema, CALENDAR)
        names = ", ".join(key_columns(table))
        query = f"SELECT xmin::text AS x, t::text FROM {table} AS t ORDER BY {names}"
        before = await connection.fetch(query)
        found = compare({table: rows[table]}, {})
        settings = Settings(postgres=filled)
        assert await repair(settings, found) == 1
        after = await connection.fetch(query)
        assert [row["t"] for row in before] == [row["t"] for row in after]
        assert [b["x"] != a["x"] for b, a in zip(before, after, strict=True)] == [
            number == 0 for number in range(len(after))
        ]
    finally:
        await connection.close()
