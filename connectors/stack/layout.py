"""The state directory: what lies where, the ports, the password, the lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from connectors.stack.errors import LockTimeoutError

LOOPBACK = "127.0.0.1"

MARKER = "deltafolio.home"
"""File in a directory that is ours alone: it was empty when we came."""

OWN_NAMES = frozenset(
    {
        *("postgres", "broker", "connect", "password", "ports.json"),
        *("settings.json", "run", "logs", "password.part", "ports.part"),
    }
)
"""What is ours in a directory that is not."""

PORT_NAMES = ("postgres", "broker", "controller", "connect")

PORT_RANGE = (20_000, 32_000)
"""Below the range from which outgoing connections take theirs on Linux."""

LOCK_SECONDS = 180.0


def default_home() -> Path:
    """State directory: ``DELTAFOLIO_HOME``, else ``.deltafolio`` where we are."""
    return Path(os.environ.get("DELTAFOLIO_HOME") or ".deltafolio")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under one state directory (absolute)."""

    home: Path

    @classmethod
    def at(cls, home: Path) -> Layout:
        """Layout under a directory, which need not exist yet."""
        return cls(home.expanduser().resolve())

    def data(self, service: str) -> Path:
        """Tell the data directory of a service."""
        return self.home / service / "data"

    def config(self, service: str) -> Path:
        """Tell the configuration file of a service."""
        return self.home / service / f"{service}.properties"

    def log(self, service: str) -> Path:
        """Log of a service."""
        return self.home / service / f"{service}.log"

    def pid(self, service: str) -> Path:
        """Pid file of a service: pid and start time."""
        return self.home / service / "pid.json"

    def make(self) -> None:
        """Make the state directory, for this user's eyes only."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not any(self.home.iterdir()):
            (self.home / MARKER).write_text("State of deltafolio up.\n", "utf-8")
            (self.home / ".gitignore").write_text("*\n", "utf-8")

    def password(self) -> str:
        """Password of the database's superuser, made at the first call."""
        path = self.home / "password"
        with contextlib.suppress(FileNotFoundError):
            if known := path.read_text("utf-8").strip():
                return known
        fresh = secrets.token_urlsafe(18)
        # In one step: a disk that is full would leave an empty password for good.
        part = self.home / "password.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(part, flags, 0o600), "w") as file:
            file.write(fresh)
        part.replace(path)
        return fresh

    def purge(self) -> None:
        """Remove everything but the lock file, whose holder we are.

        In a directory that was not empty when we came, only what we made. State
        directories inside this one stay: their services may run.
        """
        ours = (self.home / MARKER).exists()
        for path in self.home.iterdir():
            if path.name == "lock" or (path / MARKER).exists():
                continue
            if ours or path.name in OWN_NAMES:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def read_ports(layout: Layout) -> dict[str, int]:
    """Ports in use by this stack; empty before its first start."""
    try:
        raw = (layout.home / "ports.json").read_bytes()
        ports = msgspec.json.decode(raw, type=dict[str, int])
    except (OSError, msgspec.MsgspecError):
        return {}
    return ports if set(ports) == set(PORT_NAMES) else {}


def choose_ports(layout: Layout, running: frozenset[str]) -> dict[str, int]:
    """Keep the remembered ports, replace those that somebody else took.

    Parameters
    ----------
    layout
        The state directory.
    running
        Names of ports whose service of ours runs: they stay.
    """
    ports = read_ports(layout)
    for name in PORT_NAMES:
        known = ports.get(name)
        if name in running and known:
            continue
        if not (known and is_free(known)):
            ports[name] = _free_port(set(ports.values()))
    part = layout.home / "ports.part"
    part.write_bytes(msgspec.json.encode(ports))
    part.replace(layout.home / "ports.json")
    return ports


def _free_port(taken: set[int]) -> int:
    """Find a free port; random, so that two stacks starting at once rarely agree."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(*PORT_RANGE)
        if port not in taken and is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether a service could listen on a port of loopback now."""
    with socket.socket() as probe:
        # As the services do: a port in TIME_WAIT is theirs to take again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def locked(layout: Layout, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the state directory: one `up`, `down` or restart at a time.

    Raises
    ------
    LockTimeoutError
        If another process holds it for longer than `seconds`.
    """
    path = layout.home / "lock"
    limit = time.monotonic() + seconds
    while True:
        layout.make()
        with path.open("ab") as file:
            _flock(file.fileno(), limit, layout.home)
            if _is_same(path, file.fileno()):
                yield
                return
        # The file was purged by whom we waited for: ours is no longer the lock.


def _flock(number: int, limit: float, home: Path) -> None:
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                msg = f"{home} is held by another up or down; try again when it ended"
                raise LockTimeoutError(msg) from None
            time.sleep(0.05)
        else:
            return


def _is_same(path: Path, number: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(number).st_ino
    except FileNotFoundError:
        return False
