"""What runs leave behind is listed and removed, also of those that never began."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from typer.testing import CliRunner

from deltafolio.cli import app
from replay import clean
from replay.errors import RunError
from replay.state import FILE, Runs
from tests.replay.test_runs import PLAN


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Brokers that have one topic of each run ``broken``; what is deleted of them."""
    deleted: list[str] = []

    async def topics() -> list[str]:
        return ["replay.broken.journal", "journal"]

    async def delete(names: list[str]) -> SimpleNamespace:
        deleted.extend(names)
        return SimpleNamespace(topic_error_codes=[])

    async def delete_group(_settings: object, group: str) -> None:
        deleted.append(group)

    @asynccontextmanager
    async def admin(_settings: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(list_topics=topics, delete_topics=delete)

    monkeypatch.setattr(clean, "started_admin", admin)
    monkeypatch.setattr(clean, "delete_group", delete_group)
    return deleted


def replay(home: Path, *words: str, code: int = 0) -> str:
    where = {"DELTAFOLIO_HOME": str(home), "COLUMNS": "200"}
    done: Result = CliRunner().invoke(app, ["replay", *words], env=where)
    assert done.exit_code == code, done.output
    return done.output


def broken(home: Path) -> Path:
    """Make a run whose first file found no room."""
    place = Runs(home).place("broken")
    place.mkdir(parents=True)
    (place / f"{FILE}.part").touch()
    return place


def gone() -> int:
    """Pid of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_a_run_without_its_file_is_listed_and_removed_by_its_name(
    tmp_path: Path, brokers: list[str]
) -> None:
    place = broken(tmp_path)
    assert "broken  broken, nothing can be read" in replay(tmp_path, "list")
    said = replay(tmp_path, "status", "broken", code=2)
    assert f"it has no {FILE}" in said
    replay(tmp_path, "clean")
    assert place.is_dir(), "not by a clean of all: it may be about to be written"
    replay(tmp_path, "clean", "broken", "--dry-run")
    assert place.is_dir()
    replay(tmp_path, "clean", "broken")
    assert not place.exists()
    assert brokers == ["replay.broken.journal", "replay.broken"]


def test_a_run_whose_file_cannot_be_read_is_broken_too(
    tmp_path: Path, brokers: list[str]
) -> None:
    place = broken(tmp_path)
    (place / FILE).write_text("{")
    assert Runs(tmp_path).broken() == ["broken"]
    replay(tmp_path, "clean", "broken")
    assert not place.exists()
    assert brokers


@pytest.mark.parametrize("name", ["nosuch", "..", ".", "source-1.part"])
def test_a_run_that_is_not_there_is_said_to_be_none(
    tmp_path: Path, brokers: list[str], name: str
) -> None:
    run = Runs(tmp_path).create(PLAN, 0.0)
    (tmp_path / "replay" / "source-1.part").touch()
    for words in (("status", name), ("clean", name), ("clean", name, "--dry-run")):
        said = replay(tmp_path, *words, code=2)
        assert f"no run {name!r} here; there are: {run.name}" in said
    assert Runs(tmp_path).all() == [run]
    assert not brokers


async def test_nothing_is_made_of_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run 'nosuch' here; there are: none"):
        await clean.remove(SimpleNamespace(), Runs(tmp_path), "nosuch")
    assert Runs(tmp_path).broken() == []


def test_rows_read_for_a_run_that_was_never_made_go_with_their_process(
    tmp_path: Path,
) -> None:
    runs = Runs(tmp_path)
    mine, other = runs.copy(), tmp_path / "replay" / "source-x.part"
    left = mine.with_name(f"source-{gone()}.part")
    left.parent.mkdir()
    for path in (mine, left, other):
        path.touch()
    assert f"{left.name}  rows of a run" in replay(tmp_path, "list")
    assert f"{left} (kept)" in replay(tmp_path, "clean", "--dry-run")
    assert left.exists()
    assert replay(tmp_path, "clean") == f"{left} removed\n"
    assert sorted(left.parent.iterdir()) == sorted([mine, other])
    assert replay(tmp_path, "list") == ""


def test_who_has_the_pid_of_a_copys_process_now_does_not_keep_it(
    tmp_path: Path,
) -> None:
    runs = Runs(tmp_path)
    mine = runs.copy()
    mine.parent.mkdir()
    mine.touch()
    assert runs.left_copies() == []
    os.utime(mine, (1e9, 1e9))  # before this process began
    assert runs.left_copies() == [mine]
