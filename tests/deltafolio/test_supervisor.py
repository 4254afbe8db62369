"""The supervisor: what ends is started again, what is stopped stays stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.stack.process import identify
from deltafolio.supervisor import (
    AlreadyRunningError,
    Supervisor,
    process_names,
    read_status,
)

# Reads the supervisor's pipe and ends when it closes, as a process of ours does.
PIPED = "import sys; print('up', flush=True); sys.stdin.read()"
DEAF = (
    "import signal, time; signal.signal(15, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(60)"
)
FAILS = "import sys; sys.exit(3)"
SCRIPTS = {"piped": PIPED, "deaf": DEAF, "fails": FAILS}


def command(name: str) -> list[str]:
    return [sys.executable, "-c", SCRIPTS[name.split("-")[0]]]


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def build(*names: str) -> Supervisor:
        supervisor = Supervisor(tmp_path, names, command=command)
        supervisor.start()
        made.append(supervisor)
        return supervisor

    yield build
    for supervisor in made:
        supervisor.stop(1)


def log(home: Path, name: str) -> str:
    return (home / "logs" / f"{name}.log").read_text()


def test_what_is_killed_is_started_again(make: Callable[..., Supervisor]) -> None:
    supervisor = make("piped")
    first = supervisor.pid("piped")
    supervisor.kill("piped")
    wait_for(lambda: supervisor.pid("piped") not in (None, first))
    assert supervisor.exit_codes("piped") == [-signal.SIGKILL]


def test_what_keeps_ending_is_started_ever_more_slowly(
    make: Callable[..., Supervisor],
) -> None:
    supervisor = make("fails")
    began = time.monotonic()
    wait_for(lambda: len(supervisor.exit_codes("fails")) == 3)
    assert time.monotonic() - began > 0.2 + 0.4
    assert set(supervisor.exit_codes("fails")) == {3}


def test_a_disk_that_takes_nothing_does_not_end_the_watch(
    make: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = make("piped")
    log_file = tmp_path / "logs" / "piped.log"
    (tmp_path / "run" / "piped.part").mkdir()
    log_file.unlink()
    log_file.mkdir()
    supervisor.kill("piped")
    wait_for(lambda: supervisor.exit_codes("piped"))
    time.sleep(0.5)
    assert supervisor.pid("piped") is None
    log_file.rmdir()
    wait_for(lambda: supervisor.pid("piped"))


def test_one_that_is_removed_stays_down_and_can_be_added(
    make: Callable[..., Supervisor],
) -> None:
    supervisor = make("piped-1", "piped-2")
    supervisor.remove("piped-2")
    time.sleep(0.3)
    assert supervisor.names() == ["piped-1"]
    assert supervisor.pid("piped-2") is None
    supervisor.add("piped-2")
    assert supervisor.names() == ["piped-1", "piped-2"]
    assert supervisor.pid("piped-2")


def test_one_that_does_not_stop_is_killed_and_the_others_are_not(
    make: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = make("piped", "deaf")
    wait_for(lambda: "up" in log(tmp_path, "deaf") and "up" in log(tmp_path, "piped"))
    supervisor.stop(0.5)
    assert supervisor.exit_codes("deaf") == [-signal.SIGKILL]
    assert supervisor.exit_codes("piped") == [-signal.SIGTERM]
    assert read_status(tmp_path) == []


def test_a_stopped_process_can_be_ended(make: Callable[..., Supervisor]) -> None:
    supervisor = make("piped")
    supervisor.kill("piped", signal.SIGSTOP)
    supervisor.stop(5)
    assert supervisor.exit_codes("piped") == [-signal.SIGTERM]


def test_two_supervisors_do_not_share_a_directory(
    make: Callable[..., Supervisor], tmp_path: Path
) -> None:
    make("piped")
    with pytest.raises(AlreadyRunningError, match="running already"):
        Supervisor(tmp_path, ["piped"], command=command).start()


def test_status_tells_who_runs(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    supervisor = make("piped")
    [status] = read_status(tmp_path)
    assert (status.name, status.pid) == ("piped", supervisor.pid("piped"))
    assert status.started == pytest.approx(time.time(), abs=30)


def test_processes_end_with_their_supervisor_even_if_it_is_killed(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from deltafolio.supervisor import Supervisor\n"
        f"run = lambda name: [sys.executable, '-c', {PIPED!r}]\n"
        f"s = Supervisor(Path({str(tmp_path)!r}), ['one'], command=run)\n"
        "s.start(); print(s.pid('one'), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)  # noqa: S603
    assert parent.stdout
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: identify(child) is None)


def test_names_of_an_application() -> None:
    assert process_names(0) == ["capture", "intake", "sink"]
