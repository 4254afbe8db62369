"""The vectors of sections 2 to 4 and 9, by hand."""

import pytest

from analytics.rows import Flow, Portfolio
from tests.analytics.engine_desk import (
    Desk,
    day,
    event_row,
    lot_row,
    price_row,
    units,
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_sold_by_an_exit_date(desk):
    desk.book(lot_row(1, 1, "A", 100, 50, 0, exit=(61, 2)))
    desk.prices("A", 50, 55, 60)
    desk.derive()
    assert desk.column("pnl") == [0, 500, 600]
    assert desk.column("realized_pnl") == [0, 0, 1100]
    assert desk.column("daily_return") == [0, 0.05, 600 / 10_500]


@pytest.mark.parametrize("how", [{"price": 61}, {"realized": 440}])
def test_sold_in_part_by_an_event(desk, how):
    desk.book(lot_row(1, 1, "A", 60, 50, 0), event_row(1, 1, 1, 2, 40, **how))
    desk.prices("A", 50, 55, 60)
    desk.derive()
    assert desk.column("pnl") == [0, 500, 540]
    assert desk.column("realized_pnl") == [0, 0, 440]
    assert desk.lots("quantity") == [[100], [100], [60]]
    assert desk.lots("traded") == [[5000], [0], [-2440]]


def test_short_gains_where_the_price_falls(desk):
    desk.book(lot_row(1, 1, "A", -10, 20, 0))
    desk.prices("A", 20, 22)
    desk.derive()
    assert desk.column("pnl") == [0, -20]
    assert desk.column("cash") == [10_200, 10_200]
    assert desk.column("short_value") == [-200, -220]
    assert desk.column("gross_value") == [200, 220]
    assert desk.column("net_value") == [-200, -220]


def test_short_sold_by_its_result_alone(desk):
    desk.book(lot_row(1, 1, "A", -6, 20, 0), event_row(1, 1, 1, 1, 4, realized=12))
    desk.prices("A", 20, 18)
    desk.derive()
    # bought back at 17: 4·(20 - 17) realized, 6·2 marked
    assert desk.column("pnl") == [0, 24]
    assert desk.lots("traded") == [[-200], [68]]


def test_a_contract_is_a_hundred(desk):
    call = lot_row(1, 1, "A1", -1, 2, 0, type="SC", underlying="A", strike=9, expiry=9)
    desk.book(call)
    desk.prices("A1", "2.00", "2.50")
    desk.derive()
    assert desk.column("pnl") == [0, -50]


def test_missing_data_never_makes_pnl(desk):
    desk.book(lot_row(1, 1, "A", 1, 100, 0))
    desk.prices("A", 100, None, 121)
    desk.derive()
    assert desk.column("pnl") == [0, 0, 21]
    carried = {"lot": 1, "symbol": "A", "date": desk.engine.calendar.iso(0)}
    assert desk.at(1)["quality"]["stale"] == [carried]
    desk.prices("A", 110, start=1)
    desk.derive()
    assert desk.column("pnl") == [0, 10, 11]
    assert desk.at(1)["quality"]["stale"] == []


def test_a_close_is_stale_for_four_sessions_and_then_unpriced(desk):
    desk.book(lot_row(1, 1, "A", 1, 10, 0))
    desk.prices("A", 12)
    desk.prices("B", 1, start=6)
    desk.derive()
    words = [status for [status] in desk.lots("price_status")]
    assert words == ["priced", *["stale"] * 4, "unpriced", "unpriced"]
    assert desk.column("names") == [1, 1, 1, 1, 1, 0, 0]
    assert desk.column("nav") == [10_002] * 7
    assert desk.at(5)["hhi"] is None
    assert desk.at(5)["reasons"]["hhi"] == "no_coverage"


def test_a_close_from_before_entry_is_not_used(desk):
    desk.book(lot_row(1, 1, "A", 1, 10, 1))
    desk.prices("A", 99, None, 12)
    desk.derive()
    assert desk.lots("price") == [[10], [12]]
    assert desk.lots("price_date") == [[None], [desk.engine.calendar.iso(2)]]
    assert desk.at(1)["quality"]["unpriced"][0]["date"] is None


def test_private_is_marked_at_any_age_else_by_its_row_else_at_cost(desk):
    desk.book(
        lot_row(1, 1, "OLD", 1, 10, 2, klass="PRIVATE"),
        lot_row(2, 1, "ROW", 1, 10, 2, klass="PRIVATE", last=14),
        lot_row(3, 1, "NONE", 1, 10, 2, klass="PRIVATE"),
    )
    desk.prices("OLD", 12)
    desk.prices("X", 1, start=9)
    desk.derive()
    assert desk.lots("price") == [[12, 14, 10]] * 8
    assert desk.lots("price_status")[7] == ["private_mark", "private_mark", "at_cost"]
    quality = desk.at(9)["quality"]
    assert quality["private_mark"] == [1, 2]
    assert quality["at_cost"] == [3]
    assert quality["priced"] == 3
    assert desk.at(9)["names"] == 3


def option(kind, quantity, ident=1, **more):
    given = {"underlying": "A", "strike": 10, "expiry": 2, "type": kind, **more}
    return lot_row(ident, 1, "A10", quantity, 1, 0, **given)


@pytest.mark.parametrize(
    ("lot", "worth"),
    [
        (option("LC", 1), 300),
        (option("LP", 1), 0),
        (option("SC", -1), -300),
        (option("LP", 1, strike=15), 200),
    ],
)
def test_an_option_settles_at_intrinsic(desk, lot, worth):
    desk.book(lot)
    desk.prices("A", 11, 12, 13, 14)
    desk.derive()
    paid = 100 if lot.quantity > 0 else -100
    assert desk.at(3)["nav"] == 10_000 - paid + worth
    assert desk.at(2)["lots"] == 0
    assert desk.lots("flags") == [[[]], [[]], [[]], []]


def test_a_settlement_with_an_old_close_or_none_is_flagged(desk):
    desk.book(option("LC", 1, expiry=5))
    desk.prices("A", None, 13)
    desk.prices("B", 1, start=4)
    desk.derive()
    assert desk.lots("flags")[0] == [[]]
    desk.prices("B", 1, start=5)
    desk.derive()
    assert desk.lots("flags") == [[["expired_stale"]]] * 6
    assert desk.at(5)["cash"] == 10_000 - 100 + 300
    desk.fold(desk.gone(price_row("A", 1, 13)))
    desk.derive()
    assert desk.lots("flags") == [[["expired_unpriced"]]] * 6
    assert desk.at(5)["cash"] == 10_000 - 100


def test_closings_are_clamped_into_the_life_of_a_lot(desk):
    desk.book(
        lot_row(1, 1, "A", 1, 10, 2),
        event_row(1, 1, 1, 0, 1, price=11),
        option("LC", 1, ident=2, expiry=3),
        event_row(2, 1, 2, 6, 1, price=4),
    )
    desk.prices("A", 10, 10, 10, 10, 10, 10, 10)
    desk.derive()
    assert desk.at(2, "positions")["flags"] == [["date_clamped"], ["date_clamped"]]
    assert desk.at(2)["realized_pnl"] == 1
    assert desk.at(3)["realized_pnl"] == 100 * (4 - 1) + 100 * (0 - 1)


def test_flows_enter_at_the_start_of_the_day(desk):
    rows = [lot_row(1, 1, "A", 10, 10, 1)]
    desk.book(*rows, Flow(1, 1, units(1000, 4), day(0)), equity=0)
    desk.fold(Flow(2, 1, units(-400, 4), day(2) - 1))  # a day without a session
    desk.prices("A", None, 11, 12)
    desk.derive()
    assert desk.column("flow") == [1000, 0, -400]
    assert desk.column("pnl") == [0, 10, 10]
    assert desk.column("daily_return") == [0, 0.01, 10 / 610]
    assert desk.column("nav") == [1000, 1010, 620]
    assert desk.column("cumulative_flow") == [1000, 1000, 600]
    assert desk.column("cumulative_pnl") == [0, 10, 20]


def test_a_return_needs_capital(desk):
    desk.book(lot_row(1, 1, "A", 1, 10, 0), equity=-5)
    desk.prices("A", 12)
    desk.derive()
    assert desk.at(0)["daily_return"] is None
    assert desk.at(0)["reasons"] == {"daily_return": "nav_not_positive"}


def test_products_are_rounded_once_half_to_even(desk):
    # 0.0001·0.5 = 0.00005 → 0; 0.0003·0.5 = 0.00015 → 0.0002
    desk.book(
        lot_row(1, 1, "A", "0.0001", "0.5", 0), lot_row(2, 1, "B", "0.0003", "0.5", 0)
    )
    desk.prices("A", "0.5")
    desk.prices("B", "0.5")
    desk.derive()
    assert desk.lots("market_value") == [[0, 0.0002]]
    assert desk.lots("traded") == [[0, 0.0002]]


def test_quantity_unknown_and_orphans_are_said_at_every_session(desk):
    desk.book(
        lot_row(1, 1, "A", 0, 10, 0, exit=(11, 1)),
        lot_row(2, 1, "A", 5, 10, 1),
        event_row(7, 1, 99, 0, 1, price=1),
    )
    desk.prices("A", 10, 10, 10)
    desk.derive()
    for session in (1, 2):
        assert desk.at(session)["quality"]["quantity_unknown"] == [1]
        assert desk.at(session)["quality"]["orphan_events"] == [7]
    assert desk.lots("lot") == [[2], [2]]  # lot 1 gives no record and no first session
    desk.fold(lot_row(99, 1, "A", 0, 10, 0))
    desk.derive()
    assert desk.at(0)["quality"]["orphan_events"] == []
    assert desk.at(0)["realized_pnl"] == -9


@pytest.mark.parametrize("closes", [(10, 18), (18, 10), (9, 5)])
def test_jump(desk, closes):
    desk.book(
        lot_row(1, 1, "A", 1, 10, 0), lot_row(2, 1, "P", 1, 10, 0, klass="PRIVATE")
    )
    desk.prices("A", *closes, closes[1])
    desk.prices("P", *closes)
    desk.derive()
    assert [q["jump"] for q in desk.column("quality")] == [[], ["A"], []]


def test_jump_needs_both_rows_and_looks_at_adjusted_closes_too(desk):
    desk.book(lot_row(1, 1, "A", 1, 10, 0))
    desk.prices("A", 10, None, 30)
    desk.fold(price_row("A", 3, 30, 1.0), price_row("A", 4, 31, 1.8))
    desk.derive()
    assert [q["jump"] for q in desk.column("quality")] == [[], [], [], [], ["A"]]


def test_concentration(desk):
    desk.book(
        lot_row(1, 1, "C", 5, 10, 0),
        lot_row(2, 1, "B", 4, 10, 0),
        lot_row(3, 1, "A", -2, 10, 0),
        lot_row(4, 1, "B", -1, 10, 0),
    )
    for symbol in "ABC":
        desk.prices(symbol, 10)
    desk.derive()
    found = desk.at(0)
    assert found["hhi"] == pytest.approx(3800, rel=1e-15)
    assert found["effective_names"] == pytest.approx(2.631578947368421, rel=1e-15)
    assert (found["top3"], found["top10"], found["names"]) == (1, 1, 3)
    assert (found["lots"], found["long_lots"], found["short_lots"]) == (4, 2, 2)


@pytest.mark.parametrize("count", [1, 2, 11, 16, 17, 40, 70])
def test_largest_names_of_any_count(desk, count):
    rows = [lot_row(n, 1, f"S{n:02d}", n, 1, 0) for n in range(1, count + 1)]
    desk.book(*rows)
    desk.derive()
    desk.fold(*[price_row(f"S{n:02d}", 0, 1) for n in range(1, count + 1)])
    desk.derive()
    total = count * (count + 1) / 2
    largest = [n for n in range(count, 0, -1)]
    assert desk.at(0)["top3"] == sum(largest[:3]) / total
    assert desk.at(0)["top10"] == sum(largest[:10]) / total


HUGE = 9_000_000_000_000  # a price near the bound of its column


def test_overflow_is_said_and_passes(desk):
    # 2 000 000 · 9e12 is beyond 2**63 / 1e4
    desk.book(lot_row(1, 1, "A", 2_000_000, 1, 0), lot_row(2, 1, "B", 1, 1, 0))
    desk.prices("A", 1, HUGE, 2, 2)
    desk.prices("B", 1, 1, 1, 2)
    desk.derive()
    assert desk.column("nav") == [10_000, None, 2_010_000, 2_010_001]
    assert desk.column("pnl") == [0, None, None, 1]
    assert desk.column("daily_return")[:3] == [0, None, None]
    assert desk.at(1)["quality"]["overflow"] == [1]
    assert desk.at(2)["quality"]["overflow"] == []
    assert desk.at(2)["reasons"] == {"pnl": "overflow", "daily_return": "overflow"}
    assert desk.at(1)["names"] == 2
    assert desk.lots("market_value")[1] == [None, None]
    assert desk.lots("pnl")[2] == [None, None]
    assert desk.at(2, "positions")["reasons"] == {"pnl": "overflow"}


def test_an_amount_that_does_not_fit_stays(desk):
    desk.book(lot_row(1, 1, "A", 2_000_000, HUGE, 1), Flow(1, 1, 10_000, day(0)))
    desk.prices("A", 1, 1, 1)
    desk.derive()
    assert desk.column("nav") == [10_001, None, None]
    assert [q["overflow"] for q in desk.column("quality")] == [[], [1], [1]]


def test_large_money_is_written_exactly(desk):
    desk.book(lot_row(1, 1, "A", "12345678901.2345", 1, 0), equity=0)
    desk.prices("A", "50.000001")
    content = desk.derive()[0].content
    # beyond fifteen digits: the exact text
    assert b'"market_value":617283957407.4039,' in content


def test_results_are_from_the_first_session_to_the_newest_price(desk):
    desk.fold(Portfolio(1, "p1", units(5, 4), day(3)))
    assert desk.derive() == []
    desk.prices("X", 1, start=5)
    desk.derive()
    assert sorted(k[2] for k in desk.records if k[0] == "snapshots") == [3, 4, 5]
    assert desk.column("nav") == [5, 5, 5]
    assert desk.at(4)["reasons"]["hhi"] == "no_positions"
    assert desk.lots("lot") == [[], [], []]
