"""The oracle against numbers that one can do by hand (sections 0 to 4 and 9)."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from analytics.batch import derive
from tests.analytics.tiny_world import (
    CALENDAR,
    DAYS,
    event,
    flow,
    lot,
    portfolio,
    price,
)

D = DAYS


def run(*rows: tuple[str, dict[str, Any]]) -> dict[int, list[tuple[dict, dict]]]:
    """Records by portfolio, in the order of sessions."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for table, row in rows:
        tables.setdefault(table, []).append(row)
    found: dict[int, list[tuple[dict, dict]]] = {}
    for owner, _, snapshot, positions in derive(tables, CALENDAR):
        found.setdefault(owner, []).append((snapshot, positions))
    return found


def prices(symbol: str, *closes: Any, start: int = 0) -> list[tuple[str, Any]]:
    return [
        ("market_data_cache", price(symbol, D[start + n], close))
        for n, close in enumerate(closes)
        if close is not None
    ]


def series(records: list[tuple[dict, dict]], name: str) -> list[Any]:
    money = [snapshot[name] for snapshot, _ in records]
    return [None if value is None else value / 10_000 for value in money]


P = ("portfolios", portfolio(1))


def test_buy_and_sell_all_by_an_event():
    a = ("positions", lot(1, 1, "A", 0, 50, D[0]))
    sold = ("position_realized_events", event(1, 1, 1, D[2], 100, 61))
    [*records] = run(P, a, sold, *prices("A", 50, 55, 60))[1]
    assert series(records, "pnl") == [0, 500, 600]
    assert series(records, "realized_pnl") == [0, 0, 1100]
    assert series(records, "nav") == [1000, 1500, 2100]


def test_buy_and_sell_all_by_an_exit_date():
    a = lot(1, 1, "A", 100, 50, D[0], exit_price=61, exit_date=D[2])
    records = run(P, ("positions", a), *prices("A", 50, 55, 60, 70))[1]
    assert series(records, "pnl") == [0, 500, 600, 0]
    assert [len(p["lot"]) for _, p in records] == [1, 1, 1, 0]


@pytest.mark.parametrize("by", [{"exit_price": 61}, {"realized": 440}])
def test_sell_a_part(by):
    a = ("positions", lot(1, 1, "A", 60, 50, D[0]))
    sold = ("position_realized_events", event(1, 1, 1, D[2], 40, **by))
    records = run(P, a, sold, *prices("A", 50, 55, 60))[1]
    assert series(records, "pnl") == [0, 500, 540]
    assert series(records, "realized_pnl") == [0, 0, 440]


def test_short():
    a = ("positions", lot(1, 1, "A", -10, 20, D[0], position_type="SHORT"))
    records = run(P, a, *prices("A", 20, 22))[1]
    assert series(records, "pnl") == [0, -20]
    assert series(records, "cash") == [1200, 1200]
    assert series(records, "short_value") == [-200, -220]
    assert series(records, "gross_value") == [200, 220]


def option(kind: str, quantity: int, entry: Any, strike: int, expiry: date) -> Any:
    return (
        "positions",
        lot(
            1,
            1,
            "A240",
            quantity,
            entry,
            D[0],
            position_type=kind,
            investment_class="OPTIONS",
            underlying_symbol="A",
            strike_price=strike,
            expiration_date=expiry,
        ),
    )


def test_short_call():
    call = option("SC", -1, 2, 10, D[9])
    records = run(P, call, *prices("A240", 2, Decimal("2.5")))[1]
    assert series(records, "pnl") == [0, -50]


@pytest.mark.parametrize(
    ("closes", "worth", "flags"),
    [
        ((10, 11, 12, 13), 300, []),
        ((10, 11, 12), 200, ["expired_stale"]),
        ((None,), 0, ["expired_unpriced"]),
    ],
)
def test_expiry_settles_at_intrinsic(closes, worth, flags):
    call = option("LC", 1, 2, 10, D[3])
    rows = [call, *prices("A240", 2), *prices("A", *closes), *prices("B", 1, start=4)]
    records = run(P, *rows)[1]
    assert series(records, "cash") == [800] * 3 + [800 + worth] * 2
    assert records[0][1]["flags"] == [flags]
    assert records[3][1]["quantity"] == [0]
    assert records[4][1]["lot"] == []


def test_expiry_rolls_backward():
    put = option("LP", 1, 2, 10, date(2024, 12, 29))
    records = run(P, put, *prices("A", *[7] * 5))[1]
    assert series(records, "cash") == [800, 800, 800, 1100, 1100]


