"""What a change publishes: the cells it touches, once each, with its story."""

import pytest

from analytics.results import Previous, Revision
from analytics.rows import Flow, Portfolio
from tests.analytics.engine_desk import (
    CALENDAR,
    HOUR,
    Desk,
    cells,
    day,
    event_row,
    lot_row,
    price_row,
    units,
)

HOLDERS = range(1, 6)
T = 9


@pytest.fixture
def desk() -> Desk:
    """Five portfolios hold A and B, five hold B alone, over ten sessions."""
    desk = Desk(clock=CALENDAR.closes[-1])
    for owner in (*HOLDERS, *range(6, 11)):
        desk.fold(Portfolio(owner, "p", units(1000, 4), None))
        desk.fold(lot_row(2 * owner, owner, "B", 10, 5, 0))
    for owner in HOLDERS:
        desk.fold(lot_row(2 * owner + 1, owner, "A", 10, 5, 0))
    desk.prices("A", *range(10, 20))
    desk.prices("B", *range(20, 30))
    assert len(desk.derive()) == 2 * 10 * 10
    assert desk.derive() == []
    return desk


@pytest.mark.parametrize("family", ["snapshots", "positions"])
def test_a_corrected_close_touches_its_session_and_the_next(desk, family):
    desk.fold(price_row("A", 4, 11))
    assert cells(desk.derive(), family) == [(p, t) for p in HOLDERS for t in (4, 5)]


def test_a_corrected_close_of_the_newest_session_touches_it_alone(desk):
    desk.fold(price_row("A", T, 11))
    assert cells(desk.derive()) == [(p, T) for p in HOLDERS]


def test_a_close_reaches_as_far_as_it_is_carried(desk):
    desk.fold(*[desk.gone(price_row("A", t, 0)) for t in (5, 6)])
    assert cells(desk.derive()) == [(p, t) for p in HOLDERS for t in (5, 6, 7)]
    desk.fold(price_row("A", 4, 11))
    assert cells(desk.derive()) == [(p, t) for p in HOLDERS for t in (4, 5, 6, 7)]
    desk.fold(price_row("A", 6, 12))
    assert cells(desk.derive()) == [(p, t) for p in HOLDERS for t in (6, 7)]


def test_the_same_close_again_touches_nothing(desk):
    desk.fold(price_row("A", 4, 14))
    assert not desk.engine.touched()
    assert desk.derive() == []


def test_a_symbol_that_nobody_holds_touches_nothing(desk):
    desk.prices("C", *range(10, 20))
    assert desk.derive() == []


def test_the_first_close_of_a_session_is_a_result_for_everybody(desk):
    desk.fold(price_row("C", T + 1, 1))
    found = desk.derive()
    assert cells(found) == [(p, T + 1) for p in range(1, 11)]
    assert {r.cause.key for r in found} == {("C", day(T + 1))}
    desk.fold(desk.gone(price_row("C", T + 1, 1)))
    found = desk.derive()
    assert cells(found) == [(p, T + 1) for p in range(1, 11)]
    assert {r.content for r in found} == {None}
    assert {r.digest for r in found} == {0}
    assert desk.derive() == []


def test_a_restated_lot_touches_its_portfolio_from_its_entry(desk):
    desk.fold(lot_row(3, 1, "A", 10, 5, 6))
    assert cells(desk.derive()) == [(1, t) for t in range(7)]  # from 7 on as before
    desk.fold(lot_row(3, 1, "A", 11, 5, 6))
    assert cells(desk.derive()) == [(1, t) for t in range(6, 10)]


def test_a_trade_touches_its_session_and_the_later_ones(desk):
    desk.fold(lot_row(3, 1, "A", 4, 5, 0), event_row(1, 1, 3, 7, 6, price=17))
    assert cells(desk.derive()) == [(1, t) for t in (7, 8, 9)]


