"""Runs of a replay beside a live worker, on the real broker, by the command line."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from analytics.results import MONEY_FAMILIES
from connectors.difference_models import MetricDifference
from connectors.kafka import places_of, read_to_end, started_admin, started_consumer
from connectors.runs import DONE, REPLAY, RunRecord, read_run
from connectors.settings import Settings, TopicSettings
from connectors.stack import StackInfo
from connectors.topics import topics_of
from replay.branch import is_of
from replay.edited import load_changes
from replay.feed import survey
from replay.run import Replay
from replay.said import GONE, take
from replay.state import Phase, Runs
from streams.record import DIGEST_HEADER, REVISION_HEADER
from tests.streams.journal_world import JournalWorld, open_journal_world

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SUMMARY = re.compile(r"derived +(\d+) records: (\d+) as live (\d+) differ")


@pytest.fixture
async def world(stack: StackInfo, tmp_path: Path) -> AsyncIterator[JournalWorld]:
    """A live worker that has published everything and stands still."""
    async with open_journal_world(stack.bootstrap, tmp_path) as world:
        await world.come_to_rest()
        yield world


def start(world: JournalWorld, *words: str) -> subprocess.Popen[str]:
    home = str(world.settings.home)
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "deltafolio", "--home", home, "replay", *words],
        env=os.environ | {"COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def call(world: JournalWorld, *words: str, code: int = 0) -> str:
    """Run a command to its end; what it said."""
    process = start(world, *words)
    said, _ = await asyncio.to_thread(process.communicate, timeout=120)
    assert process.returncode == code, said + logs(world)
    return said


def logs(world: JournalWorld) -> str:
    files = sorted((world.settings.home / "replay").glob("*/logs/*.log"))
    return "".join(f"\n--- {f.name}\n{f.read_text()[-2000:]}" for f in files)


def dates(world: JournalWorld, first: int, last: int) -> list[str]:
    iso = [world.calendar.iso(world.calendar.forward(d)) for d in world._days]
    return ["--from", iso[first], "--to", iso[last]]


def counts(said: str) -> tuple[int, ...]:
    found = SUMMARY.search(said.replace(",", ""))
    assert found, said
    return tuple(map(int, found.groups()))


async def live_words(world: JournalWorld) -> dict[bytes, bytes]:
    return await words_in(world.settings)


async def words_in(settings: Settings) -> dict[bytes, bytes]:
    words: dict = {}
    async for records in read_to_end(settings, settings.topics.snapshots):
        take(words, records, lambda key: True)
    return {key: word.digest for key, word in words.items()}


async def test_a_run_says_what_live_says_and_leaves_nothing_behind(world):
    said = await call(world, "run", *dates(world, 2, 7), "--workers", "2")
    # 12 portfolios, six sessions, two families; some begin later.
    derived, unchanged, differ = counts(said)
    assert 0 < derived == unchanged
    assert differ == 0
    assert re.search(r"derive \d+\.\d s  encode \d+\.\d s  publish \d+\.\d s", said)
    assert "0 refused" in said
    told = await newest_run(world)
    assert (told.kind, told.status) == (REPLAY, DONE)
    assert told.counts["derived"] == derived
    assert (
        min(told.seconds[name] for name in ("derive", "worker_fold", "total", "cpu"))
        > 0
    )

    name = Runs(world.settings.home).all()[0].name
    assert "done" in await call(world, "list")
    await call(world, "clean")
    async with started_admin(world.settings) as admin:
        left = [t for t in await admin.list_topics() if is_of(name, t)]
        groups = [group for group, _ in await admin.list_consumer_groups()]
    assert left == []
    assert f"replay.{name}" not in groups
    assert Runs(world.settings.home).all() == []


async def newest_run(world: JournalWorld) -> RunRecord:
    found = []
    async for records in read_to_end(world.settings, world.settings.topics.runs):
        found += [read_run(record.value) for record in records]
    return max(found, key=lambda run: run.updated)


async def test_what_live_says_wrong_is_found_and_published_by_revision(world):
    """A number of live is not what the journal says: its revision is an old one."""
    truth = await live_words(world)
    session = dates(world, 4, 4)[1].encode()
    key = min(key for key in truth if key.endswith(session))
    topic = world.settings.topics.snapshots
    async for records in read_to_end(world.settings, topic):
        for record in records:
            if record.key == key:
                victim = record
    p, m, v = map(int, dict(victim.headers)[REVISION_HEADER].split(b","))
    await world._producer.send_and_wait(
        topic,
        victim.value.replace(b'"lots":', b'"lots":1'),
        key=key,
        partition=victim.partition,
        headers=[
            (DIGEST_HEADER, b"planted!"),
            (REVISION_HEADER, b"%d,%d,%d" % (p, m, v)),
        ],
    )
    assert (await live_words(world))[key] == b"planted!"
    await world.tick()  # so that a run's revision is higher
    said = await call(world, "run", *dates(world, 4, 4))
    assert counts(said)[2] == 1
    assert (await live_words(world))[key] == b"planted!"
    await call(world, "run", *dates(world, 4, 4), "--publish")
    assert (await live_words(world))[key] == truth[key]


@pytest.mark.faults
async def test_a_record_of_the_same_revision_and_other_content_differs(world):
    """It is named, and not published: its revision is the run's very own."""
    _, prefix = await survey(world.settings, None)
    truth = await live_words(world)
    key = min(k for k in truth if k.endswith(dates(world, 4, 4)[1].encode()))
    topic = world.settings.topics.snapshots
    async for records in read_to_end(world.settings, topic):
        for record in records:
            if record.key == key:
                victim = record
    revision = b"%d,%d,1" % (prefix.portfolios[victim.partition], prefix.market)
    await world._producer.send_and_wait(
        topic,
        victim.value.replace(b'"lots":', b'"lots":1'),
        key=key,
        partition=victim.partition,
        headers=[(DIGEST_HEADER, b"planted!"), (REVISION_HEADER, revision)],
    )
    said = await call(world, "run", *dates(world, 4, 4), "--publish")
    assert counts(said)[2] == 1
    assert "of 0 live has newer ones" in said
    assert f"{topic} {key.decode()} lots: " in said
    assert "1 of live's have the revision of this run" in said
    assert (await live_words(world))[key] == b"planted!"


