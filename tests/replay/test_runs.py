"""Runs on disk, their names, and what they say beside live."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from connectors.settings import KafkaSettings, Settings, TopicSettings
from connectors.sink import SNAPSHOTS, SYMBOLS
from connectors.sink_records import Reader
from connectors.topics import topics_of, worker_topics
from deltafolio.supervisor import clean_environment
from replay.ask import Ask, Plan
from replay.branch import branch, is_of, save
from replay.errors import RunError
from replay.logs import Prefix
from replay.publish import is_stuck, retract, value_of
from replay.said import GONE, Difference, Word, compare, take, wanted_by
from replay.state import FILE, Phase, Runs

ASK = Ask(date(2022, 1, 3), date(2022, 1, 5), (7, 12))
PLAN = Plan(ASK, Prefix(5, (1, 2)), 9, 2, 3, 1, 4)
SECRET = "of-the-broker"  # noqa: S105 - a test's


def settings(home: Path) -> Settings:
    kafka = KafkaSettings(sasl_password=SecretStr(SECRET))
    return Settings(home=home, kafka=kafka, topics=TopicSettings(partitions=2))


def test_nothing_of_a_run_has_a_name_of_live(tmp_path: Path) -> None:
    live = settings(tmp_path)
    of_run = branch(live, "r1", ASK)
    theirs = {topic.name for topic in topics_of(live)}
    ours = {topic.name for topic in worker_topics(of_run)}
    assert not theirs & ours
    assert all(is_of("r1", name) for name in ours | {of_run.worker.app_id})
    assert of_run.worker.app_id != live.worker.app_id
    assert of_run.topics.partitions == 2
    assert of_run.home == tmp_path / "replay" / "r1"


def test_workers_get_the_runs_settings_and_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_run = branch(settings(tmp_path), "r1", ASK)
    save(of_run)
    file = of_run.home / "settings.json"
    assert file.stat().st_mode & 0o077 == 0
    assert "postgres" not in json.loads(file.read_text())
    read = Settings.load(of_run.home)
    assert read.topics == of_run.topics
    assert read.worker == of_run.worker
    assert read.kafka.sasl_password == SecretStr(SECRET)
    monkeypatch.setenv("DELTAFOLIO_TOPICS__SNAPSHOTS", "results.snapshots")
    monkeypatch.setenv("DELTAFOLIO_LOG", "DEBUG")
    names = {name for name in clean_environment() if name.startswith("DELTAFOLIO_")}
    assert names == {"DELTAFOLIO_LOG"}


def test_a_run_is_written_whole_and_read_again(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    run = runs.create(PLAN, 1_669_900_000.0)
    run.phase, run.summary.seconds = Phase.DERIVE, {"feed": 1.5}
    runs.save(run)
    assert runs.load(run.name) == run
    assert runs.all() == [run]
    assert [p.name for p in runs.place(run.name).iterdir()] == [FILE]
    with pytest.raises(RunError, match=run.name):
        runs.load("other")


def test_one_at_a_time_works_on_a_run(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    name = runs.create(PLAN, 0.0).name
    runs.request(name, "pause")
    with runs.hold(name):
        assert runs.requested(name) == ""  # asked of who worked before
        assert runs.is_held(name)
        with pytest.raises(RunError, match="already"), runs.hold(name):
            pass
    assert not runs.is_held(name)


# --- comparing ----------------------------------------------------------------------


def word(digest: bytes, p: int, m: int = 1) -> Word:
    return Word(digest, (p, m, 1), 0)


def reached(partition: int) -> tuple[int, int, int]:
    return (4, 4, 1)


@pytest.mark.parametrize(
    ("ours", "live", "prefix", "expected"),
    [
        (word(b"a", 4), word(b"a", 2), reached, (1, 1, 0, 0)),
        (word(b"a", 4), word(b"a", 9), reached, (1, 1, 0, 0)),
        (word(b"a", 4), word(b"b", 2), reached, (1, 0, 0, 1)),
        # The same revision and other content, or one between the run's and its end.
        (word(b"a", 4), word(b"b", 4), reached, (1, 0, 0, 1)),
        (word(b"a", 3, 1), word(b"b", 3, 4), reached, (1, 0, 0, 1)),
        (word(b"a", 4), word(b"b", 4, 4), reached, (1, 0, 0, 1)),
        (word(b"a", 4), word(b"b", 5), reached, (1, 0, 1, 0)),
        (word(b"a", 4), word(b"b", 2, 5), reached, (1, 0, 1, 0)),
        (word(b"a", 4), word(b"b", 5), None, (1, 0, 0, 1)),
        (word(b"a", 4), None, reached, (1, 0, 0, 1)),
        (None, word(b"b", 2), reached, (0, 0, 0, 1)),
        (None, word(b"b", 5), reached, (0, 0, 1, 0)),
        (None, word(GONE, 2), reached, (0, 0, 0, 0)),
        (word(GONE, 4), None, reached, (0, 0, 0, 0)),
    ],
)
def test_a_cell_of_a_run_beside_live(
    ours: Word | None,
    live: Word | None,
    prefix: Callable[[int], tuple[int, int, int]] | None,
    expected: tuple[int, int, int, int],
) -> None:
    key = b"7|2022-01-03"
    mine, theirs = ({key: w} if w else {} for w in (ours, live))
    found = compare(mine, theirs, prefix)
    counts = found.derived, found.unchanged, found.newer, len(found.differ)
    assert counts == expected


@pytest.mark.parametrize(
    ("ours", "live", "stuck", "revision"),
    [
        ((4, 1, 1), (2, 1, 1), False, (4, 1, 1)),
        ((3, 1, 1), (3, 1, 1), False, (4, 4, 1)),
        ((3, 1, 1), (3, 4, 1), False, (4, 4, 1)),
        ((4, 4, 1), (4, 4, 1), True, None),
    ],
)
def test_a_record_takes_the_place_of_lives_by_a_true_revision(
    ours: tuple, live: tuple, stuck: bool, revision: tuple | None
) -> None:
    differ = Difference(b"7|2022-01-03", Word(b"a", ours, 0), Word(b"b", live, 0))
    assert is_stuck(differ, reached) is stuck
    if revision is None:
        return
    spelled = '{"portfolio":7,"revision":{"p":%d,"m":%d,"v":%d},"nav":1}'
    made = SimpleNamespace(
        value=(spelled % ours).encode(),
        headers=[("d", b"a"), ("r", b"%d,%d,%d" % ours)],
    )
    value, headers = value_of(made, differ, reached(0))
    assert value == (spelled % revision).encode()
    assert dict(headers) == {"d": b"a", "r": b"%d,%d,%d" % revision}


def record(key: bytes, digest: bytes, revision: bytes) -> SimpleNamespace:
    headers = [("d", digest), ("r", revision)]
    return SimpleNamespace(key=key, headers=headers, partition=1, value=b"", offset=0)


def test_the_highest_revision_of_a_wanted_key_counts() -> None:
    wanted = wanted_by(ASK, SNAPSHOTS)
    words: dict[bytes, Word] = {}
    take(
        words,
        [
            record(b"7|2022-01-03", b"old", b"1,1,1"),
            record(b"7|2022-01-03", b"new", b"2,1,1"),
            record(b"7|2022-01-03", b"late", b"1,9,1"),
            record(b"7|2022-01-06", b"x", b"1,1,1"),
            record(b"8|2022-01-04", b"x", b"1,1,1"),
            record(b"strange", b"x", b"1,1,1"),
        ],
        wanted,
    )
    assert words == {b"7|2022-01-03": Word(b"new", (2, 1, 1), 1)}
    assert wanted_by(ASK, SYMBOLS)(b"7|A|2022-01-04"), "of symbols all are wanted"


@pytest.mark.parametrize(
    ("family", "owner"), [(SNAPSHOTS, 7), (SYMBOLS, "A|B")], ids=["portfolio", "symbol"]
)
def test_a_retraction_is_one_that_the_sink_reads(family: object, owner: object) -> None:
    key = f"{owner}|2022-01-03".encode()
    value, headers = retract(family, key, (3, 2, 1))
    made = SimpleNamespace(key=key, value=value, headers=headers, partition=0, offset=0)
    cell = Reader(family).read(made)
    assert (cell.owner, str(cell.session)) == (owner, "2022-01-03")
    assert cell.revision == (3, 2, 1)
    assert cell.content is None
    assert dict(headers)["r"] == b"3,2,1"
