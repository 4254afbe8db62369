"""Changes since a time that touch what differs."""

from __future__ import annotations

from analytics.rows import Change, Version
from replay.explain import Bounds, Moved, held, in_order, since
from replay.logs import Then
from tests.analytics.engine_desk import day, lot_row, price_row
from tests.replay.small_journal import change

THEN = Then(5, day(8))


def price(order: int, close: object, session: int = 3) -> Change:
    row = price_row("A", session, close)
    return change("market_data_cache", ("A", row.date), row, None, order)


def told(*changes: Change) -> list[tuple]:
    return [(moved.committed, moved.changed) for moved in since(changes, THEN)]


def test_each_later_change_is_told_from_what_it_found() -> None:
    assert told(price(1, 10), price(3, 11), price(6, 12), price(9, 13)) == [
        (6, (("close", "11", "12"),)),
        (9, (("close", "12", "13"),)),
    ]


def test_one_transaction_over_several_tables_is_told_by_table_and_key() -> None:
    lots = [
        change("positions", (n,), lot_row(n, 1, "A", 10, 20, 1), 1, 6) for n in (11, 9)
    ]
    split = [price(6, 12), *lots]
    keys = [moved.key for moved in in_order(since(split, THEN))]
    assert keys == [("A", ahead_day(3)), (9,), (11,)]


def test_in_any_order_and_without_what_moved_nothing() -> None:
    assert told(price(9, 12), price(6, 12), price(1, 10), price(6, 12)) == [
        (6, (("close", "10", "12"),))
    ]


def test_rows_that_came_and_went() -> None:
    row = lot_row(11, 1, "A", 10, 20, 1)
    new = change("positions", (11,), row, 1, 6)
    gone = change("positions", (11,), None, 1, 7)
    came, went = since([new, gone], THEN)
    assert (came.table, came.key, came.portfolio) == ("positions", (11,), 1)
    assert ("quantity", None, "10") in came.changed
    assert ("symbol", "A", None) in went.changed
    assert list(since([new], Then(6, day(8)))) == []


def test_a_price_that_was_delivered_later_is_told() -> None:
    ahead = price(4, 10, session=9)
    assert list(since([ahead], THEN)) == [
        Moved(
            "market_data_cache",
            ("A", ahead_day(9)),
            None,
            4,
            (("close", None, "10"),),
        )
    ]


def test_a_price_that_was_dated_ahead_and_deleted_by_then_is_not_told() -> None:
    gone = change("market_data_cache", ("A", day(9)), None, None, 5)
    assert told(price(4, 10, session=9), gone) == []


def ahead_day(session: int) -> str:
    from tests.analytics.engine_desk import CALENDAR

    return CALENDAR.iso(session)


def test_what_can_have_moved_a_difference() -> None:
    bounds = Bounds(frozenset([1]), frozenset("A"), day(3), risk=False)
    lot = lot_row(11, 1, "B", 10, 20, 1)
    assert held([change("positions", (11,), lot, 1, 6), price(1, 2)]) == {"B"}
    assert bounds.holds(change("positions", (11,), lot, 1, 6))
    assert not bounds.holds(change("positions", (11,), lot, 2, 6))
    assert bounds.holds(price(1, 1, session=3))
    assert not bounds.holds(price(1, 1, session=4))
    other = change("market_data_cache", ("C", day(1)), None, None, 1)
    assert not bounds.holds(other)
    profile = Change("company_profiles", ("A",), Version(1, 1, 0), 1, None, None)
    assert not bounds.holds(profile)
    assert Bounds(bounds.portfolios, bounds.symbols, 0, risk=True).holds(profile)
