"""What is published: heads, keys, headers; and whose records lie in a lane."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.calendar import Calendar
from analytics.results import Cause, Previous, Result, Revision
from analytics.rows import Version
from streams.publisher import Lane
from streams.record import RecordWriter, Said, SaidReader, money

DAYS = [date(2022, 1, 3).toordinal(), date(2022, 1, 4).toordinal()]
CALENDAR = Calendar(DAYS, [0, 1], DAYS[0], DAYS[1])
AMOUNTS = st.integers(-(2**63), 2**63 - 1)


def result(**changed: object) -> Result:
    fields: dict[str, object] = {
        "family": "snapshots",
        "partition": 0,
        "owner": 7,
        "session": 1,
        "revision": Revision(4, 90, 1),
        "digest": 2**64 - 1,
        "content": b'{"status":"final","nav":1.5}',
        "as_of": 1_641_000_000_000_001,
        "cause": None,
        "previous": None,
    }
    return Result(**{**fields, **changed})


# --- records ----------------------------------------------------------------------


def test_a_record_says_whose_it_is_before_its_content():
    record = RecordWriter(CALENDAR).record(result())
    assert record.key == b"7|2022-01-04"
    assert json.loads(record.value) == {
        "portfolio": 7,
        "session": "2022-01-04",
        "revision": {"p": 4, "m": 90, "v": 1},
        "as_of": "2022-01-01T01:20:00.000001Z",
        "cause": None,
        "previous": None,
        "status": "final",
        "nav": 1.5,
    }


def test_a_retraction_has_the_head_alone():
    record = RecordWriter(CALENDAR).record(result(content=None, digest=0))
    found = json.loads(record.value)
    assert found["retracted"] is True
    assert "status" not in found


def test_the_cause_and_what_was_said_before_are_told_in_words():
    cause = Cause(
        table="market_data_cache",
        key=("A|B", DAYS[0]),
        ts=1,
        version=Version(3, 2, 1),
        changed=(("close", "1.5", None),),
    )
    previous = Previous(Revision(4, 89, 1), -15_001, None)
    writer = RecordWriter(CALENDAR)
    found = json.loads(writer.record(result(cause=cause, previous=previous)).value)
    assert found["cause"] == {
        "table": "market_data_cache",
        "key": ["A|B", "2022-01-03"],
        "committed": "1970-01-01T00:00:00.000001Z",
        "version": [3, 2, 1],
        "changed": {"close": ["1.5", None]},
    }
    assert found["previous"] == {
        "revision": {"p": 4, "m": 89, "v": 1},
        "nav": -1.5001,
        "pnl": None,
    }


@given(AMOUNTS)
def test_money_is_a_json_number_with_exactly_that_value(amount):
    text = money(amount)
    assert json.loads(text, parse_float=_ten_thousandths) == amount
    assert abs(amount) >= 10**15 or repr(float(text)) == text


def _ten_thousandths(text: str) -> int:
    whole, _, part = text.partition(".")
    return int(whole + part.ljust(4, "0"))


@pytest.mark.parametrize(
    ("family", "owner"), [("snapshots", 7), ("risk", -7), ("symbols", 'A|"é')]
)
@given(st.integers(0, 2**64 - 1), st.tuples(*[st.integers(0, 2**63)] * 3))
def test_what_a_record_says_is_read_from_key_and_headers(
    family, owner, digest, revision
):
    made = result(
        family=family, owner=owner, digest=digest, revision=Revision(*revision)
    )
    record = RecordWriter(CALENDAR).record(made)
    said = SaidReader(CALENDAR).said(family, record.key, record.headers)
    assert said == Said(owner, 1, digest, Revision(*revision))


def test_a_record_of_a_symbol_names_it_and_has_no_money_of_before():
    made = result(
        family="symbols", owner='A|"é', previous=Previous(Revision(4, 89, 1), 1, 2)
    )
    record = RecordWriter(CALENDAR).record(made)
    assert record.key == 'A|"é|2022-01-04'.encode()
    found = json.loads(record.value)
    assert list(found)[:2] == ["symbol", "session"]
    assert found["symbol"] == 'A|"é'
    assert found["previous"] == {"revision": {"p": 4, "m": 89, "v": 1}}


@pytest.mark.parametrize(
    ("key", "headers"),
    [(None, []), (b"7|2022-01-04", []), (b"7|2022-01-09", [("d", b"1"), ("r", b"1")])],
)
def test_a_record_of_nobody_we_know_says_nothing(key, headers):
    assert SaidReader(CALENDAR).said("snapshots", key, headers) is None


# --- lanes ------------------------------------------------------------------------


def lane(expected: int | None = 10) -> Lane:
    return Lane("results", 3, expected, sending=1)


def test_batches_that_follow_on_each_other_are_ours():
    ours = lane()
    ours.acknowledged(10, 5)
    assert (ours.expected, ours.sending, ours.take_foreign()) == (15, 0, [])


def test_a_gap_before_a_batch_is_somebody_elses():
    ours = lane()
    ours.acknowledged(12, 5)
    assert (ours.expected, ours.take_foreign()) == (17, [(10, 12)])
    assert ours.take_foreign() == []


def test_an_end_that_moved_is_somebody_elses():
    ours = lane()
    ours.seen_end(10)
    ours.seen_end(13)
    assert (ours.expected, ours.take_foreign()) == (13, [(10, 13)])


def test_an_end_seen_before_our_last_batch_is_nothing():
    ours = lane()
    ours.acknowledged(10, 5)
    ours.seen_end(10)
    assert (ours.expected, ours.take_foreign()) == (15, [])


def test_a_batch_stored_without_an_offset_is_looked_at_again():
    ours = lane()
    ours.acknowledged(-1, 5)
    ours.seen_end(15)
    assert ours.take_foreign() == [(10, 15)]


def test_the_first_end_of_a_lane_is_its_start():
    ours = lane(expected=None)
    ours.seen_end(40)
    assert (ours.expected, ours.take_foreign()) == (40, [])
