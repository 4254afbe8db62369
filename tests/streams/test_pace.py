"""How many records go out in a second."""

import pytest

from streams.pace import CHUNK, Pace


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
