"""Prices dated ahead wait for their day."""

import pytest

from analytics.rows import Change, Price, Version
from connectors.journal import JournalFormatError, encode
from streams.holdback import Holdback

TODAY, TOMORROW = 100, 101


def price(day: int, lsn: int = 1, close: int | None = 5, symbol: str = "A") -> Change:
    row = None if close is None else Price(symbol, day, close, None)
    version = Version(1, lsn, 1)
    return Change("market_data_cache", (symbol, day), version, 0, None, row)


def restored(writes) -> Holdback:
    holdback = Holdback(TODAY)
    for key, value in writes:
        holdback.restore(value, key)
    return holdback


def test_todays_price_goes_on_and_tomorrows_waits_for_tomorrow():
    holdback = Holdback(TODAY)
    now, ahead = price(TODAY), price(TOMORROW)
    assert holdback.sift([now, ahead]) == [now]
    assert holdback.begin(TODAY) == []
    assert holdback.begin(TOMORROW) == [ahead]
    assert holdback.begin(TOMORROW) == []


def test_what_waits_is_written_and_removed_when_it_was_delivered():
    holdback = Holdback(TODAY)
    holdback.sift([price(TOMORROW)])
    [(key, value)] = holdback.take_writes()
    assert (key, value) == (b"101|A", encode([price(TOMORROW)]))
    holdback.begin(TOMORROW)
    assert holdback.take_writes() == [(b"101|A", None)]
    assert holdback.take_writes() == []


def test_it_is_remembered_over_a_restart():
    first = Holdback(TODAY)
    first.sift([price(TOMORROW), price(TOMORROW, symbol="B|C")])
    again = restored(first.take_writes())
    assert len(again) == 2
    assert again.begin(TOMORROW) == [
        price(TOMORROW),
        price(TOMORROW, symbol="B|C"),
    ]


def test_days_that_passed_while_it_was_down_are_delivered():
    first = Holdback(TODAY)
    first.sift([price(TOMORROW)])
    assert restored(first.take_writes()).begin(TOMORROW + 30) == [price(TOMORROW)]


def test_an_update_replaces_what_waits_and_an_older_one_does_not():
    holdback = Holdback(TODAY)
    for change in (price(TOMORROW, 2, 6), price(TOMORROW, 3, 7), price(TOMORROW, 1, 5)):
        assert holdback.sift([change]) == []
    assert holdback.begin(TOMORROW) == [price(TOMORROW, 3, 7)]


def test_a_deletion_goes_on_and_removes_what_waits():
    holdback = Holdback(TODAY)
    holdback.sift([price(TOMORROW, 1)])
    holdback.take_writes()
    gone = price(TOMORROW, 2, None)
    assert holdback.sift([gone]) == [gone]
    assert holdback.take_writes() == [(b"101|A", None)]
    assert holdback.begin(TOMORROW) == []


def test_an_older_deletion_goes_on_and_removes_nothing():
    holdback = Holdback(TODAY)
    holdback.sift([price(TOMORROW, 5)])
    old = price(TOMORROW, 4, None)
    assert holdback.sift([old]) == [old]
    assert holdback.begin(TOMORROW) == [price(TOMORROW, 5)]


def test_a_price_moved_from_tomorrow_to_today_goes_on():
    holdback = Holdback(TODAY)
    holdback.sift([price(TOMORROW, 1)])
    moved = [price(TOMORROW, 2, None), price(TODAY, 2)]
    assert holdback.sift(moved) == moved
    assert len(holdback) == 0


def test_other_rows_never_wait():
    holdback = Holdback(TODAY)
    lot = Change("positions", (7,), Version(1, 1, 1), 0, 3, None)
    changes = [lot]
    assert holdback.sift(changes) is changes


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"101|A", b"no record"),
        (b"102|A", encode([price(TOMORROW)])),
        (b"101|A", encode([price(TOMORROW, close=None)])),
        (b"101|A", encode([])),
        (b"x", encode([price(TOMORROW)])),
    ],
)
def test_a_record_that_holds_something_else_is_not_taken(key, value):
    holdback = Holdback(TODAY)
    with pytest.raises(JournalFormatError):
        holdback.restore(value, key)
    assert len(holdback) == 0