def test_a_lot_that_moves_touches_both(desk):
    moved = lot_row(3, 6, "A", 10, 5, 0)
    desk.fold(desk.change(None, "positions", (3,), 1), moved)
    assert cells(desk.derive()) == [(p, t) for p in (1, 6) for t in range(10)]


def test_flow_equity_and_inception(desk):
    desk.fold(Flow(1, 1, units(5, 4), day(7)))
    assert cells(desk.derive()) == [(1, t) for t in (7, 8, 9)]
    desk.fold(Portfolio(1, "p", units(999, 4), None))
    assert cells(desk.derive()) == [(1, t) for t in range(10)]
    desk.fold(Portfolio(1, "another name", units(999, 4), None))
    assert desk.derive() == []


def test_a_later_first_session_retracts_the_earlier_ones(desk):
    desk.fold(desk.change(None, "positions", (3,), 1), lot_row(2, 1, "B", 10, 5, 4))
    found = desk.derive()
    gone = [r.session for r in found if r.content is None and r.family == "snapshots"]
    assert gone == [0, 1, 2, 3]
    assert cells(found) == [(1, t) for t in range(10)]


def test_a_portfolio_that_goes_is_retracted_once_and_comes_back(desk):
    row = Portfolio(1, "p", units(1000, 4), None)
    desk.fold(desk.gone(row))
    found = desk.derive()
    assert len(found) == 20
    assert {r.content for r in found} == {None}
    assert desk.derive() == []
    desk.fold(row)
    assert len(desk.derive()) == 20


def test_the_close_that_settles_an_option_touches_what_follows(desk):
    call = {"type": "LC", "underlying": "B", "strike": 20, "expiry": 5}
    desk.fold(lot_row(99, 7, "B20", 1, 1, 2, **call))
    desk.derive()
    before = desk.at(9, portfolio=7)["cash"]
    desk.fold(price_row("B", 5, 27))
    assert [t for p, t in cells(desk.derive()) if p == 7] == [5, 6, 7, 8, 9]
    assert desk.at(9, portfolio=7)["cash"] == before + 200
    # Without the close of its session it is flagged, wherever it is listed; and B
    # is stale at 5.
    desk.fold(desk.gone(price_row("B", 5, 27)))
    found = desk.derive()
    assert [t for p, t in cells(found, "positions") if p == 7] == list(range(2, 7))


def test_an_option_settles_when_its_expiry_has_come(desk):
    call = {"type": "LC", "underlying": "NONE", "strike": 20, "expiry": T + 1}
    desk.fold(lot_row(99, 7, "N20", 1, 1, 2, **call))
    desk.derive()
    assert desk.at(T, "positions", 7)["flags"] == [[], []]
    desk.fold(price_row("C", T + 1, 1))
    found = cells(desk.derive(), "positions")
    assert [t for p, t in found if p == 7] == list(range(2, T + 2))
    assert desk.at(4, "positions", 7)["flags"] == [[], ["expired_unpriced"]]
    desk.fold(desk.gone(price_row("C", T + 1, 1)))
    desk.derive()
    assert desk.at(4, "positions", 7)["flags"] == [[], []]


# --- the story of a result -----------------------------------------------------


def test_a_result_says_its_cause_and_what_was_said_before(desk):
    desk.clock += 5
    change = desk.change(price_row("A", 4, 11, 11.5))
    desk.fold(change)
    first, second = [r for r in desk.derive(["snapshots"]) if r.owner == 1]
    assert (first.session, second.session) == (4, 5)
    assert first.revision == Revision(25, 3, 1)
    assert first.as_of == change.ts
    assert first.cause.table == "market_data_cache"
    assert first.cause.key == ("A", day(4))
    assert first.cause.version == change.version
    assert first.cause.changed == (("close", "14", "11"), ("adj_close", None, "11.5"))
    assert first.previous == Previous(Revision(25, 2, 1), units(1280, 4), units(20, 4))
    assert second.cause == first.cause


