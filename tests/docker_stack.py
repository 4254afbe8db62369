"""The stack from containers, for ``pytest --stack=docker``.

The containers share the host's network and listen on free ports of its loopback, so
that every address is the same for the connector inside and for the tests outside.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from testcontainers.core.container import DockerContainer

from connectors.stack import StackInfo
from connectors.stack.compose import (
    IMAGES,
    broker_environment,
    connect_environment,
    postgres_command,
)
from connectors.stack.layout import LOOPBACK, Layout, choose_ports
from connectors.stack.services import Broker, Connect, Context, Postgres
from connectors.stack.settings import DATABASE, SUPERUSER

START_SECONDS = 120.0


@contextmanager
def docker_stack(home: Path) -> Iterator[StackInfo]:
    """Run the three services in containers for as long as the block lasts."""
    _skip_without_engine()
    layout = Layout.at(home)
    layout.make()
    ports = choose_ports(layout, frozenset())
    context = Context(layout, ports, {})
    with ExitStack() as containers:
        for container in (
            _postgres(layout, ports),
            _broker(ports),
            _connect(ports),
        ):
            containers.enter_context(container)
        _wait(lambda: _is_open(ports["postgres"]), "postgres")
        _wait(Broker(context).is_healthy, "broker")
        _wait(Connect(context).is_healthy, "connect")
        yield StackInfo(
            dsn=Postgres(context).dsn,
            bootstrap=f"{LOOPBACK}:{ports['broker']}",
            connect_url=Connect(context).url,
            home=layout.home,
        )


def _skip_without_engine() -> None:
    """Skip unless something answers; docker's client leaks sockets when it asks."""
    where = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    try:
        if where.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(where.path)
        else:
            address = (where.hostname or LOOPBACK, where.port or 2375)
            socket.create_connection(address, timeout=5).close()
    except OSError as error:
        pytest.skip(
            f"--stack=docker needs a Docker engine; none at {where.geturl()}: {error}"
        )


def _container(service: str) -> DockerContainer:
    return DockerContainer(IMAGES[service]).with_kwargs(network_mode="host")


def _postgres(layout: Layout, ports: dict[str, int]) -> DockerContainer:
    command = postgres_command(
        port=str(ports["postgres"]), listen_addresses=LOOPBACK, fsync="off"
    )
    return (
        _container("postgres")
        .with_command(command)
        .with_env("POSTGRES_USER", SUPERUSER)
        .with_env("POSTGRES_DB", DATABASE)
        .with_env("POSTGRES_PASSWORD", layout.password())
    )


def _broker(ports: dict[str, int]) -> DockerContainer:
    here = f"PLAINTEXT://{LOOPBACK}:{ports['broker']}"
    quorum = f"{LOOPBACK}:{ports['controller']}"
    environment = broker_environment(
        {
            "listeners": f"{here},CONTROLLER://{quorum}",
            "advertised.listeners": here,
            "controller.quorum.voters": f"1@{quorum}",
        }
    )
    return _container("broker").with_envs(**environment)


def _connect(ports: dict[str, int]) -> DockerContainer:
    environment = connect_environment(
        f"{LOOPBACK}:{ports['broker']}",
        listeners=f"http://{LOOPBACK}:{ports['connect']}",
    )
    return _container("connect").with_envs(**environment)


def _is_open(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=2).close()
    except OSError:
        return False
    return True


def _wait(is_healthy: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + START_SECONDS
    while not is_healthy():
        assert time.monotonic() < end, f"{name} is not healthy"
        time.sleep(0.2)