def test_a_gap_is_carried_and_filled_later():
    a = ("positions", lot(1, 1, "A", 1, 100, D[0]))
    late = run(P, a, *prices("A", 100, None, 121))[1]
    assert series(late, "pnl") == [0, 0, 21]
    assert late[1][0]["quality"]["stale"] == [
        {"lot": 1, "symbol": "A", "date": "2024-12-23"}
    ]
    assert series(run(P, a, *prices("A", 100, 110, 121))[1], "pnl") == [0, 10, 11]


def test_stale_for_four_sessions_then_unpriced():
    a = ("positions", lot(1, 1, "A", 1, 100, D[0]))
    records = run(P, a, *prices("A", 100), *prices("B", 1, start=6))[1]
    statuses = [positions["price_status"][0] for _, positions in records]
    assert statuses == ["priced", *["stale"] * 4, *["unpriced"] * 2]
    assert records[5][0]["hhi"] is None
    assert records[5][0]["reasons"]["hhi"] == "no_coverage"
    assert series(records, "nav") == [1000] * 7


def test_never_a_close_from_before_the_entry():
    a = ("positions", lot(1, 1, "A", 1, 90, D[1]))
    records = run(P, a, *prices("A", 100), *prices("B", 1, 1))[1]
    assert records[0][1]["price"] == [90_000_000]
    assert records[0][1]["price_date"] == [None]
    assert records[0][1]["price_status"] == ["unpriced"]


def test_private_is_marked_by_close_else_last_price_else_cost():
    private = {"investment_class": "PRIVATE"}
    a = ("positions", lot(1, 1, "A", 1, 90, D[1], **private))
    b = ("positions", lot(2, 1, "B", 1, 80, D[0], last_price=85, **private))
    c = ("positions", lot(3, 1, "C", 1, 70, D[0], **private))
    records = run(P, a, b, c, *prices("A", 100, None), *prices("X", *[1] * 8))[1]
    assert records[7][1]["price"] == [100_000_000, 85_000_000, 70_000_000]
    assert records[7][0]["quality"]["private_mark"] == [1, 2]
    assert records[7][0]["quality"]["at_cost"] == [3]
    assert records[7][0]["quality"]["priced"] == 3


def test_flow_is_at_the_start_of_the_day_and_rolls_forward():
    sunday = ("equity_changes", flow(1, 1, "CONTRIBUTION", 1000, date(2024, 12, 29)))
    a = ("positions", lot(1, 1, "A", 10, 100, D[3]))
    records = run(P, sunday, a, *prices("A", *[100] * 4, 110))[1]
    assert series(records, "flow") == [0, 1000]
    assert series(records, "nav") == [1000, 2100]
    assert records[1][0]["daily_return"] == 100 / 2000
    assert series(records, "cumulative_pnl") == [0, 100]


def test_no_return_on_nothing():
    broke = ("portfolios", portfolio(1, 0, inception_date=D[0]))
    [(snapshot, _)] = run(broke, *prices("A", 1))[1]
    assert snapshot["daily_return"] is None
    assert snapshot["reasons"]["daily_return"] == "nav_not_positive"
    assert snapshot["reasons"]["hhi"] == "no_positions"


def test_concentration_vector():
    lots = [
        ("positions", lot(n, 1, s, q, 10, D[0]))
        for n, s, q in [(1, "A", 5), (2, "B", 2), (3, "C", 2), (4, "B", 1)]
    ]
    closes = [row for s in "ABC" for row in prices(s, 10)]
    [(snapshot, _)] = run(P, *lots, *closes)[1]
    assert snapshot["hhi"] == pytest.approx(3800)
    assert snapshot["effective_names"] == pytest.approx(2.6315789)
    assert snapshot["top3"] == snapshot["top10"] == 1.0
    assert (snapshot["names"], snapshot["lots"]) == (3, 4)


def test_rounding_is_half_to_even():
    lots = [
        ("positions", lot(1, 1, "A", Decimal("0.0001"), Decimal("0.5"), D[0])),
        ("positions", lot(2, 1, "A", Decimal("0.0003"), Decimal("0.5"), D[0])),
    ]
    [(_, positions)] = run(P, *lots, *prices("A", Decimal("0.5")))[1]
    assert positions["market_value"] == [0, 2]
    assert positions["traded"] == [0, 2]