def test_the_newest_of_several_changes_is_the_cause(desk):
    desk.clock += 10
    desk.fold(price_row("A", 4, 11))
    desk.clock -= 5
    desk.fold(price_row("B", 4, 11), lot_row(3, 1, "A", 12, 5, 0))
    causes = {r.session: r.cause for r in desk.derive() if r.owner == 1}
    assert causes[3].table == "positions"
    assert causes[3].changed == (("quantity", "10", "12"),)
    assert causes[4].key == causes[5].key == ("A", day(4))


def test_a_change_in_two_steps_is_told_from_its_start(desk):
    desk.fold(price_row("A", T, 30))
    desk.fold(price_row("A", T, 31))
    [result] = [r for r in desk.derive(["snapshots"]) if r.owner == 1]
    assert result.cause.changed == (("close", "19", "31"),)


def test_rows_are_told_in_the_words_of_the_source(desk):
    desk.fold(Flow(1, 1, units("-2.5", 4), day(T)))
    [result] = desk.derive(["snapshots"])
    told = dict((name, new) for name, _, new in result.cause.changed)
    assert told == {
        "portfolio_id": "1",
        "amount": "-2.5",
        "change_date": CALENDAR.iso(T),
    }
    desk.fold(event_row(5, 1, 3, T, 1, price="17.5"))
    told = dict((n, new) for n, _, new in desk.derive()[0].cause.changed)
    assert told["trade_date"] == CALENDAR.iso(T)
    assert told["exit_price"] == "17.5"


# --- transactions --------------------------------------------------------------


def test_nothing_is_derived_inside_of_a_transaction(desk):
    desk.fold(lot_row(3, 1, "A", 4, 5, 0), tx="7", more=True)
    assert not desk.engine.touched()
    assert desk.derive() == []
    desk.fold(event_row(1, 1, 3, 7, 6, price=17), tx="7")
    assert cells(desk.derive()) == [(1, t) for t in (7, 8, 9)]
    desk.fold(price_row("A", 4, 3), tx="8", more=True)
    desk.fold(Flow(1, 2, 5, day(9)))
    assert desk.derive() == []
    desk.fold(price_row("A", 5, 3), tx="8")
    assert cells(desk.derive()) == [
        (p, t) for p in HOLDERS for t in ((4, 5, 6, 9) if p == 2 else (4, 5, 6))
    ]


def test_part_of_a_transaction_is_said_to_be_one(desk):
    desk.fold(lot_row(3, 1, "A", 4, 5, 0), tx="7", partial=True)
    desk.derive()
    assert {r["status"] for k, r in desk.records.items() if k[1] == 1} == {"intraday"}
    assert {r["status"] for k, r in desk.records.items() if k[1] != 1} == {"final"}
    assert desk.at(9)["quality"]["partial"] is True
    desk.fold(Flow(1, 1, 5, day(9)), tx="6")
    desk.derive()
    assert desk.at(9)["quality"]["partial"] is True
    desk.fold(event_row(1, 1, 3, 7, 6, price=17), tx="7")
    assert len(cells(desk.derive())) == 10
    assert {r["status"] for r in desk.records.values()} == {"final"}


def test_part_of_a_transaction_of_prices_concerns_the_sessions_from_its_first(desk):
    desk.fold(price_row("A", 8, 3), tx="7", partial=True)
    desk.derive()
    partial = {k[2] for k, r in desk.records.items() if r["status"] == "intraday"}
    assert partial == {8, 9}
    desk.fold(price_row("A", 9, 3), tx="7")
    assert len(cells(desk.derive())) == 20
    assert {r["status"] for r in desk.records.values()} == {"final"}


# --- status --------------------------------------------------------------------


