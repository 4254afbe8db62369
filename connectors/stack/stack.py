"""The embedded stack: PostgreSQL, Kafka and Kafka Connect as one thing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from threading import Event
from typing import Literal

from connectors.stack import jars
from connectors.stack.errors import ServiceError
from connectors.stack.layout import (
    LOOPBACK,
    Layout,
    choose_ports,
    default_home,
    is_free,
    locked,
    read_ports,
)
from connectors.stack.process import (
    POLL,
    Identity,
    find_marked,
    is_alive,
    listens,
    read_identity,
    spawn,
    stop,
    write_identity,
)
from connectors.stack.services import KINDS, Connect, Context, Postgres, Service
from connectors.stack.settings import Timeouts

START_TRIES = 3

ServiceName = Literal["postgres", "broker", "connect"]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StackInfo:
    """Where the running stack is reached.

    Attributes
    ----------
    dsn
        PostgreSQL, as its superuser, with the password.
    bootstrap
        Kafka, ``host:port``.
    connect_url
        Kafka Connect's REST interface.
    home
        State directory.
    """

    dsn: str
    bootstrap: str
    connect_url: str
    home: Path


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service: whether it runs, whether it answers, and where."""

    name: str
    running: bool
    healthy: bool
    pid: int | None
    port: int | None
    log: Path


class GaveUpError(Exception):
    """A service was not waited for, because another one failed."""


