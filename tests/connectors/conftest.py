"""A real PostgreSQL for these tests, and a fresh database for each of them."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr

from connectors.postgres import apply_schema
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


async def create_database(server: str) -> str:
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def settings_of(dsn: str) -> PostgresSettings:
    """Settings of a database, with a capture role of its own."""
    unique = dsn.rpartition("_")[2]
    return PostgresSettings(
        dsn=SecretStr(dsn),
        capture_user=f"capture_{unique}",
        capture_password=SecretStr(f"secret {unique} '\\ \""),
    )


@pytest.fixture
async def postgres(postgres_server: str) -> PostgresSettings:
    """Settings of an empty database that no other test sees."""
    return settings_of(await create_database(postgres_server))


@pytest.fixture(scope="session")
def applied(postgres_server: str) -> PostgresSettings:
    """Settings of a database with the schema, shared: use ``results``."""

    async def apply() -> PostgresSettings:
        postgres = settings_of(await create_database(postgres_server))
        await apply_schema(postgres)
        return postgres

    return asyncio.run(apply())


@pytest.fixture
async def results(applied: PostgresSettings) -> PostgresSettings:
    """Settings of a database with the schema, whose results are empty."""
    connection = await asyncpg.connect(applied.dsn.get_secret_value())
    tables = await connection.fetch(
        "SELECT oid::regclass AS name FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = 'analytics'::regnamespace"
    )
    names = ", ".join(row["name"] for row in tables)
    await connection.execute(f"TRUNCATE {names}")
    await connection.close()
    return applied