def test_a_session_is_final_once_its_close_has_passed():
    desk = Desk(clock=CALENDAR.closes[1] - HOUR)
    desk.book(lot_row(1, 1, "A", 1, 1, 0))
    desk.prices("A", 1, 2, 3)
    desk.derive()
    assert desk.column("status") == ["final", "intraday", "intraday"]
    desk.clock = CALENDAR.closes[1]
    desk.fold(price_row("Z", 0, 1))
    assert cells(desk.derive()) == [(1, 1)]
    assert desk.column("status") == ["final", "final", "intraday"]


# --- what others have said -----------------------------------------------------


def test_what_is_known_to_be_said_is_not_said_again(desk):
    other = Desk(clock=desk.clock)
    digest = 5
    other.book(lot_row(1, 1, "A", 1, 1, 0))
    other.prices("A", 1, 2)
    [first, second] = other.engine.derive(["snapshots"])
    other = Desk(clock=desk.clock)
    known = Revision(1, 1, 1)
    other.engine.set_said(0, "snapshots", 1, 0, first.digest, known)
    other.engine.set_said(0, "snapshots", 1, 1, digest, known)
    other.engine.set_said(0, "snapshots", 1, 2, digest, known)
    other.book(lot_row(1, 1, "A", 1, 1, 0))
    other.prices("A", 1, 2)
    found = other.engine.derive(["snapshots"])
    assert [(r.session, r.content is None) for r in found] == [(1, False), (2, True)]
    assert found[0].content == second.content
    assert found[0].previous == Previous(known, None, None)


def test_a_known_retraction_is_not_said_again(desk):
    desk.fold(desk.gone(Portfolio(1, "p", 0, None)))
    for session in range(10):
        desk.engine.set_said(0, "snapshots", 1, session, None, Revision(16, 2, 1))
    assert desk.engine.derive(["snapshots"]) == []


def test_what_a_foreign_record_overwrote_is_said_again(desk):
    desk.engine.forget_said(0, "snapshots", 1, 3)
    [result] = desk.derive()
    assert (result.owner, result.session) == (1, 3)
    desk.engine.forget_said(0, "positions", 77, 3)
    [result] = desk.engine.derive()
    assert (result.owner, result.content, result.previous) == (77, None, None)


# --- cadence and bounds --------------------------------------------------------


def test_families_are_taken_at_their_own_pace(desk):
    desk.fold(price_row("A", 9, 3))
    assert {r.family for r in desk.engine.derive(["snapshots"])} == {"snapshots"}
    assert desk.engine.touched()
    desk.fold(price_row("A", 8, 3))
    desk.engine.derive(["snapshots"])
    found = desk.engine.derive()
    assert {r.family for r in found} == {"positions"}
    assert cells(found, "positions") == [(p, t) for p in HOLDERS for t in (8, 9)]
    desk.engine.validate()


def test_a_bounded_derive_leaves_the_rest_for_later(desk):
    desk.fold(Portfolio(11, "p", 0, day(0)))
    found = []
    while desk.engine.touched():
        part = desk.engine.derive(limit=3)
        assert 0 < len(cells(part)) <= 3
        found += part
    assert cells(found) == [(11, t) for t in range(10)]
    assert found[0].session == 7  # newest sessions first: 7, 8, 9
    desk.engine.validate()


def test_touch_all_looks_at_everything_and_says_nothing(desk):
    desk.engine.touch_all(0)
    assert desk.engine.touched()
    assert desk.derive() == []


def test_a_dropped_partition_leaves_nothing(desk):
    engine = desk.engine
    engine.add_partition(1)
    engine.fold_partition(
        1, [desk.change(Portfolio(50, "p", 0, day(3)))], next_offset=1
    )
    desk.fold(price_row("A", 4, 3))
    engine.drop_partition(0)
    assert {r.owner for r in desk.derive()} == {50}
    engine.add_partition(0)
    assert engine.partition_offset(0) == 0
    engine.fold_partition(
        0, [desk.change(Portfolio(60, "p", 0, day(9)))], next_offset=1
    )
    assert cells(desk.derive()) == [(60, 9)]
