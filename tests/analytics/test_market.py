"""The market beside a dictionary."""

from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.market import Market
from analytics.rows import Change, Version
from tests.analytics.engine_desk import CALENDAR, SESSIONS, day, price_row

CLOSES = st.one_of(st.none(), st.integers(1, 3))
CHANGES = st.tuples(
    st.sampled_from("ABC"),
    st.integers(0, SESSIONS - 1),
    CLOSES,
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 2),
)


def change(symbol, session, close, commit, lsn, order):
    row = None if close is None else price_row(symbol, session, close, float(order))
    version = Version(commit, lsn, order)
    return Change("market_data_cache", (symbol, day(session)), version, 7, None, row)


@given(st.lists(st.lists(CHANGES, max_size=6), max_size=8))
@settings(deadline=None)
def test_the_newest_version_of_each_row_is_held(batches):
    market, rows = Market(CALENDAR), {}
    for batch in batches:
        changes = [change(*drawn) for drawn in batch]
        market.fold(changes)
        for made in changes:
            held = rows.get(made.key)
            if held is None or held.version < made.version:
                rows[made.key] = made
        market.refresh()
        closes = {key: c.row.close for key, c in rows.items() if c.row is not None}
        held_days = sorted({CALENDAR.index(key[1]) for key in closes})
        assert market.newest == (held_days[-1] if held_days else None)
        for symbol in "ABC":
            days = sorted(CALENDAR.index(d) for s, d in closes if s == symbol)
            for session in range(market.last_session + 1):
                before = days[: bisect_right(days, session)]
                expected = before[-1] if before else -1
                column = market.column(symbol)
                row = market.frame.row(session)
                assert market.last[row, column] == expected
                close = closes.get((symbol, day(session)), 0)
                assert market.close[row, column] == close


def test_touches_are_cells_that_moved_from_what_they_were():
    market = Market(CALENDAR)
    market.fold([change("A", 3, 1, 1, 0, 0), change("B", 3, 1, 1, 0, 0)])
    assert len(market.take_touches()) == 2
    market.fold([change("A", 3, 2, 2, 0, 0), change("B", 3, 1, 2, 0, 0)])
    market.fold([change("A", 3, 3, 3, 0, 0)])
    touches = market.take_touches()
    assert touches.column.tolist() == [market.column("A")]
    assert touches.close.tolist() == [1_000_000]
    assert touches.adj.tolist() == [0.0]
    assert market.take_touches() is None


def test_a_price_dated_on_no_session_moves_only_the_clock():
    market = Market(CALENDAR)
    key = ("A", day(3) + 1)
    market.fold([Change("market_data_cache", key, Version(1, 1, 1), 9, None, None)])
    assert (market.clock, market.newest, market.take_touches()) == (9, None, None)


@pytest.mark.parametrize("sessions", [range(SESSIONS), reversed(range(SESSIONS))])
def test_the_window_grows_both_ways(sessions):
    market = Market(CALENDAR)
    for n, session in enumerate(sessions):
        market.fold([change(f"S{n}", session, 1 + session, 1, 0, 0)])
        market.refresh()
    for session in range(SESSIONS):
        row = market.frame.row(session)
        assert np.count_nonzero(market.close[row]) == 1
        assert np.count_nonzero(market.last[row] >= 0) == session + 1
    assert market.frame.row(-99) == market.frame.row(999) == 0
    assert not market.close[0].any()


def test_jumps_of_prices_whose_multiple_leaves_int64():
    market = Market(CALENDAR)
    huge = 9_000_000_000_000
    market.fold([change("A", 3, huge, 1, 0, 0), change("A", 4, huge // 2, 1, 0, 0)])
    market.fold([change("B", 3, huge, 1, 0, 0), change("B", 4, huge - 1, 1, 0, 0)])
    assert [market.jump("A", 4), market.jump("B", 4)] == [True, False]
