"""A run on disk: one small file, written in one step, and who works on it.

``<home>/replay/<run>/run.json`` says how far a run is. It holds nothing that Kafka
knows better: what was fed and derived is read there. A lock that ends with the
process tells whether somebody works on the run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from connectors.stack.process import START_TOLERANCE, identify
from replay.ask import Plan
from replay.branch import directory
from replay.errors import RunError

FILE, LOCK, REQUEST = "run.json", "lock", "request"

COPY = re.compile(r"source-([0-9]{1,9})\.part")
"""File of rows that a process read of the tables for a run that has no name yet."""


class Phase(StrEnum):
    """How far a run is; what is before ``DONE`` can be resumed."""

    FEED = "feed"
    DERIVE = "derive"
    COMPARE = "compare"
    PUBLISH = "publish"
    DONE = "done"
    CANCELLED = "cancelled"


OVER = (Phase.DONE, Phase.CANCELLED)


class Summary(msgspec.Struct):
    """What came of a run.

    Attributes
    ----------
    derived
        Records that the run has.
    unchanged, differ, newer
        Of the range's records: as in the live topics, other than there, and those
        of which live knows more of the journal (nothing is said of those).
    stuck
        Of those that differ: live has the very revision of the run, so that they
        cannot be replaced by revision.
    published
        Records that were brought to the live topics.
    refused
        Records of the journal that could not be read, or rows of the source that
        break a rule: they count as absent.
    seconds, cpu_seconds
        By phase; of the workers.
    worker_seconds
        Of all workers together, by what they did.
    """

    derived: int = 0
    unchanged: int = 0
    differ: int = 0
    newer: int = 0
    stuck: int = 0
    published: int = 0
    refused: int = 0
    seconds: dict[str, float] = {}
    cpu_seconds: float = 0.0
    worker_seconds: dict[str, float] = {}


class Run(msgspec.Struct):
    """A run: its name, its plan, how far it is and what came of it.

    Attributes
    ----------
    name
        Chosen at the start; part of the names of its topics.
    started
        Seconds since the epoch.
    error
        Why it stands still, if something failed.
    """

    name: str
    plan: Plan
    started: float
    phase: Phase = Phase.FEED
    summary: Summary = msgspec.field(default_factory=Summary)
    error: str = ""


class Runs:
    """The runs of a state directory."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def create(self, plan: Plan, now: float) -> Run:
        """Make a run and write it down."""
        at = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
        run = Run(f"{at}-{secrets.token_hex(2)}", plan, now)
        self.place(run.name).mkdir(parents=True, mode=0o700)
        self.save(run)
        return run

    def place(self, name: str) -> Path:
        """Directory of a run."""
        return directory(self._home, name)

    def save(self, run: Run) -> None:
        """Write a run down; a reader sees the old or the new, whole."""
        part = self.place(run.name) / f"{FILE}.part"
        part.write_bytes(msgspec.json.format(msgspec.json.encode(run)))
        part.replace(self.place(run.name) / FILE)

    def load(self, name: str) -> Run:
        """Read a run.

        Raises
        ------
        RunError
            If there is none of that name, or its file cannot be read.
        """
        path = self.place(name) / FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=Run)
        except (FileNotFoundError, NotADirectoryError):
            self.require(name)
            message = f"run {name} is broken, it has no {FILE}: clean {name} removes it"
            raise RunError(message) from None
        except msgspec.MsgspecError as error:
            message = f"{path} cannot be read: {error}"
            raise RunError(message) from error

    def all(self) -> list[Run]:
        """Read all runs, the oldest first."""
        found = []
        for path in sorted((self._home / "replay").glob(f"*/{FILE}")):
            with contextlib.suppress(RunError):
                found.append(self.load(path.parent.name))
        return found

    def broken(self) -> list[str]:
        """Names of runs that cannot be read: a full disk had no room for the file."""
        whole = {run.name for run in self.all()}
        return [name for name in self._names() if name not in whole]

    def require(self, name: str) -> None:
        """See that there is a run of a name, if only a broken one.

        Raises
        ------
        RunError
            If there is none.
        """
        names = self._names()
        if name not in names:
            known = ", ".join(names) or "none"
            message = f"no run {name!r} here; there are: {known}"
            raise RunError(message)

    def _names(self) -> list[str]:
        """Names of all runs, the oldest first."""
        paths = sorted((self._home / "replay").glob("*"))
        return [path.name for path in paths if path.is_dir()]

    def remove(self, name: str) -> None:
        """Remove a run's directory."""
        shutil.rmtree(self.place(name), ignore_errors=True)

    # --- rows of the tables, before there is a run ---

    def copy(self) -> Path:
        """Where this process keeps the rows until the run has a name."""
        return self._home / "replay" / f"source-{os.getpid()}.part"

    def left_copies(self) -> list[Path]:
        """Such files of processes that are gone."""
        paths = sorted((self._home / "replay").glob("source-*.part"))
        return [path for path in paths if _is_left(path)]

    # --- who works on it ---

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Be the only one to work on a run.

        Raises
        ------
        RunError
            If somebody does already.
        """
        with (self.place(name) / LOCK).open("ab") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"run {name} is being worked on already"
                raise RunError(message) from None
            (self.place(name) / REQUEST).unlink(missing_ok=True)
            yield

    def is_held(self, name: str) -> bool:
        """Whether somebody works on a run."""
        with (self.place(name) / LOCK).open("ab") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def request(self, name: str, what: str) -> None:
        """Ask whoever works on a run for something (``pause``, ``cancel``)."""
        (self.place(name) / REQUEST).write_text(what)

    def requested(self, name: str) -> str:
        """Read what was asked for; empty if nothing was."""
        with contextlib.suppress(FileNotFoundError):
            return (self.place(name) / REQUEST).read_text()
        return ""


def _is_left(path: Path) -> bool:
    """Whether a copy's process is gone; who has its pid now began after the copy."""
    of = COPY.fullmatch(path.name)
    if of is None:
        return False
    now = identify(int(of[1]))
    try:
        written = path.stat().st_mtime
    except FileNotFoundError:
        return False
    return now is None or now.started > written + START_TOLERANCE
