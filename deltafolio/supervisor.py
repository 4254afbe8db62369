"""Keeps the application's processes running: a small supervisor.

Each process is ``python -m deltafolio run NAME`` with its log in the state directory
(``logs/NAME.log``) and its identity beside it (``run/NAME.pid``). One that ends is
started again, at once at first and more slowly if it keeps ending. A process of ours
holds the reading end of a pipe from us: if the supervisor is killed, the pipe closes
and the process stops in good order, so that none is left over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from connectors.stack.process import (
    identify,
    read_identity,
    write_identity,
)
from deltafolio.supervised import PROCESS_NAME, SUPERVISED

STOP_SECONDS = 8.0
"""How long a process may take to stop before it is killed; all stop at once."""

POLL_SECONDS = 0.05
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
HEALTHY_SECONDS = 30.0
"""A process that ran this long is restarted at once when it ends."""

LOG_BYTES = 20_000_000
"""A log larger than this is put aside when its process starts."""

Say = Callable[[str], None]


class AlreadyRunningError(Exception):
    """Another supervisor holds this state directory."""


@dataclass(frozen=True, slots=True)
class AppStatus:
    """One process of the application, as its pid file tells."""

    name: str
    pid: int | None
    started: float | None
    log: Path


@dataclass(slots=True)
class _Child:
    """A process that should run, and how its last lives went."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    pause: float = FIRST_PAUSE
    wanted: bool = True
    restarts: int = 0
    codes: list[int] = field(default_factory=list)


def process_names(workers: int) -> list[str]:
    """Names of the processes of a whole application.

    >>> process_names(2)
    ['capture', 'intake', 'worker-1', 'worker-2', 'sink']
    """
    return ["capture", "intake", *(f"worker-{i + 1}" for i in range(workers)), "sink"]


def read_status(home: Path) -> list[AppStatus]:
    """Look at each process that was started under a state directory."""
    found = []
    for path in sorted((home / "run").glob("*.pid")):
        identity = read_identity(path)
        found.append(
            AppStatus(
                name=path.stem,
                pid=identity.pid if identity else None,
                started=identity.started if identity else None,
                log=home / "logs" / f"{path.stem}.log",
            )
        )
    return found


NO_SETTINGS = frozenset({"DELTAFOLIO_LOG", "DELTAFOLIO_CACHE"})


