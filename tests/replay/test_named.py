"""Cells that differ, by name."""

from __future__ import annotations

from pathlib import Path

from connectors.sink import SNAPSHOTS
from deltafolio.replay_screen import cells_named
from replay.differences import Record
from replay.named import Named, first_of, name, named
from replay.said import GONE, Difference, Word
from tests.replay.test_differences import run_of
from tests.replay.test_runs import settings

KEY = b"7|2022-01-03"
VALUE = b'{"portfolio":7,"revision":{"p":1,"m":1,"v":1},"nav":1.50,"lots":3,"hhi":null}'


def of(value: bytes | None) -> Record:
    return Record(b"12345678", (1, 1, 1), value)


def test_the_first_field_that_differs_is_named_and_the_others_counted() -> None:
    other = VALUE.replace(b"1.50", b"1.51").replace(b"null", b"0.5")
    found = named("results.snapshots", KEY, of(VALUE), of(other))
    assert (found.key, found.fields, found.path) == ("7|2022-01-03", 2, "nav")
    assert (str(found.ours), str(found.live)) == ("1.50", "1.51")


def test_where_from_a_record_is_makes_no_difference() -> None:
    other = VALUE.replace(b'"p":1', b'"p":9')
    assert named("t", KEY, of(VALUE), of(other)).path == "its digest"


def test_a_record_that_one_side_does_not_have() -> None:
    assert named("t", KEY, of(VALUE), None)[4:] == ("a record", "no record")
    assert named("t", KEY, of(None), of(VALUE))[4:] == ("no record", "a record")


async def test_the_first_by_partition_and_what_one_side_does_not_have() -> None:
    """Nothing is read for those: there is no broker."""
    word, gone = Word(b"12345678", (1, 1, 1), 2), Word(GONE, (1, 1, 1), 2)
    nearer = Word(b"12345678", (1, 1, 1), 0)
    differ = [
        Difference(b"1|2022-01-04", word, None),
        Difference(b"1|2022-01-03", gone, word),
        Difference(b"9|2022-01-03", nearer, None),
    ]
    assert [d.key for d in first_of(differ, 2)] == [b"9|2022-01-03", b"1|2022-01-03"]
    told = await name(settings(Path()), settings(Path()), SNAPSHOTS, differ)
    assert [(one.key, one.ours, one.live) for one in told] == [
        ("1|2022-01-04", "a record", "no record"),
        ("1|2022-01-03", "no record", "a record"),
        ("9|2022-01-03", "a record", "no record"),
    ]


def test_what_is_shown() -> None:
    run = run_of()
    run.summary.differ = 4
    some = [
        Named("results.snapshots", "7|2022-01-03", 2, "nav", 1.5, None),
        Named("results.risk", "7|2022-01-03", 0, "", "a record", "no record"),
        Named("results.risk", "7|2022-01-04", 0, "its digest", None, None),
    ]
    assert list(cells_named(run, some)) == [
        "  differs   results.snapshots 7|2022-01-03 nav (and 1 more): 1.5, live has "
        "null",
        "  differs   results.risk 7|2022-01-03 a record, live has no record",
        "  differs   results.risk 7|2022-01-04 its digest",
        "            1 more",
    ]
