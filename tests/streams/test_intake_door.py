"""The door: what is refused, redriven, lost; what goes with a committed offset."""

import logging

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from analytics.rows import TABLES
from connectors.deadletters import REDRIVE_HEADER, decode_letter
from connectors.journal import decode as decode_journal
from connectors.topics import TopicError
from streams.door import ROWLESS, Door
from streams.holdback import Holdback
from streams.intake_stats import IntakeStats
from streams.ledger import Ledger, Note, read_note
from tests.connectors.envelopes import (
    LOT,
    PRICE,
    envelope,
    marker,
    snapshot_row,
    to_bytes,
)
from tests.streams.intake_model import CALENDAR, DAYS, ENDS, PLACES, SETTINGS, record

LOTS = TopicPartition(SETTINGS.cdc_topic("positions"), 0)
PRICES = TopicPartition(SETTINGS.cdc_topic("market_data_cache"), 0)


def open_door(committed: dict[TopicPartition, OffsetAndMetadata] | None = None) -> Door:
    left = committed or {}
    starts = {place: 0 for place in PLACES if place not in left}
    ledger = Ledger(left, starts, ENDS)
    return Door(SETTINGS, CALENDAR, ledger, Holdback(DAYS[10]), IntakeStats())


def take(door: Door, place: TopicPartition, message: object, **more: object) -> None:
    value = message if isinstance(message, bytes) else to_bytes(message)
    door.take(place, record(door.ledger.next(place), value, **more), 0.0)


def letters(door: Door):
    return [decode_letter(value or b"") for _, value in door.drain().letters]


def test_the_door_reads_every_captured_table():
    assert {place.topic for place in PLACES[:-1]} == {
        SETTINGS.cdc_topic(table) for table in TABLES
    }


def test_a_refused_row_is_a_letter_and_an_absent_change():
    door = open_door()
    message = snapshot_row("market_data_cache", PRICE | {"close": "-1"}, 5_000)
    take(door, PRICES, message)
    writes = door.drain()
    [(key, value)] = writes.letters
    letter = decode_letter(value or b"")
    assert key == f"{PRICES.topic}/0/0".encode()
    assert letter is not None
    assert (letter.reason, letter.column, letter.value) == (
        "not_positive",
        "close",
        "-1",
    )
    assert (letter.table, letter.row) == ("market_data_cache", ("A", DAYS[1]))
    assert letter.body() == to_bytes(message)
    [made] = writes.journal
    [change] = decode_journal(made.value).changes
    assert change.row is None
    assert not door.pending


def test_a_truncate_is_refused_loudly_and_changes_nothing(caplog):
    door = open_door()
    with caplog.at_level(logging.ERROR):
        take(door, LOTS, envelope("t", "positions", tx=None))
    assert "positions was truncated" in caplog.text
    writes = door.drain()
    assert len(writes.letters) == 1
    assert writes.journal == []


def test_a_truncate_counts_for_its_transaction():
    door = open_door()
    take(door, LOTS, envelope("u", "positions", after=LOT, order=1))
    take(door, LOTS, envelope("t", "positions", order=2))
    take(door, ENDS, marker("END", 779, 29_000_900, 2))
    assert [made.rows for made in door.drain().journal] == [1]


def test_a_broken_marker_is_a_letter():
    door = open_door()
    take(door, ENDS, b"{")
    [letter] = letters(door)
    assert letter.topic == ENDS.topic


def test_tombstones_heartbeats_and_beginnings_are_counted_or_nothing():
    door = open_door()
    take(door, LOTS, {"ts_ms": 1})
    door.take(LOTS, record(1, None), 0.0)  # type: ignore[arg-type]
    take(door, ENDS, marker("BEGIN", 779, 1, None))
    assert dict(door._stats.ignored) == {"heartbeat": 1, "tombstone": 1}
    assert not door.pending


def test_records_that_kafka_had_removed_are_told_loudly(caplog):
    door = open_door()
    row = snapshot_row("market_data_cache", PRICE, 5_000)
    door.take(PRICES, record(7, to_bytes(row)), 0.0)
    assert door.holes == [(PRICES, 0, 7)]
    with caplog.at_level(logging.ERROR):
        door.lose(PRICES, 0, 7)
    assert "records 0 to 6 were removed" in caplog.text
    writes = door.drain()
    [(key, value)] = writes.letters
    assert key == f"{PRICES.topic}/0/0".encode()
    letter = decode_letter(value or b"")
    assert letter is not None
    assert (letter.reason, letter.value) == ("records_lost", "0 to 6")
    assert len(writes.journal) == 1
    assert door._stats.lost == 7


def test_a_record_that_was_read_comes_again_only_from_another_log():
    door = open_door()
    row = to_bytes(snapshot_row("market_data_cache", PRICE, 5_000))
    door.take(PRICES, record(0, row), 0.0)
    with pytest.raises(TopicError, match="made anew"):
        door.take(PRICES, record(0, row), 0.0)
    assert door._stats.read == 1


# --- what goes with an offset ---