async def test_killed_tools_and_workers_are_gone_on_with(world):
    await call(world, "run", *dates(world, 1, 8))
    undisturbed = Runs(world.settings.home).all()[0]

    tool = start(world, "run", *dates(world, 1, 8))
    runs = Runs(world.settings.home)
    await until(lambda: [r for r in runs.all() if r.phase is Phase.DERIVE])
    tool.kill()
    tool.communicate()
    name = next(r.name for r in runs.all() if r.phase is Phase.DERIVE)
    # Its workers see that it has gone, and end by themselves.
    await until(lambda: not list((runs.place(name) / "run").glob("worker-*.json")))

    again = start(world, "resume", name)
    pid = await until(lambda: worker_pid(runs.place(name)))
    os.kill(pid, signal.SIGKILL)
    said, _ = await asyncio.to_thread(again.communicate, timeout=120)
    assert again.returncode == 0, said + logs(world)
    done = runs.load(name)
    assert done.summary.derived == undisturbed.summary.derived
    assert done.summary.unchanged == done.summary.derived

    over = await call(world, "resume", name, code=2)
    assert "is done" in over


@pytest.mark.faults
async def test_a_pause_repeats_nothing_and_a_full_disk_is_said(world):
    """Paused in the middle; then no room for run.json; then to its end."""
    runs = Runs(world.settings.home)
    before = await live_words(world)
    slow = start(world, "run", *dates(world, 1, 8), "--rate", "10")
    (run,) = await until(lambda: [r for r in runs.all() if r.phase is Phase.DERIVE])
    topic = f"replay.{run.name}.{TopicSettings().snapshots}"
    while not await count(world, topic):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.05)
    runs.request(run.name, "pause")  # as the command does, and sooner
    await asyncio.to_thread(slow.communicate, timeout=60)
    assert slow.returncode == 3
    done = await count(world, topic)

    full = runs.place(run.name) / "run.json.part"
    full.symlink_to("/dev/full")
    said = await call(world, "resume", run.name, code=2)
    assert "No space left on device" in said
    assert "Traceback" not in said
    full.unlink()

    await call(world, "resume", run.name)
    found = runs.load(run.name).summary
    assert 0 < found.derived == found.unchanged
    keys = [r.key async for rs in read_to_end(world.settings, topic) for r in rs]
    assert 0 < done < len(keys) == len(set(keys))
    fed = f"replay.{run.name}.{TopicSettings().market}"
    assert await count(world, fed) == run.plan.prefix.market
    assert await live_words(world) == before


async def count(world: JournalWorld, topic: str) -> int:
    records = read_to_end(world.settings, topic)
    return sum([len(some) async for some in records])


# --- as of --------------------------------------------------------------------------


@pytest.mark.faults
async def test_as_of_every_commit_it_says_what_was_live_then(stack, tmp_path):
    """A random history; what is live is kept after each commit, while it runs."""
    money = {"families": MONEY_FAMILIES}
    async with open_journal_world(stack.bootstrap, tmp_path, seed=5, **money) as world:
        await world.load(portfolios=6, sessions=8, symbols=6)
        await world.start_worker().ready()
        moments: dict[int, dict[bytes, bytes]] = {}
        for _ in range(6):
            assert (await world.settle()).none()
            facts, _ = await survey(world.settings, None)
            moments[facts.newest] = there(await live_words(world))
            await world.disturb()
        assert (await world.settle()).none()
        await world.stop_workers()
        assert len(moments) == 6
        differ = []
        for ts, words in moments.items():
            at = datetime.fromtimestamp(ts / 1e6, UTC).isoformat()
            said = await call(world, "run", *dates(world, 0, 7), "--as-of", at)
            run = Runs(world.settings.home).all()[-1]
            branch = Replay(world.settings, None, run, None, None).branch
            assert there(await words_in(branch)) == words, at
            differ.append(run.summary.differ)
            if run.summary.differ:
                assert "changes since then touch what differs" in said
    assert differ[0] > 0


