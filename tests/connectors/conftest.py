"""A real PostgreSQL for these tests, and a fresh database for each of them."""

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr

from connectors.settings import PostgresSettings
from connectors.stack.layout import Layout, choose_ports
from connectors.stack.process import spawn, stop
from connectors.stack.services import Context, Postgres


def start_server(layout: Layout) -> tuple[Postgres, list[str]]:
    layout.make()
    (layout.home / "postgres").mkdir()
    service = Postgres(Context(layout, choose_ports(layout, frozenset()), {}))
    service.prepare()
    # Losing these data at a power cut is no loss.
    return service, [*service.command(), "-c", "fsync=off"]


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DSN of the superuser of a server that lives as long as the test session."""
    layout = Layout.at(tmp_path_factory.mktemp("postgres"))
    service, command = start_server(layout)
    identity = spawn(command, layout.log("postgres"), layout.home / "postgres")
    try:
        limit = time.monotonic() + 30
        while not service.is_healthy():
            assert time.monotonic() < limit, layout.log("postgres").read_text()
            time.sleep(0.05)
        yield service.dsn
    finally:
        stop(identity, service.stop_signal, 10)


@pytest.fixture
async def empty_database(postgres_server: str) -> AsyncIterator[str]:
    """DSN of a database that is there for one test."""
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_server)
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(postgres_server)._replace(path=f"/{name}"))
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
def postgres(empty_database: str) -> PostgresSettings:
    """Settings of that database, with a capture role of its own."""
    unique = empty_database.rpartition("_")[2]
    return PostgresSettings(
        dsn=SecretStr(empty_database),
        capture_user=f"capture_{unique}",
        capture_password=SecretStr(f"secret {unique} '\\ \""),
    )
