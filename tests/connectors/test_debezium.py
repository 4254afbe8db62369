"""Envelopes to changes: keys, versions, refusals, and no input that makes it raise."""

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analytics.calendar import Calendar
from analytics.rows import TABLES, Change, Price, Version
from connectors.debezium import (
    Decoded,
    Marker,
    Refused,
    Trouble,
    decode,
    decode_marker,
)
from connectors.journal import decode as decode_journal
from connectors.journal import encode
from tests.connectors.envelopes import (
    EPOCH,
    LOT,
    MONDAY,
    PORTFOLIO,
    PRICE,
    ROWS,
    envelope,
    marker,
    snapshot_row,
    to_bytes,
)

DAYS = [EPOCH + MONDAY + day for day in range(5)]
CALENDAR = Calendar(DAYS, [0] * 5, DAYS[0], DAYS[-1])


def decoded(message: Any, floor: int = 0) -> Decoded:
    return decode(to_bytes(message), CALENDAR, floor)


def versions(message: Any, floor: int = 0) -> list[Version]:
    return [change.version for change in decoded(message, floor).changes]


def said(message: Any) -> list[tuple[tuple[int | str, ...], int | None, bool]]:
    """Key, portfolio, and whether there is a row, of each change."""
    changes = decoded(message).changes
    return [(c.key, c.portfolio, c.row is not None) for c in changes]


def test_an_insert_is_a_change_with_commit_time_and_place_in_its_transaction():
    found = decoded(envelope("c", "market_data_cache", after=PRICE, order=7))
    day = EPOCH + MONDAY + 1
    assert found == Decoded(
        (
            Change(
                "market_data_cache",
                ("A", day),
                Version(29_000_000, 29_000_100, 7),
                1_795_565_968_252_747,
                None,
                Price("A", day, 50_500_000, 49.9),
            ),
        ),
        tx="779",
        order=7,
    )


@pytest.mark.parametrize(
    ("table", "row", "key", "portfolio"),
    [
        ("portfolios", PORTFOLIO, (1,), 1),
        ("positions", LOT, (2,), 1),
        ("market_data_cache", PRICE, ("A", EPOCH + MONDAY + 1), None),
        (
            "company_profiles",
            {"symbol": "A", "sector": None, "is_etf": True},
            ("A",),
            None,
        ),
        ("benchmarks_sector_weights", {"id": 9}, (9,), None),
    ],
)
def test_each_table_has_its_key_and_its_portfolio(table, row, key, portfolio):
    assert [k[:2] for k in said(envelope("c", table, after=row))] == [(key, portfolio)]
    assert said(envelope("d", table, before=row)) == [(key, portfolio, False)]


def test_an_update_that_keeps_its_key_is_one_change():
    after = LOT | {"quantity": "1"}
    assert said(envelope("u", "positions", before=LOT, after=after)) == [
        ((2,), 1, True)
    ]


def test_an_update_never_needs_what_was_before():
    assert said(envelope("u", "positions", after=LOT)) == [((2,), 1, True)]


@pytest.mark.parametrize(
    ("table", "change", "gone", "come"),
    [
        ("positions", {"id": 3}, ((2,), 1), ((3,), 1)),
        ("positions", {"portfolio_id": 4}, ((2,), 1), ((2,), 4)),
        (
            "market_data_cache",
            {"date": MONDAY + 2},
            (("A", EPOCH + MONDAY + 1), None),
            (("A", EPOCH + MONDAY + 2), None),
        ),
        ("market_data_cache", {"date": MONDAY + 9}, None, None),
    ],
)
def test_a_changed_key_or_portfolio_is_two_changes(table, change, gone, come):
    before = ROWS[table]
    after = before | change
    found = said(envelope("u", table, before=before, after=after))
    if gone is None:  # the new one is refused: both are absent
        assert [row for _, _, row in found] == [False, False]
    else:
        assert found == [(*gone, False), (*come, True)]


def test_a_refused_row_is_absent_with_its_version_and_says_why():
    message = envelope("u", "market_data_cache", after=PRICE | {"close": "-1"})
    found = decoded(message)
    assert [(c.row, c.version.lsn) for c in found.changes] == [(None, 29_000_100)]
    assert found.refused == Refused("not_positive", "close", "-1")


def test_a_deleted_row_is_absent_and_no_refusal():
    row = LOT | {"deleted_at": "2024-01-02T00:00:00Z", "quantity": "NAN"}
    found = decoded(envelope("u", "positions", before=LOT, after=row))
    assert [c.row for c in found.changes] == [None]
    assert found.refused is None


