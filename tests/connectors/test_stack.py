"""What the stack is made of: jars, processes, the state directory. No service runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

import pytest

from connectors.stack import JarError, LockTimeoutError, jars, layout, versions
from connectors.stack.jars import KAFKA_SET, PLUGIN_SET, Jar, jar_path, read_lock
from connectors.stack.layout import MARKER, Layout, choose_ports, locked, read_ports
from connectors.stack.process import (
    Identity,
    find_marked,
    identify,
    is_alive,
    listens,
    read_identity,
    signal_process,
    spawn,
    stop,
    tail,
    write_identity,
)
from connectors.stack.services import drop_dead_lock, render_properties

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(60)",
]


# --- jars -------------------------------------------------------------------------


def test_the_lock_names_versions_and_digests_and_no_place() -> None:
    locked_jars = {jar.coordinate: jar for jar in read_lock()}
    assert f"org.apache.kafka:kafka_2.13:{versions.KAFKA}" in locked_jars
    debezium = f"io.debezium:debezium-connector-postgres:{versions.DEBEZIUM}"
    assert locked_jars[debezium].set == PLUGIN_SET
    assert all(len(jar.sha256) == 64 for jar in locked_jars.values())
    assert "://" not in jars.LOCK.read_text()


def test_no_artifact_is_locked_twice() -> None:
    artifacts = [(jar.group, jar.artifact) for jar in read_lock()]
    assert len(artifacts) == len(set(artifacts))


def test_all_of_kafka_is_of_one_version() -> None:
    found = {jar.version for jar in read_lock() if jar.group == "org.apache.kafka"}
    assert found == {versions.KAFKA}


@pytest.mark.parametrize("line", ["kafka g:a:v digest", "kafka g:a digest 12"])
def test_a_broken_lock_names_the_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "jars.lock"
    path.write_text(f"# head\n{line}\n")
    with pytest.raises(JarError, match=r"jars\.lock:2"):
        read_lock(path)


CONTENT = b"a jar's bytes"


@pytest.fixture
def jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jar:
    """A jar that the 'repository' has, and a cache without it."""
    monkeypatch.setenv("DELTAFOLIO_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "source.jar"
    source.write_bytes(CONTENT)
    serve(monkeypatch, CONTENT)
    return Jar(KAFKA_SET, "g", "a", "1", jars.digest(source), len(CONTENT))


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[Jar]:
    """Let every coordinate resolve to these bytes; return what was asked for."""
    asked: list[Jar] = []

    def resolve(jar: Jar, repo: Path) -> Path:
        asked.append(jar)
        repo.mkdir(parents=True, exist_ok=True)
        path = repo / "found.jar"
        path.write_bytes(content)
        return path

    monkeypatch.setattr(jars, "_resolve", resolve)
    return asked


def test_a_fetched_jar_is_cached(jar: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert jars.fetch([jar], said.append)[jar].read_bytes() == CONTENT
    assert said
    asked = serve(monkeypatch, b"not needed again")
    assert jars.fetch([jar])[jar].read_bytes() == CONTENT
    assert asked == []


def test_two_that_miss_a_jar_fetch_it_once(
    jar: Jar, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(monkeypatch, CONTENT)
    resolve = jars._resolve

    def slowly(jar: Jar, repo: Path) -> Path:
        time.sleep(0.3)  # the other one looks meanwhile
        return resolve(jar, repo)

    monkeypatch.setattr(jars, "_resolve", slowly)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: jars.fetch([jar])[jar], range(2)))
    assert found[0] == found[1]
    assert len(asked) == 1


def test_a_damaged_cached_jar_is_fetched_again(jar: Jar) -> None:
    path = jars.fetch([jar])[jar]
    path.write_bytes(CONTENT[:-1] + b"!")
    assert jars.fetch([jar])[jar].read_bytes() == CONTENT


def test_other_bytes_than_locked_are_refused(
    jar: Jar, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(monkeypatch, b"something else")
    with pytest.raises(JarError, match=f"g:a:1: digest .*, locked {jar.sha256}"):
        jars.fetch([jar])
    assert len(asked) == 3, "a half fetched file deserves another try"
    assert not jar_path(jar).exists()


def test_what_cannot_be_reached_is_a_jar_error(
    jar: Jar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(jar: Jar, repo: Path) -> Path:
        message = "no network"
        raise ConnectionError(message)

    monkeypatch.setattr(jars, "_resolve", away)
    with pytest.raises(JarError, match="ConnectionError: no network"):
        jars.fetch([jar])


# --- processes --------------------------------------------------------------------


@pytest.fixture
def sleeper(tmp_path: Path) -> Identity:
    return spawn(SLEEP, tmp_path / "log", tmp_path)


def test_a_process_is_known_by_pid_and_start(sleeper: Identity, tmp_path: Path) -> None:
    path = tmp_path / "pid.json"
    write_identity(path, sleeper)
    assert read_identity(path) == sleeper
    assert stop(sleeper, signal.SIGTERM, 5)
    assert read_identity(path) is None
    assert identify(sleeper.pid) is None, "not even its remains are left"


def test_a_pid_that_is_somebody_elses_now_is_never_signalled(
    sleeper: Identity, tmp_path: Path
) -> None:
    stale = Identity(sleeper.pid, sleeper.started - 1000)
    path = tmp_path / "pid.json"
    write_identity(path, stale)
    assert read_identity(path) is None
    signal_process(stale, signal.SIGKILL)
    assert stop(stale, signal.SIGKILL, 1)
    assert is_alive(sleeper)
    stop(sleeper, signal.SIGKILL, 5)


@pytest.mark.parametrize("text", ["", "{", '{"pid": "x"}', "[]"])
def test_a_damaged_pid_file_is_no_process(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pid.json"
    path.write_text(text)
    assert read_identity(path) is None


def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stubborn = spawn(STUBBORN, log, tmp_path)
    while "ready" not in tail(log):
        time.sleep(0.01)
    assert not stop(stubborn, signal.SIGTERM, 0.3)
    assert not is_alive(stubborn)


def test_a_process_without_pid_file_is_found_by_its_marker(tmp_path: Path) -> None:
    marker = f"-Dmark={tmp_path}"
    ours = spawn([*SLEEP, marker], tmp_path / "log", tmp_path)
    other = spawn([*SLEEP, f"{marker}2"], tmp_path / "log", tmp_path)
    # Not by start times: two readings of one may differ when the clock is set.
    assert [one.pid for one in find_marked(marker)] == [ours.pid]
    for identity in (ours, other):
        stop(identity, signal.SIGKILL, 5)


def test_an_answer_from_somebody_else_s_port_is_not_ours(sleeper: Identity) -> None:
    myself = identify(os.getpid())
    assert myself is not None
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert not listens(myself, port)
        server.listen()
        assert listens(myself, port)
        assert not listens(sleeper, port)
    stop(sleeper, signal.SIGKILL, 5)
    assert not listens(sleeper, port)


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {i}\n" for i in range(100_000)))
    assert tail(log, 2) == "line 99998\nline 99999"
    assert tail(tmp_path / "none") == ""


# --- the state directory ----------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Layout:
    place = Layout.at(tmp_path / "home")
    place.make()
    return place


def test_ports_are_remembered(home: Layout) -> None:
    assert read_ports(home) == {}
    ports = choose_ports(home, frozenset())
    assert len(set(ports.values())) == 4
    assert choose_ports(home, frozenset()) == ports == read_ports(home)


def test_a_port_that_was_taken_is_chosen_anew(home: Layout) -> None:
    before = choose_ports(home, frozenset())
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", before["broker"]))
        thief.listen()
        assert choose_ports(home, frozenset({"broker"})) == before, "it is ours"
        after = choose_ports(home, frozenset())
    assert after["broker"] != before["broker"]
    assert {**after, "broker": 0} == {**before, "broker": 0}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_leaves_no_empty_password(
    home: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int, mode: str) -> TextIO:
        os.close(number)
        return Path("/dev/full").open("w")

    with monkeypatch.context() as until_there_is_room:
        until_there_is_room.setattr(os, "fdopen", full)
        with pytest.raises(OSError, match="No space left"):
            home.password()
    assert not (home.home / "password").exists()
    assert home.password() == home.password() != ""


def test_an_empty_password_is_made_anew(home: Layout) -> None:
    (home.home / "password").touch(0o600)
    assert home.password() == home.password() != ""


def test_the_password_is_made_once_and_for_our_eyes_only(home: Layout) -> None:
    assert home.password() == home.password() != ""
    assert (home.home / "password").stat().st_mode & 0o077 == 0


def hold(home: Path, held: multiprocessing.synchronize.Event) -> None:
    with locked(Layout.at(home)):
        held.set()
        time.sleep(60)


def test_one_process_at_a_time_starts_or_stops(home: Layout) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=hold, args=(home.home, held))
    holder.start()
    assert held.wait(20)
    with pytest.raises(LockTimeoutError, match="held by another"), locked(home, 0.2):
        pass
    holder.kill()
    holder.join()
    with locked(home, 5):
        pass
    holder.close()


def test_a_purge_removes_a_directory_of_ours(home: Layout) -> None:
    (home.home / "postgres").mkdir()
    (home.home / "anything").write_text("")
    home.purge()
    assert list(home.home.iterdir()) == []


def test_a_purge_in_somebody_elses_directory_removes_what_is_ours(
    tmp_path: Path,
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    place = Layout.at(tmp_path)
    place.make()
    (tmp_path / "broker").mkdir()
    place.password()
    place.purge()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_purge_spares_another_stack_inside(home: Layout) -> None:
    inner = Layout.at(home.home / "demo")
    inner.make()
    home.purge()
    assert (inner.home / MARKER).exists()


def test_the_default_home_is_in_the_environment_or_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DELTAFOLIO_HOME", raising=False)
    assert layout.default_home() == Path(".deltafolio")
    monkeypatch.setenv("DELTAFOLIO_HOME", "/elsewhere")
    assert layout.default_home() == Path("/elsewhere")


# --- PostgreSQL's own lock, and users ---------------------------------------------


def test_a_dead_but_unburied_server_does_not_keep_its_lock(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    while _state(zombie.pid) != "Z":
        time.sleep(0.01)
    lock.write_text(f"{zombie.pid}\n{tmp_path}\n")
    drop_dead_lock(tmp_path)
    assert not lock.exists()
    zombie.wait()


def test_a_running_server_keeps_its_lock(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{tmp_path}\n")
    drop_dead_lock(tmp_path)
    assert lock.exists()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")


def as_nobody(path: Path, *command: str) -> str:
    drop = Path(layout.__file__).with_name("drop.py")
    number = str(NOBODY)
    return subprocess.run(  # noqa: S603 - a command of our own
        [sys.executable, "-I", "-S", drop, number, number, path, "--", *command],
        capture_output=True,
        check=True,
        text=True,
    ).stdout


def as_nobody_python(script: str, home: Path) -> str:
    """Run a script as an ordinary user who may only search, with our interpreter."""
    code = [sys.executable, "-c", script, str(home)]
    root = str(Path(layout.__file__).parents[2])
    environment = ["/usr/bin/env", f"PYTHONPATH={root}", f"HOME={home}", *code]
    return as_nobody(home / "absent", *environment)  # what is absent is out of reach


@needs_root
def test_root_becomes_an_ordinary_user_without_any_right(tmp_path: Path) -> None:
    status = as_nobody(Path("/"), "/bin/cat", "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(NOBODY)] * 4
    assert fields["Groups"].strip() == ""
    assert int(fields["CapEff"], 16) == int(fields["CapAmb"], 16) == 0


@needs_root
def test_a_closed_directory_is_passed_and_stays_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (inside := closed / "inside").mkdir()
    os.chown(inside, NOBODY, NOBODY)
    as_nobody(inside, "/bin/mkdir", str(inside / "made"))
    assert (inside / "made").stat().st_uid == NOBODY
    assert closed.stat().st_mode & 0o777 == 0o700
    with pytest.raises(subprocess.CalledProcessError):
        as_nobody(inside, "/bin/mkdir", str(closed / "not ours"))


@needs_root
def test_a_program_that_asks_first_is_let_through_too(tmp_path: Path) -> None:
    """As initdb does, which looks for the server beside itself by ``access``."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (inside := closed / "inside").mkdir(mode=0o755)
    ask = "import os, sys; sys.exit(not os.access(sys.argv[1], os.R_OK | os.X_OK))"
    as_nobody(inside, sys.executable, "-I", "-S", "-c", ask, str(inside))


def test_properties_are_a_line_each() -> None:
    assert render_properties({"a.b": "c=d", "e": ""}) == "a.b=c=d\ne=\n"