# --- what if ------------------------------------------------------------------------

EDITS = """edits:
  - drop: {lot: 1}
  - resize: {portfolio: 2, by: 50%%}
  - price: {symbol: S3, date: %s, close: 42.5}
  - shock: {factor: market, from: %s, by: -10%%}
"""


async def live_ends(world: JournalWorld) -> dict[TopicPartition, int]:
    """Where every topic of the live system ends, but the list of runs."""
    names = {topic.name for topic in topics_of(world.settings)}
    names.remove(world.settings.topics.runs)
    async with started_admin(world.settings) as admin:
        places = await places_of(admin, names)
    async with started_consumer(world.settings) as consumer:
        return dict(await consumer.end_offsets(places))


def there(words: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Words without retractions."""
    return {key: digest for key, digest in words.items() if digest != GONE}


async def values_of(world: JournalWorld, topic: str) -> dict[bytes, dict]:
    found = {}
    async for records in read_to_end(world.settings, topic):
        found |= {r.key: json.loads(r.value, parse_float=Decimal) for r in records}
    return found


async def test_what_if_says_what_live_says_once_the_edits_are_committed(
    world, tmp_path
):
    """And nothing of live moves meanwhile."""
    day, last = dates(world, 3, 9)[1::2]
    edits = tmp_path / "edits.yaml"
    edits.write_text(EDITS % (day, dates(world, 6, 6)[1]))
    before, truth = await live_ends(world), await live_words(world)
    said = await call(world, "what-if", "--edits", str(edits), "--json")
    told = json.loads(said[said.index('{"run"') :])
    assert await live_ends(world) == before
    run = Runs(world.settings.home).load(told["run"])
    assert run.plan.ask.last.isoformat() == last
    assert 0 < told["differ"] < told["cells"]

    # The topic holds what was said, each metric's every session.
    records = await values_of(world, told["topic"])
    assert len(records) == len(told["differences"]) > 0
    for line in told["differences"]:
        record = records[f"{line['portfolio']}|{line['metric']}".encode()]
        MetricDifference.model_validate(record)
        sizes = [abs(d or 0) for d in record["difference"]]
        assert max(sizes) == abs(Decimal(str(line["largest"]["difference"] or 0)))

    changes = load_changes(Runs(world.settings.home).place(run.name))
    for change in changes:
        if change.portfolio is None:
            await world._market([change])
        else:
            await world._write(change.portfolio, [change])
    await world.start_worker().ready()
    assert (await world.settle()).none()
    branch = Replay(world.settings, None, run, None, None).branch
    committed = await live_words(world)
    assert there(await words_in(branch)) == there(committed)
    moved = {key.decode() for key in committed if committed[key] != truth.get(key)}
    differ = {
        f"{record['portfolio']}|{session}"
        for record in records.values()
        for session in record["session"]
    }
    assert len(differ) == told["differ"]
    assert differ <= moved, "of the others something moved that is no number"


async def until(found, limit: float = 40.0):
    end = time.monotonic() + limit
    while not (it := found()):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    return it


def worker_pid(place: Path) -> int | None:
    for path in (place / "run").glob("worker-1.pid"):
        found = re.search(rb'"pid":(\d+)', path.read_bytes())
        return int(found[1]) if found else None
    return None


async def topics_there(world: JournalWorld) -> set[str]:
    async with started_admin(world.settings) as admin:
        return set(await admin.list_topics())


async def test_what_cannot_be_had_is_said_and_nothing_is_made(world, tmp_path):
    first, last = dates(world, 0, 9)[1::2]
    before = await topics_there(world), await live_ends(world)
    refused = {
        ("--from", "2001-01-02", "--to", last): "first price",
        ("--from", first, "--to", "2030-01-02"): "future",
        ("--from", last, "--to", first): "before it begins",
        ("--from", first, "--to", last, "--portfolios", "3,999"): "journal: 999",
        ("--from", first, "--to", "tomorrow"): "tomorrow",
    }
    for words, why in refused.items():
        assert why in await call(world, "run", "--publish", *words, code=1)
    edits = tmp_path / "edits.yaml"
    edits.write_text("edits:\n  - drop: {lot: 1}\n")
    what_if = "what-if", "--edits", str(edits)
    assert "future" in await call(world, *what_if, "--to", "2030-01-02", code=1)
    said = await call(world, *what_if, "--publish", code=2)
    assert "No such option: --publish" in said
    edits.write_text("edits:\n  - drop: {lot: 1}\n  - drop: {lot: 99999}\n")
    said = await call(world, *what_if, code=2)
    assert "edits.yaml, line 3, edits[1].drop: no such lot" in said
    assert Runs(world.settings.home).all() == []
    assert (await topics_there(world), await live_ends(world)) == before