def test_a_lot_whose_portfolio_cannot_be_read_leaves_the_one_it_was_in():
    after = LOT | {"portfolio_id": None}
    found = decoded(envelope("u", "positions", before=LOT, after=after))
    assert [(c.portfolio, c.row) for c in found.changes] == [(1, None)]
    assert found.refused == Refused("null", "portfolio_id", None)


# --- versions ---


def test_a_snapshot_row_is_older_than_anything_streamed_later_from_its_place():
    read = decoded(snapshot_row("positions", LOT, 5_000))
    assert read.floor == 5_000
    assert read.tx is None
    [old] = [c.version for c in read.changes]
    # The first transaction has no commit; it may have begun before the snapshot.
    for lsn in (4_000, 5_000, 6_000):
        message = envelope("u", "positions", after=LOT, commit=None, lsn=lsn)
        [first] = versions(message, floor=5_000)
        assert old < first
        # The next one has the end of the first as its commit, which is above all.
        message = envelope("u", "positions", after=LOT, commit=7_000, lsn=4_500)
        [second] = versions(message, floor=5_000)
        assert first < second


def test_a_later_snapshot_corrects_what_was_missed_between():
    [missed] = versions(envelope("u", "positions", after=LOT, commit=7_000, lsn=7_100))
    [read] = versions(snapshot_row("positions", LOT, 9_000))
    assert missed < read


def test_a_snapshot_on_request_lies_between_what_was_and_what_will_be_streamed():
    before = envelope("u", "positions", after=LOT, commit=6_000, lsn=6_100)
    read = envelope(
        "r", "positions", after=LOT, commit=7_000, lsn=7_000, tx=None, snapshot="last"
    )
    after = envelope("u", "positions", after=LOT, commit=7_000, lsn=5_000)
    [a], [b], [c] = versions(before), versions(read), versions(after)
    assert a < b < c
    assert decoded(read).floor is None


def test_an_incremental_snapshot_row_has_no_lsn():
    message = envelope("r", "positions", after=LOT, commit=7_000, lsn=7_000, tx=None)
    message["source"]["lsn"] = None
    assert versions(message) == [Version(7_000, 0, 0)]


def test_transactions_are_ordered_by_commit_and_rows_by_position_then_order():
    first = envelope("u", "positions", after=LOT, commit=100, lsn=900, order=1)
    later = envelope("u", "positions", after=LOT, commit=200, lsn=300, order=1)
    shared = envelope("u", "positions", after=LOT, commit=200, lsn=300, order=2)
    [a], [b], [c] = versions(first), versions(later), versions(shared)
    assert a < b < c


def test_rows_repeated_after_a_crash_never_pass_a_later_transaction():
    """Their commit lies between their first one and their transaction's own end."""
    own_end = 250
    later = envelope("u", "positions", after=LOT, commit=own_end, lsn=120)
    [newer] = versions(later)
    for commit in (100, 150, 249):
        again = envelope("u", "positions", after=LOT, commit=commit, lsn=180)
        assert versions(again) < [newer]


# --- refusals ---


@pytest.mark.parametrize(
    ("message", "trouble"),
    [
        ({"before": None, "after": None}, Trouble.NO_SOURCE),
        ({"op": "c", "after": PRICE, "source": {}}, Trouble.NO_SOURCE),
        (envelope("c", "pets", after=PRICE), Trouble.UNKNOWN_TABLE),
        (envelope("m", "positions"), Trouble.UNKNOWN_OPERATION),
        (envelope("t", "positions"), Trouble.TRUNCATE),
        (envelope("d", "positions"), Trouble.NO_KEY),
        (envelope("c", "positions"), Trouble.NO_KEY),
        (envelope("c", "positions", after={"id": "x"}), "missing_column"),
    ],
)
def test_an_envelope_that_cannot_be_used_is_refused_and_changes_nothing(
    message, trouble
):
    found = decoded(message)
    assert found.changes == ()
    assert found.refused is not None
    assert found.refused.reason == trouble


def test_a_truncate_counts_as_a_row_of_its_transaction():
    found = decoded(envelope("t", "positions", order=3))
    assert (found.tx, found.order) == ("779", 3)


@pytest.mark.parametrize(
    "sequence",
    [None, "", "[]", "[null]", '["1"]', '["a","b"]', '["1",null]', "1", "{}"],
)
def test_a_row_without_a_place_in_the_log_is_refused(sequence):
    message = envelope("c", "positions", after=LOT)
    message["source"] |= {"sequence": sequence, "lsn": None}
    found = decoded(message)
    assert found.refused == Refused(Trouble.NO_VERSION, "source.sequence")