def test_the_floor_of_a_table_is_that_of_the_committed_offset():
    door = open_door()
    take(door, LOTS, snapshot_row("positions", LOT, 5_000))
    take(door, LOTS, envelope("u", "positions", after=LOT, commit=None, lsn=5_100))
    door.drain()
    left = door.committable()
    # The second row is of an open transaction: offset 1, after the snapshot's row.
    assert left[LOTS].offset == 1
    assert read_note(left[LOTS].metadata).floor == 5_000
    assert read_note(left[PRICES].metadata).floor == 0
    again = open_door(left)
    message = envelope("u", "positions", after=LOT, commit=None, lsn=4_000, tx=None)
    take(again, LOTS, message)
    [made] = again.drain().journal
    [change] = decode_journal(made.value).changes
    assert change.version.commit == 5_000


def test_a_floor_that_came_after_the_committed_offset_does_not_count():
    door = open_door()
    take(door, LOTS, snapshot_row("positions", LOT, 5_000))
    take(door, LOTS, envelope("u", "positions", after=LOT, commit=None, lsn=5_100))
    take(door, LOTS, snapshot_row("positions", LOT, 9_000))
    left = door.committable()
    assert read_note(left[LOTS].metadata).floor == 5_000


def test_only_what_changed_is_committed_again():
    door = open_door()
    offsets = door.committable()
    assert set(offsets) == set(PLACES)
    door.ledger.commit_done(offsets)
    assert door.committable() == {}
    take(door, LOTS, snapshot_row("positions", LOT, 5_000))
    assert set(door.committable()) == {LOTS}


@pytest.mark.parametrize("metadata", ["", "{", "[]", '{"floor":"x"}', "aiokafka"])
def test_metadata_of_somebody_else_is_an_empty_note(metadata):
    assert read_note(metadata) == Note()


def test_parts_are_announced_before_they_are_written_and_once():
    door = open_door()
    for order in range(1, 30):
        take(door, LOTS, envelope("u", "positions", after=LOT, order=order))
    assert read_note(door.announcement()[ENDS].metadata).unfinished == ["779"]
    assert door.announcement()[ENDS].offset == 0
    assert door.drain().announce
    assert read_note(door.committable()[ENDS].metadata).unfinished == ["779"]
    for order in range(30, 60):
        take(door, LOTS, envelope("u", "positions", after=LOT, order=order))
    assert not door.drain().announce
    take(door, ENDS, marker("END", 779, 29_000_900, 59))
    door.drain()
    assert read_note(door.committable()[ENDS].metadata).unfinished == []


def test_a_successor_of_parts_tells_every_log_the_end():
    left = {ENDS: OffsetAndMetadata(0, '{"unfinished":["779"]}')}
    door = open_door(left)
    take(door, LOTS, envelope("u", "positions", after=LOT, order=1))
    take(door, ENDS, marker("END", 779, 29_000_900, 1))
    batches = [decode_journal(made.value) for made in door.drain().journal]
    assert len(batches) == 1 + SETTINGS.topics.partitions
    assert {(batch.tx, batch.partial) for batch in batches} == {("779", False)}


# --- redriving ---


def redriven(offset: int = 7, floor: int = 0):
    value = b'{"topic":"%s","partition":0,"offset":%d,"floor":%d}'
    return ((REDRIVE_HEADER, value % (PRICES.topic.encode(), offset, floor)),)


def test_a_letter_put_back_and_accepted_is_removed_and_its_row_counts():
    door = open_door()
    message = envelope("c", "market_data_cache", after=PRICE, order=3)
    take(door, PRICES, message, headers=redriven())
    writes = door.drain()
    assert writes.letters == []
    assert writes.forget_letters == [(f"{PRICES.topic}/0/7".encode(), None)]
    [made] = writes.journal
    [change] = decode_journal(made.value).changes
    assert change.row is not None
    assert change.version.order == 4
    # Its transaction is long over: nothing waits for it.
    assert len(door.transactions) == 0


def test_a_letter_put_back_and_refused_again_is_renewed_under_its_name():
    door = open_door()
    message = envelope("c", "market_data_cache", after=PRICE | {"close": "0"})
    take(door, PRICES, message, headers=redriven())
    writes = door.drain()
    assert [key for key, _ in writes.letters] == [f"{PRICES.topic}/0/7".encode()]
    assert writes.forget_letters == []


def test_a_letter_put_back_has_the_floor_that_it_had():
    door = open_door()
    take(door, PRICES, snapshot_row("market_data_cache", PRICE, 9_000))
    door.drain()
    message = envelope("c", "market_data_cache", after=PRICE, commit=None, lsn=100)
    take(door, PRICES, message, headers=redriven(floor=5_000))
    [made] = door.drain().journal
    [change] = decode_journal(made.value).changes
    assert change.version.commit == 5_000


# --- pressure ---


def test_ends_far_ahead_of_their_rows_stop_the_reading_of_ends():
    door = open_door()
    for tx in range(ROWLESS + 1):
        assert not door.ahead
        take(door, ENDS, marker("END", tx + 1, 29_000_000 + tx, 1))
    assert door.ahead
    take(door, LOTS, envelope("u", "positions", after=LOT, tx=1))
    assert not door.ahead
