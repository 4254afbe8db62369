"""Dead letters say all that is needed, and the same each time."""

import pytest

from analytics.calendar import Calendar
from analytics.rows import Change, Version
from connectors.deadletters import (
    MAX_PAYLOAD,
    REDRIVE_HEADER,
    Place,
    Redrive,
    decode_letter,
    encode_letter,
    examine,
    later,
    letter_of,
    read_redrive,
    table_of,
)
from connectors.debezium import Refused
from connectors.settings import Settings
from tests.connectors.envelopes import EPOCH, MONDAY, PRICE, envelope, to_bytes

SETTINGS = Settings()
DAYS = [EPOCH + MONDAY + day for day in range(5)]
CALENDAR = Calendar(DAYS, [0] * 5, DAYS[0], DAYS[-1])
PLACE = Place("cdc.public.market_data_cache", 0, 17, 1_795_565_968_252, b"A")
GOOD = to_bytes(envelope("c", "market_data_cache", after=PRICE))


def test_a_letter_survives_its_record():
    letter = letter_of(
        PLACE, GOOD, Refused("null", "close"), table="market_data_cache", row=("A", 5)
    )
    key, value = encode_letter(letter)
    assert key == b"cdc.public.market_data_cache/0/17"
    assert decode_letter(value) == letter
    assert letter.body() == GOOD
    assert letter.ts == "2026-11-25T00:19:28.252+00:00"


def test_the_same_record_gives_the_same_letter():
    first, again = (letter_of(PLACE, GOOD, Refused("null")) for _ in range(2))
    assert encode_letter(first) == encode_letter(again)


def test_a_payload_that_is_no_text_is_kept_in_base64():
    letter = letter_of(PLACE, b"\xff\x00", Refused("broken_json"))
    assert letter.encoding == "base64"
    assert letter.body() == b"\xff\x00"


def test_a_key_that_is_no_text_does_not_stop_the_letter():
    letter = letter_of(Place("t", 0, 1, 0, b"\xff"), b"", Refused("broken_json"))
    assert decode_letter(encode_letter(letter)[1]) == letter


def test_a_payload_that_no_record_could_hold_is_left_out_and_its_size_said():
    letter = letter_of(PLACE, b'"' * (MAX_PAYLOAD + 1), Refused("broken_json"))
    assert (letter.payload, letter.body()) == (None, None)
    assert letter.size == MAX_PAYLOAD + 1
    fits = letter_of(PLACE, b'"' * MAX_PAYLOAD, Refused("broken_json"))
    assert len(encode_letter(fits)[1]) < 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (2**70, str(2**70)),
        ("x" * 300, "x" * 199 + "…"),
        ({"a": [1]}, "{'a': [1]}"),
    ],
)
def test_the_value_is_shown_and_cut_for_the_eye(value, shown):
    letter = letter_of(PLACE, GOOD, Refused("null", "close", value))
    assert letter.value == shown
    assert decode_letter(encode_letter(letter)[1]) == letter


@pytest.mark.parametrize("value", [b"", b"{}", b"no", b"\xff", b'{"reason": 1}'])
def test_what_is_no_letter_is_none(value):
    assert decode_letter(value) is None


def test_examination_is_what_intake_would_do_now():
    good = letter_of(PLACE, GOOD, Refused("null"))
    assert examine(SETTINGS, good, CALENDAR).refused is None
    bad = to_bytes(envelope("c", "market_data_cache", after=PRICE | {"close": "-1"}))
    again = examine(SETTINGS, letter_of(PLACE, bad, Refused("null")), CALENDAR)
    assert again.refused == Refused("not_positive", "close", "-1")


def test_only_rows_can_be_redriven():
    place = Place(SETTINGS.topics.market, 0, 17)
    letter = letter_of(place, b"", Refused("broken_record"))
    assert examine(SETTINGS, letter, CALENDAR).refused is not None
    large = letter_of(PLACE, b"x" * (MAX_PAYLOAD + 1), Refused("broken_json"))
    assert examine(SETTINGS, large, CALENDAR).refused is not None
    assert table_of(SETTINGS, SETTINGS.transaction_topic) is None


def test_a_redriven_row_is_after_its_refusal_and_before_every_later_change():
    version = Version(5, 6, 7)
    change = Change("positions", (1,), version, 0, 1, None)
    assert version < later(change).version < Version(5, 7, 0)


def test_the_header_says_which_letter_it_was():
    value = b'{"topic":"t","partition":0,"offset":5,"floor":9}'
    headers = [("__debezium.newkey", b"x"), (REDRIVE_HEADER, value)]
    assert read_redrive(headers) == Redrive("t", 0, 5, 9)
    assert read_redrive(headers[:1]) is None
    assert read_redrive([(REDRIVE_HEADER, b"x")]) is None