class Stack:
    """The services under one state directory.

    Parameters
    ----------
    home
        State directory; by default ``DELTAFOLIO_HOME`` or ``.deltafolio``.
    timeouts
        How long a service may take to start and to stop.
    kinds
        The services, where they are not the usual ones (tests with certificates).

    Notes
    -----
    Two stacks with two directories do not meet: each has its own ports, data and
    logs. All of it listens on loopback only. The processes outlive this object.
    """

    def __init__(
        self,
        home: Path | None = None,
        timeouts: Timeouts | None = None,
        kinds: dict[str, type[Service]] = KINDS,
    ) -> None:
        self.layout = Layout.at(home or default_home())
        self.timeouts = timeouts or Timeouts()
        self._kinds = kinds

    # --- whole stack ---

    def up(self, progress: Progress | None = None) -> StackInfo:
        """Start what does not run; a stack that is up is left as it is.

        Raises
        ------
        StackError
            If jars cannot be fetched or a service does not become healthy in time.
            What this call started is stopped again; the logs stay.
        """
        say = progress or (lambda _: None)
        with locked(self.layout):
            sick = [name for name in self._kinds if not self._is_well(name)]
            if sick:
                self._start(sick, say)
            return self._info()

    def down(self, *, purge: bool = False) -> None:
        """Stop the services; with `purge` remove their data, logs and ports too."""
        if not self.layout.home.exists():
            return
        with locked(self.layout):
            for name in reversed(self._kinds):
                self._stop(name)
            if purge:
                self.layout.purge()
                (self.layout.home / "lock").unlink(missing_ok=True)
        if purge:
            # A second `up` may have made it anew by now.
            with contextlib.suppress(OSError):
                self.layout.home.rmdir()

    def status(self) -> list[ServiceStatus]:
        """Look at each service."""
        ports = read_ports(self.layout)
        found = []
        for name in self._kinds:
            identity = read_identity(self.layout.pid(name))
            healthy = identity is not None and self._is_well(name)
            found.append(
                ServiceStatus(
                    name=name,
                    running=identity is not None,
                    healthy=healthy,
                    pid=identity.pid if identity else None,
                    port=ports.get(name),
                    log=self.layout.log(name),
                )
            )
        return found

    def info(self) -> StackInfo | None:
        """Where the stack is reached; None unless all of it is up."""
        return self._info() if all(map(self._is_well, self._kinds)) else None

    # --- one service, for tests of faults ---

    def kill(self, name: ServiceName) -> None:
        """Kill a service at once, as a crash would (PostgreSQL with its children)."""
        identity = read_identity(self.layout.pid(name))
        if identity:
            stop(identity, SIGKILL, self.timeouts.stop)

    def stop_service(self, name: ServiceName) -> None:
        """Stop one service in good order."""
        with locked(self.layout):
            self._stop(name)

    def start_service(
        self, name: ServiceName, progress: Progress | None = None
    ) -> None:
        """Start one service and wait until it is healthy."""
        with locked(self.layout):
            if not self._is_well(name):
                self._start([name], progress or (lambda _: None))

    # --- inside, with the lock held ---

    def _context(self, ports: dict[str, int]) -> Context:
        locked_jars = jars.read_lock()
        return Context(
            self.layout, ports, {jar: jars.jar_path(jar) for jar in locked_jars}
        )

    def _service(self, name: str) -> Service:
        return self._kinds[name](self._context(read_ports(self.layout)))

    def _is_well(self, name: str) -> bool:
        if name not in read_ports(self.layout):
            return False
        identity = read_identity(self.layout.pid(name))
        if identity is None or not self._service(name).is_healthy():
            return False
        return listens(identity, read_ports(self.layout)[name])

    def _info(self) -> StackInfo:
        context = self._context(read_ports(self.layout))
        return StackInfo(
            dsn=Postgres(context).dsn,
            bootstrap=f"{LOOPBACK}:{context.ports['broker']}",
            connect_url=Connect(context).url,
            home=self.layout.home,
        )

    def _start(self, names: list[str], say: Progress) -> None:
        """Start services: what was left of them is stopped first.

        A port may be taken between choosing and binding it: then with other ports.
        """
        if set(names) != {"postgres"}:
            jars.fetch(jars.read_lock(), say)
        for attempt in range(START_TRIES):
            for name in reversed(names):
                self._stop(name)
            names = self._choose_ports(names)
            try:
                self._start_together(names, say)
            except ServiceError as error:
                if attempt + 1 == START_TRIES or not self._lost_port(error.service):
                    raise
                say(f"{error.service}: its port was taken; trying others")
            else:
                return

    def _choose_ports(self, names: list[str]) -> list[str]:
        """Choose ports of what is started; what runs keeps its own.

        Returns what must be started then: Connect too, if the broker moved away.
        """
        stay = set(self._kinds) - set(names)
        if "broker" in stay:
            stay.add("controller")
        before = read_ports(self.layout).get("broker")
        after = choose_ports(self.layout, frozenset(stay))["broker"]
        if "connect" in names or before in (None, after):
            return names
        self._stop("connect")
        return [*names, "connect"]

    def _lost_port(self, service: str) -> bool:
        """Whether a stopped service's port is somebody else's now."""
        ports = read_ports(self.layout)
        mine = (service, "controller") if service == "broker" else (service,)
        return any(not is_free(ports[name]) for name in mine)

    def _start_together(self, names: list[str], say: Progress) -> None:
        """Start services at once; if one fails, none of them is left running."""
        giving_up = Event()

        def start(name: str) -> None:
            try:
                self._start_one(name, say, giving_up)
            except BaseException:
                giving_up.set()
                raise

        try:
            with ThreadPoolExecutor(len(names)) as pool:
                futures = [pool.submit(start, name) for name in names]
                try:
                    wait(futures, return_when=FIRST_EXCEPTION)
                except BaseException:  # Ctrl-C
                    giving_up.set()
                    raise
            _raise_first([e for future in futures if (e := future.exception())])
        except BaseException:
            for name in reversed(names):
                self._stop(name)
            raise

    def _start_one(self, name: str, say: Progress, giving_up: Event) -> None:
        began = time.monotonic()
        service = self._service(name)
        (self.layout.home / name).mkdir(exist_ok=True)
        service.prepare()
        command = service.command()
        identity = spawn(command, service.output, self.layout.home / name)
        write_identity(self.layout.pid(name), identity)
        self._await_healthy(service, identity, giving_up)
        say(f"{name} is up after {time.monotonic() - began:.1f} s")

    def _await_healthy(
        self, service: Service, identity: Identity, giving_up: Event
    ) -> None:
        limit = time.monotonic() + self.timeouts.start
        log = self.layout.log(service.name)
        port = service.context.ports[service.name]
        while not (service.is_healthy() and listens(identity, port)):
            why = ""
            if giving_up.is_set():
                raise GaveUpError(service.name)
            if not is_alive(identity):
                why = "ended while it started"
            elif time.monotonic() > limit:
                why = f"not healthy after {self.timeouts.start:g} s"
            if why:
                raise ServiceError(service.name, why, log, service.tail())
            time.sleep(POLL)

    def _stop(self, name: str) -> None:
        """Stop a service by its pid file, and what runs without one."""
        service = self._service_unported(name)
        found = {read_identity(self.layout.pid(name)), *find_marked(service.marker)}
        for identity in filter(None, found):
            stop(identity, service.stop_signal, self.timeouts.stop)
        self.layout.pid(name).unlink(missing_ok=True)

    def _service_unported(self, name: str) -> Service:
        """Make a service of which only the name and the place are needed."""
        return self._kinds[name](Context(self.layout, {}, {}))


def _raise_first(errors: list[BaseException]) -> None:
    """Raise what went wrong, not what was given up because of it."""
    for error in sorted(errors, key=lambda e: isinstance(e, GaveUpError)):
        raise error


__all__ = ["ServiceName", "ServiceStatus", "Stack", "StackInfo"]
