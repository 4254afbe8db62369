"""The command line: each command says what it does and gives an example."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from connectors.settings import Settings
from connectors.stack.process import identify
from deltafolio.cli import app, main
from deltafolio.run_cmds import until_stopped
from deltafolio.supervisor import read_status

ROOT = Path(__file__).parents[2]


def commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every command and group under one, by its words."""
    yield words
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*words, name))


TREE: Any = typer.main.get_command(app)
ALL = list(commands(TREE, ()))


def find(words: Iterable[str]) -> Any:
    command = TREE
    for word in words:
        command = command.commands[word]
    return command


def example(words: tuple[str, ...]) -> list[str]:
    """The words of a command's example, without the first."""
    _, _, text = find(words).help.partition("Example:")
    return shlex.split(text.split("\n\n")[0])[1:]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_says_what_it_is_and_has_an_example(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "Example: deltafolio" in done.output


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_example_is_one_that_parses(words: tuple[str, ...]) -> None:
    args, command, context = example(words), TREE, None
    assert tuple(args[: len(words)]) == words
    while args and args[0] in getattr(command, "commands", {}):
        context = command.make_context("deltafolio", [args[0], "--x"], parent=context)
        command = command.commands[args.pop(0)]
    command.make_context("deltafolio", args, parent=context)


def test_it_has_the_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for words in ALL:
        if words:
            assert f"deltafolio {' '.join(words)}" in readme, words


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.output)


def test_help_needs_none_of_the_heavy_parts() -> None:
    code = (
        "import sys, deltafolio.cli\n"
        "print([m for m in ('faust', 'pandas', 'exchange_calendars', 'statsmodels') "
        "if m in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_a_process_stops_at_a_signal(tmp_path: Path) -> None:
    async def main(_: Settings, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 10)

    await until_stopped(main, Settings(home=tmp_path))


def test_a_process_that_fails_says_why_and_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "async def main(settings, stop):\n    raise ValueError('no such luck')\n"
    )
    code = (
        "import typer; from deltafolio.run_cmds import serve\n"
        "typer.run(lambda: serve('broken'))"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "broken failed" in done.stderr
    assert "no such luck" in done.stderr


def test_run_all_ends_with_all_its_processes_at_a_signal(tmp_path: Path) -> None:
    nowhere = {
        "DELTAFOLIO_HOME": str(tmp_path),
        "DELTAFOLIO_POSTGRES__DSN": "postgresql://nobody@127.0.0.1:1/none",
        "DELTAFOLIO_KAFKA__BOOTSTRAP": "127.0.0.1:1",
        "DELTAFOLIO_CONNECT__URL": "http://127.0.0.1:1",
    }
    running = subprocess.Popen(
        [sys.executable, "-m", "deltafolio", "run", "all", "--workers", "2"],
        env=os.environ | nowhere,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout
    assert "running capture, intake, worker-1, worker-2, sink" in (
        running.stdout.readline()
    )
    pids = [one.pid for one in read_status(tmp_path) if one.pid]
    assert pids
    running.send_signal(signal.SIGTERM)
    # Ten seconds are promised; the rest is for a machine that does other things too.
    running.communicate(timeout=30)
    assert running.returncode == 0
    assert [pid for pid in pids if identify(pid)] == []
    assert read_status(tmp_path) == []


RANGE = ["--from", "2022-01-03", "--to", "2022-01-04"]


@pytest.mark.parametrize("words", [["status"], ["check"], ["replay", "run", *RANGE]])
def test_settings_that_cannot_be_are_told_without_a_trace(monkeypatch, capsys, words):
    monkeypatch.setenv("DELTAFOLIO_KAFKA__REPLICATION", "many")
    monkeypatch.setattr("sys.argv", ["deltafolio", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("settings: ")
    assert "kafka.replication" in said
    assert "many" not in said


def test_a_range_of_ids_that_ends_before_it_begins_is_no_success():
    done = CliRunner().invoke(app, ["check", "--portfolios", "9-5"])
    assert done.exit_code == 2
    assert "'9-5' is a range that ends before it begins" in done.output
    assert "ValueError" not in done.output


EDITS = str(Path(__file__).parents[2] / "sample" / "edits.yaml")


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (("run", "--from", "abc", "--to", "2022-12-28"), 1),
        (("run", "--from", "2022-12-01", "--to", "abc"), 1),
        (("verify", "--from", "abc"), 2),
        (("what-if", "--edits", EDITS, "--to", "abc"), 1),
    ],
)
def test_what_is_no_date_is_said_in_words(words, exit_code):
    done = CliRunner().invoke(app, ["replay", *words])
    assert done.exit_code == exit_code
    assert "'abc' is no date (YYYY-MM-DD)" in done.output


def test_what_is_no_instant_is_said_in_words():
    words = ("--from", "2022-12-01", "--to", "2022-12-28", "--as-of", "abc")
    done = CliRunner().invoke(app, ["replay", "run", *words])
    assert done.exit_code == 1
    assert "'abc' is no instant (YYYY-MM-DDTHH:MM" in done.output