def test_tombstones_and_heartbeats_are_ignored_with_a_name():
    assert decode(None, CALENDAR) == Decoded(ignored="tombstone")
    assert decoded({"ts_ms": 1_795_565_951_445}) == Decoded(ignored="heartbeat")


# --- markers ---


def test_an_end_tells_the_transaction_its_rows_and_its_place():
    assert decode_marker(to_bytes(marker("END", 779, 5_000, 12))) == Marker(
        "779", 12, 5_000
    )


def test_a_beginning_says_nothing():
    assert decode_marker(to_bytes(marker("BEGIN", 779, 5_000, None))) is None
    assert decode_marker(None) is None


@pytest.mark.parametrize(
    "value",
    [
        {"status": "END", "id": "779:1"},
        {"status": "MIDDLE", "id": "779:1", "event_count": 1},
        {"status": "END", "id": "779", "event_count": 1},
        {"status": "END", "id": "779:" + "9" * 5000, "event_count": 1},
        {"status": "END", "event_count": 1},
        [],
    ],
)
def test_a_marker_that_cannot_be_read_is_refused(value):
    assert isinstance(decode_marker(to_bytes(value)), Refused)


# --- fuzz: real messages, damaged ---

CORPUS = [
    *(envelope("c", table, after=row) for table, row in ROWS.items()),
    *(envelope("d", table, before=row) for table, row in ROWS.items()),
    envelope("u", "positions", before=LOT, after=LOT | {"id": 3}),
    snapshot_row("positions", LOT, 5_000),
    envelope("t", "positions"),
    marker("END", 779, 5_000, 12),
    marker("BEGIN", 779, 5_000, None),
    {"ts_ms": 1},
]
DAMAGE = [None, True, -1, 0, 2**31, 2**63, 2**70, 1.5, 1e308, "", "x", "\udcff", [], {}]
DAMAGE += ["9" * 5000, "NAN", '["' + "9" * 5000 + '","1"]', ["1"], {"table": "pets"}]
DAMAGE += ['["' + "9" * 25 + '","1"]', '["1","' + "9" * 25 + '"]', '["-1","-1"]']


def check_total(value: bytes) -> None:
    found = decode(value, CALENDAR, 7)
    assert found.changes or found.refused or found.ignored
    for change in found.changes:
        assert change.table in TABLES
        assert len(encode([change])) > 0
    if found.changes:
        # What is written is what was meant.
        assert tuple(decode_journal(encode(found.changes)).changes) == found.changes
    made = decode_marker(value)
    assert made is None or isinstance(made, Marker | Refused)


def paths(value: Any) -> list[tuple[str, ...]]:
    """Ways to every field of an object."""
    if not isinstance(value, dict):
        return []
    found = []
    for name, inner in value.items():
        found.append((name,))
        found += [(name, *rest) for rest in paths(inner)]
    return found


@pytest.mark.parametrize("message", CORPUS)
def test_no_field_of_any_value_makes_it_raise(message):
    for *way, last in paths(message):
        for damage in DAMAGE:
            spoilt = copy.deepcopy(message)
            target = spoilt
            for name in way:
                target = target[name]
            target[last] = damage
            check_total(json.dumps(spoilt).encode("utf-8", "surrogatepass"))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    message = copy.deepcopy(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(sorted(paths(message))))
        target = message
        for name in way:
            target = target[name]
        if draw(st.booleans()):
            target[last] = copy.deepcopy(draw(st.sampled_from(DAMAGE)))
        else:
            del target[last]
        if not message:
            break
    value = json.dumps(message).encode("utf-8", "surrogatepass")
    cut = draw(st.sampled_from([None, None, None, len(value) // 2, -1, 1]))
    return value[:cut]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(damaged())
@example(b"")
@example(b"null")
@example(b"[" * 200_000)
@example(b'{"after":' * 5_000)
@example(b"\xff\xfe")
@example(b'{"op":"\xff"}')
@example(b'{"op":"\\ud800","ts_ms":1}')
@example(to_bytes(envelope("c", "market_data_cache", after=PRICE)) + b"{}")
def test_no_damage_makes_it_raise_or_say_what_the_journal_cannot_hold(value):
    check_total(value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=64))
def test_no_bytes_make_it_raise(value):
    check_total(value)
