"""The stack at work: started, left alone, broken, mended, stopped, removed."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest

from connectors.stack import ServiceError, Stack, StackInfo, Timeouts, settings
from connectors.stack.layout import read_ports
from connectors.stack.process import (
    Identity,
    find_marked,
    identify,
    is_alive,
    read_identity,
    spawn,
    stop,
    write_identity,
)
from connectors.stack.services import PG_BIN
from tests.connectors.test_stack import NOBODY, SLEEP, needs_root

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NAMES = ("postgres", "broker", "connect")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that these tests may break; the session's one runs beside it."""
    stack = Stack(tmp_path_factory.mktemp("own") / "home")
    stack.up()
    yield stack
    stack.down(purge=True)


def pids(stack: Stack) -> dict[str, int | None]:
    return {one.name: one.pid for one in stack.status()}


async def rows(info: StackInfo, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(info.dsn)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def test_it_is_postgres_18_ready_for_logical_decoding(own: Stack) -> None:
    query = "SELECT current_setting('server_version_num')::int / 10000 AS version"
    assert [row["version"] for row in await rows(own.up(), query)] == [18]
    [level] = await rows(own.up(), "SHOW wal_level")
    assert level["wal_level"] == "logical"


def test_it_is_the_locked_debezium(own: Stack) -> None:
    plugins = httpx.get(f"{own.up().connect_url}/connector-plugins").json()
    found = {one["class"]: one["version"] for one in plugins}
    assert found["io.debezium.connector.postgresql.PostgresConnector"] == "3.6.3.Final"


def test_a_second_up_changes_nothing(own: Stack) -> None:
    before = pids(own)
    said: list[str] = []
    assert Stack(own.layout.home).up(said.append) == own.info()
    assert pids(own) == before
    assert said == []


def test_two_stacks_side_by_side_have_nothing_in_common(
    own: Stack, stack: StackInfo
) -> None:
    mine = own.up()
    ports = {int(url.rpartition(":")[2]) for url in (mine.bootstrap, mine.connect_url)}
    theirs = {
        int(url.rpartition(":")[2]) for url in (stack.bootstrap, stack.connect_url)
    }
    assert not ports & theirs
    assert mine.dsn != stack.dsn
    assert httpx.get(f"{stack.connect_url}/health").status_code == 200


def test_everything_listens_on_loopback_only(own: Stack) -> None:
    own.up()
    listening = [
        connection.laddr
        for pid in pids(own).values()
        for connection in psutil.Process(pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address.ip for address in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert {address.port for address in listening} == set(
        read_ports(own.layout).values()
    )


async def test_the_database_asks_for_its_password(own: Stack) -> None:
    dsn = own.up().dsn.replace(own.layout.password(), "guess")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(dsn)


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_service_comes_back_alone(own: Stack, name: str) -> None:
    own.up()
    before = pids(own)
    left = own.layout.home / name / "tmp" / "library.so"
    if name != "postgres":  # Java unpacks libraries, and removes them at a good end
        command = psutil.Process(before[name]).cmdline()
        assert f"-Djava.io.tmpdir={left.parent}" in command
        left.touch()
    own.kill(name)  # type: ignore[arg-type]
    assert [one.name for one in own.status() if not one.running] == [name]
    own.start_service(name)  # type: ignore[arg-type]
    assert not left.exists()
    after = pids(own)
    assert after.pop(name) != before.pop(name)
    assert after == before
    assert all(one.healthy for one in own.status())


async def test_what_was_committed_before_a_kill_is_there_after_it(own: Stack) -> None:
    connection = await asyncpg.connect(own.up().dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    await connection.close()
    own.kill("postgres")
    own.start_service("postgres")
    assert len(await rows(own.up(), "SELECT * FROM kept")) == 1


def test_a_half_started_stack_is_cleaned_up(own: Stack) -> None:
    """An `up` was killed: a broker that nobody wrote down, and no Connect."""
    own.up()
    broker = read_identity(own.layout.pid("broker"))
    assert broker is not None
    own.layout.pid("broker").unlink()
    own.kill("connect")
    own.up()
    assert not is_alive(broker), "it was found without its pid file, and stopped"
    assert all(one.healthy for one in own.status())


def test_a_stale_pid_file_harms_nobody(own: Stack, tmp_path: Path) -> None:
    own.up()
    own.kill("connect")
    bystander = spawn(SLEEP, tmp_path / "log", tmp_path)
    stale = Identity(bystander.pid, bystander.started - 3600)
    write_identity(own.layout.pid("connect"), stale)
    own.up()
    assert is_alive(bystander)
    assert pids(own)["connect"] != bystander.pid
    stop(bystander, signal.SIGKILL, 5)


def test_a_service_that_does_not_start_shows_the_tail_of_its_log(
    own: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.up()
    own.stop_service("connect")
    with monkeypatch.context() as patch:
        patch.setattr(settings, "JVM", ("-XX:NoSuchOption",))
        with pytest.raises(ServiceError, match="NoSuchOption") as caught:
            own.up()
    assert caught.value.service == "connect"
    assert pids(own)["connect"] is None
    assert pids(own)["broker"] is not None, "what ran before still runs"


def test_a_service_that_is_never_healthy_is_given_up(own: Stack) -> None:
    own.stop_service("connect")
    hasty = Stack(own.layout.home, Timeouts(start=0.2))
    with pytest.raises(ServiceError, match=r"not healthy after 0\.2 s"):
        hasty.up()
    assert pids(own)["connect"] is None


def test_a_port_taken_meanwhile_moves_the_service_and_who_knew_it(own: Stack) -> None:
    before = own.up()
    own.stop_service("broker")
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host, port = before.bootstrap.split(":")
        thief.bind((host, int(port)))
        thief.listen()
        # Without its broker Connect does not end: it need not be waited for.
        after = Stack(own.layout.home, Timeouts(stop=2)).up()
    assert after.bootstrap != before.bootstrap
    text = own.layout.config("connect").read_text()
    assert f"bootstrap.servers={after.bootstrap}\n" in text
    assert all(one.healthy for one in own.status())


async def test_down_keeps_what_purge_removes(own: Stack) -> None:
    connection = await asyncpg.connect(own.up().dsn)
    await connection.execute("CREATE TABLE survives AS SELECT 1 AS one")
    await connection.close()
    running = [identify(pid) for pid in pids(own).values() if pid]
    own.down()
    assert not any(is_alive(one) for one in running if one)
    assert own.info() is None
    own.down()  # nothing to stop is no fault
    own.start_service("postgres")
    connection = await asyncpg.connect(own._info().dsn)
    assert await connection.fetchval("SELECT one FROM survives") == 1
    await connection.close()
    own.down(purge=True)
    assert not own.layout.home.exists()
    own.down(purge=True)  # nor is a second time


@needs_root
def test_root_runs_postgres_as_somebody_else(own: Stack) -> None:
    own.start_service("postgres")
    pid = pids(own)["postgres"]
    assert psutil.Process(pid).uids().effective == NOBODY
    data = own.layout.data("postgres")
    assert data.stat().st_uid == NOBODY
    assert own.layout.home.stat().st_mode & 0o777 == 0o700, "and opens no directory"


@needs_root
def test_an_ordinary_user_needs_nothing_of_root(tmp_path: Path) -> None:
    home = tmp_path / "theirs"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    script = (
        "import sys; from pathlib import Path; from connectors.stack import Stack; "
        "s = Stack(Path(sys.argv[1])); s.start_service('postgres'); "
        "print([o.healthy for o in s.status() if o.name == 'postgres']); "
        "s.down(purge=True)"
    )
    from tests.connectors.test_stack import as_nobody_python

    assert as_nobody_python(script, home) == "[True]\n"
    assert list(find_marked(f"deltafolio.service={home / 'postgres'}")) == []


def test_the_wheel_has_the_programs_that_are_needed() -> None:
    programs = ("initdb", "postgres", "psql", "pg_isready")
    assert all((PG_BIN / name).exists() for name in programs)
