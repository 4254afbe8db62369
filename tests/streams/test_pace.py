"""How many records go out in a second, and how conflated families are cut."""

from itertools import product

import pytest

from streams.pace import (
    CATCH_UP_SLICE_S,
    CHUNK,
    LEAST,
    LIVE_SLICE_S,
    SLICE,
    Pace,
    Rounds,
    aim_of,
)


def test_without_a_limit_nobody_waits():
    pace = Pace(None)
    pace.made(1_000_000)
    assert pace.rest(0.0) == 0.0
    assert pace.most == CHUNK


def test_a_minute_has_sixty_seconds_of_records_whatever_is_made_at_once():
    pace, now, made = Pace(500), 100.0, 0
    while now < 160.0:
        now += 0.003  # it takes time to make them, and that time counts
        pace.made(pace.most)
        made += pace.most
        now += pace.rest(now)
    assert made == pytest.approx(500 * 60, rel=0.05)


def test_time_in_which_nothing_was_made_is_not_saved_up():
    pace = Pace(100)
    pace.made(10)
    assert pace.rest(0.0) == pytest.approx(0.1)
    pace.made(10)
    assert pace.rest(50.0) == pytest.approx(0.1)


def test_a_round_has_what_was_touched_when_it_began_however_much_comes_meanwhile():
    rounds, now, slices = Rounds(every=1.0), 100.0, 0
    assert rounds.due(now)
    while rounds.due(now):
        rounds.begin(now, 1000)  # as much is touched again after each slice
        rounds.derived(0.04, 1000)
        slices, now = slices + 1, now + 0.05
    assert slices == -(-1000 // SLICE)
    assert rounds.next_at == 101.0
    assert not rounds.due(100.9)
    assert rounds.due(101.0)


def test_a_round_that_is_longer_than_its_time_is_followed_at_once():
    rounds = Rounds(every=1.0)
    rounds.begin(0.0, 2 * SLICE)
    rounds.derived(3.0, 999)
    assert rounds.under_way
    while rounds.under_way:
        rounds.derived(3.0, 999)
    assert rounds.due(3.0)


def test_a_round_is_over_when_nothing_is_touched_any_more():
    """Sessions are taken whole, or a partition has gone with its cells."""
    rounds = Rounds(every=1.0)
    rounds.begin(0.0, 10 * SLICE)
    rounds.derived(0.1, SLICE // 2)
    assert rounds.under_way
    rounds.derived(0.1, 0)
    assert not rounds.under_way


def test_slices_are_shorter_while_something_waits_for_them():
    lengths = {}
    for live, catching_up in product((True, False), repeat=2):
        rounds = Rounds(every=1.0)
        rounds.begin(0.0, 10**9)
        for _ in range(20):
            rounds.aim_at(aim_of(live=live, catching_up=catching_up))
            rounds.derived(rounds.slice * 0.0002, 10**9)
        lengths[live, catching_up] = rounds.slice
    assert lengths == {
        (True, True): 200,
        (True, False): 200,
        (False, True): 5000,
        (False, False): 500,
    }


def test_the_first_slice_that_somebody_waits_for_is_short():
    rounds = Rounds(every=1.0)
    rounds.begin(0.0, 10**9)
    for _ in range(20):
        rounds.aim_at(CATCH_UP_SLICE_S)
        rounds.derived(rounds.slice * 0.0002, 10**9)
    rounds.aim_at(LIVE_SLICE_S)
    assert rounds.slice == 200
    rounds.aim_at(CATCH_UP_SLICE_S)
    assert rounds.slice == 200, "and grows again by what is measured"


def test_a_slice_is_as_long_as_the_rate_allows_and_no_shorter_than_is_worth_it():
    few = Rounds(every=1.0, most=10)
    few.begin(0.0, 30)
    assert few.slice == 10
    for _ in range(3):
        assert few.under_way
        few.derived(0.0001, 99)
    assert not few.under_way
    slow = Rounds(every=1.0)
    slow.begin(0.0, 10**9)
    for _ in range(20):
        slow.derived(60.0, 10**9)
    assert slow.slice == LEAST