def clean_environment() -> dict[str, str]:
    """Make an environment without settings, for processes that heed a file alone."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in NO_SETTINGS or not name.upper().startswith("DELTAFOLIO_")
    }


class Supervisor:
    """Starts processes, starts them again when they end, and stops them.

    Parameters
    ----------
    home
        State directory; the processes read their settings from it.
    names
        What to run: ``capture``, ``intake``, ``sink``, ``worker-1`` and so on.
    say
        Told in a sentence when a process ends or is killed.
    command
        The command of a name, where it is not ``deltafolio run NAME``.
    environment
        Of the processes, where it is not ours.

    Notes
    -----
    It only ever signals processes that it started itself. A thread of its own watches
    them, so it works under any event loop and without one.
    """

    def __init__(
        self,
        home: Path,
        names: Sequence[str],
        say: Say | None = None,
        command: Callable[[str], list[str]] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home.expanduser().resolve()
        self._command = command or _command
        self.environment = os.environ if environment is None else environment
        self._say = say or (lambda _: None)
        self._names = list(names)
        self._children: dict[str, _Child] = {}
        self._mutex = threading.RLock()
        self._ending = threading.Event()
        self._watcher: threading.Thread | None = None
        self._lock = contextlib.ExitStack()

    # --- all of them ---

    def start(self) -> None:
        """Start every process and the watch over them.

        Raises
        ------
        AlreadyRunningError
            When another supervisor runs in this state directory.
        """
        for folder in ("run", "logs"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        self._lock.enter_context(_hold(self.home))
        self._ending.clear()
        for name in self._names:
            self.add(name)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop every process, all at once; what does not stop in time is killed."""
        self._ending.set()
        if self._watcher:
            self._watcher.join()
        self._stop(list(self._children.values()), seconds)
        self._lock.close()

    # --- one of them ---

    def add(self, name: str) -> None:
        """Start one process more, or one that was removed."""
        with self._mutex:
            child = self._children.get(name)
            if child and child.process and child.process.poll() is None:
                return
            self._children[name] = _Child(name, self._command(name))
            self._spawn(self._children[name])

    def remove(self, name: str, seconds: float = STOP_SECONDS) -> None:
        """Stop one process in good order and leave it stopped."""
        with self._mutex:
            child = self._children[name]
            child.wanted = False
        self._stop([child], seconds)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to one process, as a fault would; it is started again."""
        with self._mutex:
            child = self._children[name]
            if child.process and child.process.poll() is None:
                self._say(f"{name}: {signal.Signals(number).name}")
                child.process.send_signal(number)

    def names(self) -> list[str]:
        """Names of the processes that should run."""
        with self._mutex:
            return [name for name, child in self._children.items() if child.wanted]

    def pid(self, name: str) -> int | None:
        """Pid of a process; None while it is down."""
        with self._mutex:
            process = self._children[name].process
        return process.pid if process and process.poll() is None else None

    def exit_codes(self, name: str) -> list[int]:
        """Exit codes of a process's lives so far; negative for a signal."""
        with self._mutex:
            return list(self._children[name].codes)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of each running process (user and system)."""
        found = {}
        for name in self.names():
            pid = self.pid(name)
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                found[name] = times.user + times.system
        return found

    # --- inside ---

    def _watch(self) -> None:
        while not self._ending.wait(POLL_SECONDS):
            with self._mutex:
                for child in self._children.values():
                    self._look(child)

    def _look(self, child: _Child) -> None:
        """Notice that a process ended; start it again when its pause is over."""
        if not child.wanted:
            return
        now = time.monotonic()
        if child.process is None:
            if now >= child.due:
                self._start_again(child, now)
            return
        code = child.process.poll()
        if code is None:
            return
        self._bury(child, code)
        if now - child.started > HEALTHY_SECONDS:
            child.pause = FIRST_PAUSE
        self._postpone(child, now, f"ended ({_how(code)})")

    def _start_again(self, child: _Child, now: float) -> None:
        """Start a process; if the machine refuses (no room, no memory), later."""
        child.restarts += 1
        try:
            self._spawn(child)
        except OSError as error:
            self._postpone(child, now, f"cannot be started ({error})")

    def _postpone(self, child: _Child, now: float, why: str) -> None:
        child.due = now + child.pause
        self._say(f"{child.name} {why}, again in {child.pause:g} s")
        child.pause = min(child.pause * 2, LONGEST_PAUSE)

    def _spawn(self, child: _Child) -> None:
        log = self.home / "logs" / f"{child.name}.log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        environment = {
            **self.environment,
            "DELTAFOLIO_HOME": str(self.home),
            SUPERVISED: "1",
            PROCESS_NAME: child.name,
        }
        with log.open("ab") as out:
            child.process = subprocess.Popen(  # noqa: S603 - a command of our own
                child.command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                # A Ctrl-C in the terminal is for us: we stop the others in order.
                start_new_session=True,
            )
        child.started = time.monotonic()
        if identity := identify(child.process.pid):
            try:
                write_identity(self._pid_file(child.name), identity)
            except OSError as error:
                # It runs all the same; `status` will not see it.
                self._say(f"{child.name}: no pid file ({error})")

    def _stop(self, children: list[_Child], seconds: float) -> None:
        running = [c for c in children if c.process and c.process.poll() is None]
        for child in running:
            _signal(child, signal.SIGTERM)
            # One that is stopped would not see it.
            _signal(child, signal.SIGCONT)
        limit = time.monotonic() + seconds
        for child in running:
            _wait(child, limit - time.monotonic())
            if child.process and child.process.poll() is None:
                self._say(f"{child.name} did not stop in {seconds:g} s: killed")
                _signal(child, signal.SIGKILL)
                _wait(child, STOP_SECONDS)
        for child in children:
            if child.process:
                self._bury(child, child.process.returncode)

    def _bury(self, child: _Child, code: int | None) -> None:
        if child.process and child.process.stdin:
            child.process.stdin.close()
        child.process = None
        if code is not None:
            child.codes.append(code)
        self._pid_file(child.name).unlink(missing_ok=True)

    def _pid_file(self, name: str) -> Path:
        return self.home / "run" / f"{name}.pid"


def _command(name: str) -> list[str]:
    verb = name.split("-", maxsplit=1)[0]
    return [sys.executable, "-m", "deltafolio", "run", verb]


def _how(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _signal(child: _Child, number: int) -> None:
    if child.process:
        child.process.send_signal(number)


def _wait(child: _Child, seconds: float) -> None:
    if child.process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, seconds))


@contextlib.contextmanager
def _hold(home: Path) -> Iterator[None]:
    """Hold the state directory against a second supervisor."""
    with (home / "run" / "lock").open("ab") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{home} has its processes running already (deltafolio status)"
            raise AlreadyRunningError(message) from None
        yield