def test_overflow_is_null_and_named_and_ends_with_its_cause():
    big = Decimal(999_999_999_999)
    a = ("positions", lot(7, 1, "A", big, 0, D[0]))
    records = run(P, a, *prices("A", 1, 1_000_000, 2))[1]
    day2, day3 = records[1][0], records[2][0]
    assert day2["nav"] is None
    assert day2["reasons"]["nav"] == day2["reasons"]["hhi"] == "overflow"
    assert day2["quality"]["overflow"] == [7]
    assert records[1][1]["market_value"] == [None]
    assert day3["nav"] is not None
    assert day3["reasons"] == {"pnl": "overflow", "daily_return": "overflow"}
    assert records[2][1]["reasons"] == {"pnl": "overflow"}


def test_an_amount_that_overflows_counts_from_its_session_on():
    big = Decimal(999_999_999_999)
    a = ("positions", lot(7, 1, "A", big, 1_000_000, D[1]))
    start = ("portfolios", portfolio(1, inception_date=D[0]))
    records = run(start, a, *prices("A", 1, 1, 1))[1]
    assert series(records, "nav") == [1000, None, None]
    assert records[2][0]["quality"]["overflow"] == [7]


def test_closings_outside_the_life_of_a_lot_are_clamped_and_flagged():
    a = ("positions", lot(1, 1, "A", 0, 50, D[1]))
    early = ("position_realized_events", event(1, 1, 1, D[0], 1, 60))
    records = run(P, a, early, *prices("A", 50, 50))[1]
    assert len(records) == 1
    assert records[0][1]["flags"] == [["date_clamped"]]
    assert series(records, "realized_pnl") == [10]


def test_an_event_of_another_portfolio_is_an_orphan():
    a = ("positions", lot(1, 1, "A", 5, 50, D[0]))
    other = ("portfolios", portfolio(2, inception_date=D[0]))
    astray = ("position_realized_events", event(9, 2, 1, D[0], 1, 60))
    found = run(P, other, a, astray, *prices("A", 50))
    assert found[2][0][0]["quality"]["orphan_events"] == [9]
    assert found[1][0][1]["quantity"] == [50_000]


def test_a_lot_of_nothing_is_no_lot():
    ghost = lot(1, 1, "A", 0, 50, D[0], exit_price=1, exit_date=D[1])
    start = ("portfolios", portfolio(1, inception_date=D[1]))
    [(snapshot, positions)] = run(start, ("positions", ghost), *prices("A", 1, 1))[1]
    assert snapshot["quality"]["quantity_unknown"] == [1]
    assert positions["lot"] == []


def test_a_jump_is_flagged_and_counted():
    a = ("positions", lot(1, 1, "A", 1, 90, D[0]))
    records = run(P, a, *prices("A", 90, 50, 27, 28))[1]
    jumps = [snapshot["quality"]["jump"] for snapshot, _ in records]
    assert jumps == [[], ["A"], ["A"], []]


def test_results_from_the_first_session_to_the_newest_price():
    start = ("portfolios", portfolio(1, inception_date=date(2024, 12, 25)))
    [*sessions] = [
        session
        for _, session, _, _ in derive(
            {"portfolios": [start[1]], "market_data_cache": [price("Z", D[4], 1)]},
            CALENDAR,
        )
    ]
    assert sessions == [2, 3, 4]


@pytest.mark.parametrize(
    "bad",
    [
        {"quantity": Decimal(-1)},
        {"quantity": Decimal("NaN")},
        {"quantity": Decimal("0.00001")},
        {"entry_price": Decimal(-1)},
        {"entry_price": Decimal("1e13")},
        {"last_price": Decimal(-1)},
        {"strike_price": Decimal("NaN")},
        {"position_type": "LONGISH"},
        {"position_type": "LC"},
        {"investment_class": None},
        {"symbol": ""},
        {"exit_date": D[3]},
        {"exit_price": Decimal(3)},
        {"exit_price": Decimal(3), "exit_date": date(2024, 12, 22)},
        {"entry_date": date(1899, 1, 1)},
        {"entry_date": date(2025, 1, 8)},
        {"expiration_date": date.max},
        {"deleted_at": "2025-01-01"},
    ],
)
def test_a_refused_lot_is_absent(bad):
    a = {**lot(1, 1, "A", 1, 50, D[1]), **bad}
    start = ("portfolios", portfolio(1, inception_date=D[0]))
    records = run(start, ("positions", a), *prices("A", 50, 50))[1]
    assert [positions["lot"] for _, positions in records] == [[], []]
