"""Whatever is sent on the CDC topics: nothing raises, nothing vanishes.

``read = accepted + boundaries + refused + ignored``, a letter for each refused record
with what was refused, and the journal holds each change of the rest, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from connectors.deadletters import (
    MAX_KEY,
    REDRIVE_HEADER,
    Place,
    later,
    letter_of,
    read_redrive,
)
from connectors.debezium import (
    MAX_DEPTH,
    MAX_TEXT,
    Refused,
    Trouble,
    decode,
    decode_marker,
)
from connectors.journal import encode
from connectors.kafka import MAX_RECORD_BYTES
from streams.door import Door
from tests.connectors.envelopes import LOT, PRICE, envelope, marker, to_bytes
from tests.streams.bad_input import CALENDAR, KINDS, faults_in, feed

SEED = 20_261_127
PLACE = Place("cdc.public.positions", 0, 7)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # a truncate is an error each time


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(4_000, id="short"),
        pytest.param(100_000, id="long", marks=pytest.mark.faults),
    ],
)
def test_every_bad_record_is_applied_ignored_or_a_letter(count):
    print(f"seed {SEED}")  # noqa: T201
    found = feed(SEED, count)
    print(found.stats.line(), dict(found.kinds))  # noqa: T201
    assert faults_in(found) == []
    assert set(found.kinds) == set(KINDS)
    stats = found.stats
    for what in (stats.accepted, stats.boundaries, stats.ignored.total()):
        assert what > count / 100
    assert stats.refused.total() > count / 3
    assert len(stats.refused) > 15
    assert found.results > 0


class DropsLetters(Door):
    """Counts what it refuses, and writes no letter of it."""

    def drain(self) -> Any:
        self._letters.clear()
        return super().drain()


class DropsRows(Door):
    """Loses what goes on in parts."""

    def _pass(self, piece: Any) -> None:
        if piece is None or not piece.partial:
            super()._pass(piece)


class CountsNothing(Door):
    """Passes over tombstones and heartbeats without a word."""

    def _take_row(self, place: Any, record: Any, now: float) -> None:
        super()._take_row(place, record, now)
        self._stats.ignored.clear()


@pytest.mark.parametrize("broken", [DropsLetters, DropsRows, CountsNothing])
def test_a_door_that_lets_records_vanish_is_caught(broken):
    assert faults_in(feed(SEED, 1_000, broken)) != []


# --- what the generator found ---


@pytest.mark.parametrize("milliseconds", [-1, 2**62, -(2**63), 253_402_300_800_000])
def test_a_time_that_no_date_can_say_is_that_of_1970(milliseconds):
    place = Place("t", 0, 1, milliseconds)
    assert letter_of(place, b"", Refused("x")).ts == "1970-01-01T00:00:00.000+00:00"


@pytest.mark.parametrize("times", [{"ts_us": 2**63 - 1}, {"ts_us": -1}])
@pytest.mark.parametrize("op", ["c", "d"])
def test_a_commit_time_that_no_date_can_say_is_that_of_1970(op, times):
    message = envelope(op, "positions", before=LOT, after=LOT)
    message["source"] |= times
    [change] = decode(to_bytes(message), CALENDAR).changes
    assert change.ts == 0


def test_milliseconds_that_do_not_fit_the_journal_do_no_harm():
    message = envelope("c", "positions", after=LOT)
    message["source"] |= {"ts_us": None, "ts_ms": 2**62}
    [change] = decode(to_bytes(message), CALENDAR).changes
    assert encode([change])


def nested(depth: int, text: str = "") -> bytes:
    """Make a sound row beside which something is nested; the envelope is one level."""
    message = envelope("c", "market_data_cache", after=PRICE) | {"more": [text, "@"]}
    inner = b"[" * (depth - 2) + b"]" * (depth - 2)
    return to_bytes(message).replace(b'"@"', inner)


def below(frames: int, work: Callable[[], Any]) -> Any:
    """Call from a deep stack."""
    return below(frames - 1, work) if frames else work()


@pytest.mark.parametrize("frames", [0, 700])
@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 250, 400])
def test_what_is_too_deep_does_not_depend_on_who_calls(depth, frames):
    found = below(frames, lambda: decode(nested(depth), CALENDAR))
    assert (found.refused is None) is (depth <= MAX_DEPTH)
    assert len(found.changes) == (depth <= MAX_DEPTH)
    end = to_bytes(marker("END", 7, 9, 1) | {"more": "@"})
    end = end.replace(b'"@"', b"[" * (depth - 1) + b"]" * (depth - 1))
    told = below(frames, lambda: decode_marker(end))
    assert isinstance(told, Refused) is (depth > MAX_DEPTH)


def test_brackets_in_a_text_are_text():
    text = "[{" * 300 + '"\\' + "[" * 300
    assert decode(nested(3, text), CALENDAR).refused is None
    assert decode(nested(MAX_DEPTH + 1, text), CALENDAR).refused is not None


def test_a_value_of_any_depth_can_be_refused_and_written_down():
    message = envelope("c", "market_data_cache", after=PRICE | {"close": "@"})
    sound = to_bytes(message)
    for depth in (*range(1, 1_200), 100_000):
        value = sound.replace(b'"@"', b"[" * depth + b"]" * depth)
        refused = decode(value, CALENDAR).refused
        assert refused is not None
        assert letter_of(PLACE, value, refused).body() == value


@pytest.mark.parametrize("digits", [20, 4_299, 4_301, 20_000])
def test_a_number_of_any_length_can_be_refused_and_written_down(digits):
    message = envelope("c", "positions", after=LOT | {"id": "@"})
    value = to_bytes(message).replace(b'"@"', b"9" * digits)
    refused = decode(value, CALENDAR).refused
    assert refused is not None
    assert letter_of(PLACE, value, refused).body() == value


def test_a_letter_fits_a_record_however_its_payload_is_escaped():
    value = b"\x00" * 2_000_000
    letter = letter_of(PLACE, value, Refused("broken_json"))
    assert letter.encoding == "base64"
    assert letter.body() == value
    long = Place("t", 0, 1, 0, b"\x00" * 5_000_000)
    assert len(letter_of(long, value, Refused("x")).key or "") == MAX_KEY


@pytest.mark.parametrize("column", ["symbol", "underlying_symbol"])
def test_a_text_that_no_result_could_carry_makes_its_row_absent(column):
    row = LOT | {column: "A" * (MAX_TEXT + 1)}
    found = decode(to_bytes(envelope("c", "positions", after=row)), CALENDAR)
    assert found.refused == Refused(Trouble.TEXT_TOO_LONG)
    assert [change.row for change in found.changes] == [None]
    row[column] = "A" * MAX_TEXT
    found = decode(to_bytes(envelope("c", "positions", after=row)), CALENDAR)
    assert found.refused is None


def test_a_key_that_the_journal_cannot_carry_is_refused():
    row = PRICE | {"symbol": "A" * (MAX_RECORD_BYTES // 2 + 1)}
    value = to_bytes(envelope("c", "market_data_cache", after=row))
    found = decode(value, CALENDAR)
    assert found.refused == Refused(Trouble.TEXT_TOO_LONG, "key")
    assert found.changes == ()


@pytest.mark.parametrize("name", ["", "x", "n" * 9_000, "7" * 21])
def test_a_transaction_whose_name_is_no_number_is_none(name):
    """Names are kept beside the offsets, where Kafka has 4 KiB."""
    message = envelope("c", "positions", after=LOT)
    message["transaction"]["id"] = f"{name}:5"
    found = decode(to_bytes(message), CALENDAR)
    assert (found.tx, len(found.changes)) == (None, 1)
    end = marker("END", 7, 5, 1) | {"id": f"{name}:5"}
    assert isinstance(decode_marker(to_bytes(end)), Refused)


def test_headers_of_somebody_else_are_no_redriving():
    big = b'{"topic":"t","partition":0,"offset":1,"floor":%d}' % 2**70
    for value in (None, b"", b"{}", b"\xff", big):
        assert read_redrive([(REDRIVE_HEADER, value)]) is None


def test_the_last_place_of_a_transaction_can_be_redriven():
    message = envelope("c", "positions", after=LOT, order=2**63 - 1)
    [change] = decode(to_bytes(message), CALENDAR).changes
    assert later(change).version.order == 2**63 - 1
