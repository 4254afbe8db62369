"""Steps of lots: what was held when, and from where two versions differ."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.lots import OPEN, Step, compile_lot, first_difference
from tests.analytics.engine_desk import CALENDAR, day, event_row, lot_row, units


def made(lot, *events, newest=11, closes=None):
    """Compile a lot; ``closes`` of the underlying by session."""
    closes = closes or {}

    def newest_close(symbol, oldest, session):
        found = [(s, c) for s, c in closes.items() if oldest <= s <= session]
        session, close = max(found, default=(-1, 0))
        return session, units(close, 6)

    return compile_lot(lot, events, CALENDAR, newest_close, newest)


def money(amount):
    return units(amount, 4)


def test_a_lot_without_events_is_one_step():
    held = made(lot_row(1, 1, "A", 3, 5, 2))
    assert held.steps == (Step(2, money(3), money(15), 0),)
    assert (held.entry, held.end, held.broken, held.large) == (2, OPEN, None, False)


def test_quantity_is_what_is_left_and_events_add_what_was():
    lot = lot_row(1, 1, "A", -3, 5, 2, exit=(4, 6))
    held = made(lot, event_row(1, 1, 1, 4, 2, price=6))
    assert held.steps == (
        Step(2, money(-5), money(-25), 0),
        Step(4, money(-3), money(12), money(-2)),
        Step(6, 0, money(12), money(3)),
    )
    assert held.end == 6


def test_nothing_held_nothing_made():
    assert made(lot_row(1, 1, "A", 0, 5, 2, exit=(4, 6))) is None
    assert made(lot_row(1, 1, "A", 0, 5, 2)) is None


def test_events_of_one_session_are_summed_in_any_order():
    lot = lot_row(1, 1, "A", 0, 5, 2)
    events = [event_row(n, 1, 1, 3, n, price=n) for n in (1, 2, 3)]
    assert len({made(lot, *order).steps for order in permutations(events)}) == 1
    assert made(lot, *events).steps[-1] == Step(3, 0, money(-14), money(-16))


def test_all_of_it_on_the_day_of_entry():
    held = made(lot_row(1, 1, "A", 0, 5, 2), event_row(1, 1, 1, 2, 4, price=6))
    assert held.steps == (Step(2, 0, money(-4), money(4)),)
    assert held.end == 2


def test_dates_roll_forward_and_expiry_backward():
    call = {"type": "LC", "underlying": "B", "strike": 1, "expiry": 5}
    lot = lot_row(1, 1, "A", 1, 5, 2, **call)
    values = [getattr(lot, name) for name in lot.__struct_fields__]
    values[7], values[12] = day(2) - 1, day(5) + 1  # both between two sessions
    held = made(type(lot)(*values), closes={5: 3})
    assert (held.entry, held.settles, held.end) == (2, 5, 5)


@pytest.mark.parametrize(
    ("kind", "strike", "closes", "amount", "flags"),
    [
        ("LC", 2, {5: 3}, -100, ()),
        ("LC", 4, {5: 3}, 0, ()),
        ("LP", 4, {5: 3}, -100, ()),
        ("SC", 2, {5: 3}, 100, ()),
        ("SP", 4, {1: 3}, 100, ("expired_stale",)),
        ("SP", 4, {0: 3}, 0, ("expired_unpriced",)),
    ],
)
def test_settlement(kind, strike, closes, amount, flags):
    quantity = 1 if kind[0] == "L" else -1
    option = {"type": kind, "underlying": "B", "strike": strike, "expiry": 5}
    held = made(lot_row(1, 1, "A", quantity, 5, 0, **option), closes=closes)
    assert held.steps[-1].amount == money(amount)
    assert held.flags == flags
    assert held.steps[-1].quantity == 0


def test_an_expiry_after_the_newest_session_has_not_happened():
    option = {"type": "LC", "underlying": "B", "strike": 2, "expiry": 5}
    held = made(lot_row(1, 1, "A", 1, 5, 0, **option), newest=4)
    assert (held.end, held.settles, held.flags) == (OPEN, 5, ())


def test_only_options_expire():
    lot = lot_row(1, 1, "A", 1, 5, 3, expiry=1)
    assert made(lot).settles is None


def test_amounts_that_do_not_fit():
    held = made(lot_row(1, 1, "A", 10**11, 10**12, 3))
    assert (held.broken, held.large) == (3, True)
    held = made(lot_row(1, 1, "A", 10**9, 5, 3))
    assert (held.broken, held.large) == (None, True)


LOTS = st.builds(
    lot_row,
    st.just(1),
    st.just(1),
    st.sampled_from("AB"),
    st.integers(0, 2),
    st.sampled_from([5, 6]),
    st.integers(0, 3),
    exit=st.sampled_from([(None, None), (7, 6)]),
)
EVENTS = st.lists(
    st.builds(
        event_row,
        st.just(1),
        st.just(1),
        st.just(1),
        st.integers(0, 8),
        st.integers(1, 2),
        price=st.sampled_from([5, 6]),
    ),
    max_size=3,
)


@given(LOTS, EVENTS, LOTS, EVENTS)
def test_before_the_first_difference_there_is_none(lot, events, other, others):
    old, new = made(lot, *events), made(other, *others)
    first = first_difference(old, new)
    if old is not None and new is not None:
        words = ("symbol", "type", "klass", "entry_price")
        if all(getattr(lot, w) == getattr(other, w) for w in words):
            sessions = range(9 if first is None else first)
            assert old.flags == new.flags or first == min(old.entry, new.entry)
            assert [_at(old, t) for t in sessions] == [_at(new, t) for t in sessions]
    assert first_difference(old, old) is None


def _at(held, t):
    """What a session sees of a lot."""
    return [step for step in held.steps if step.session <= t]
