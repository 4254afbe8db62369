"""The schema: idempotent, every party with the least rights that work."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from connectors.postgres import (
    CAPTURED,
    SINK_ROLE,
    AddressError,
    SchemaError,
    apply_schema,
    connect,
    scram_verifier,
    verifies,
)
from connectors.settings import PostgresSettings


@pytest.fixture
async def admin(postgres: PostgresSettings) -> AsyncIterator[asyncpg.Connection]:
    await apply_schema(postgres)
    connection = await connect(postgres.dsn.get_secret_value(), "test")
    yield connection
    await connection.close()


async def as_capture(postgres: PostgresSettings) -> asyncpg.Connection:
    url = urlsplit(postgres.dsn.get_secret_value())
    return await asyncpg.connect(
        host=url.hostname,
        port=url.port,
        database=url.path[1:],
        user=postgres.capture_user,
        password=postgres.capture_password.get_secret_value(),
    )


async def test_applying_again_changes_nothing(postgres, admin):
    await admin.execute("INSERT INTO portfolios (id, name) VALUES (7, 'kept')")
    shape = (
        "SELECT string_agg(format('%s %s %s', c.oid, c.relname, c.relowner), ';' "
        "ORDER BY c.oid) FROM pg_class c WHERE relnamespace IN "
        "('public'::regnamespace, 'analytics'::regnamespace)"
    )
    secret = (
        f"SELECT rolpassword FROM pg_authid WHERE rolname='{postgres.capture_user}'"
    )
    before = [await admin.fetchval(shape), await admin.fetchval(secret)]
    await apply_schema(postgres)
    assert [await admin.fetchval(shape), await admin.fetchval(secret)] == before
    assert await admin.fetchval("SELECT name FROM portfolios") == "kept"


async def test_two_at_once_both_succeed(postgres):
    other = postgres.model_copy(update={"capture_user": f"{postgres.capture_user}_b"})
    results = await asyncio.gather(
        apply_schema(postgres), apply_schema(other), return_exceptions=True
    )
    assert results == [None, None]


async def test_exactly_the_captured_tables_are_published(admin):
    rows = await admin.fetch(
        "SELECT schemaname, tablename FROM pg_publication_tables "
        "WHERE pubname = 'deltafolio'"
    )
    assert {tuple(row) for row in rows} == {("public", table) for table in CAPTURED}


async def test_a_publication_of_more_is_narrowed(postgres, admin):
    await admin.execute("ALTER PUBLICATION deltafolio ADD TABLE analytics.sink_offsets")
    await apply_schema(postgres)
    await test_exactly_the_captured_tables_are_published(admin)


async def test_every_captured_table_logs_full_rows(admin):
    rows = await admin.fetch(
        "SELECT relname FROM pg_class WHERE relreplident = 'f' "
        "AND relnamespace = 'public'::regnamespace"
    )
    assert {row["relname"] for row in rows} == set(CAPTURED)


async def test_an_update_and_delete_of_a_published_table_work(admin):
    await admin.execute("INSERT INTO portfolios (id, name) VALUES (1, 'a')")
    await admin.execute("UPDATE portfolios SET id = 2")
    await admin.execute("DELETE FROM portfolios")


async def test_what_the_door_refuses_can_be_committed(admin):
    await admin.execute(
        "INSERT INTO positions (portfolio_id, symbol, position_type, quantity, "
        "entry_price, entry_date) VALUES (404, '', 'WRONG', -1, -50, '1800-01-01')"
    )
    await admin.execute("INSERT INTO market_data_cache VALUES ('A', '2024-01-06')")
    assert await admin.fetchval("SELECT count(*) FROM positions") == 1


async def test_capture_reads_what_is_captured_and_writes_nothing(postgres, admin):
    capture = await as_capture(postgres)
    try:
        for table in CAPTURED:
            assert await capture.fetchval(f"SELECT count(*) FROM {table}") == 0
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await capture.execute(f"DELETE FROM {table}")
        for statement in (
            "SELECT * FROM analytics.portfolio_snapshots",
            "CREATE TABLE public.mine (x int)",
            "CREATE SCHEMA mine",
            f"SET ROLE {SINK_ROLE}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await capture.execute(statement)
    finally:
        await capture.close()


async def test_capture_may_replicate_and_nothing_else_of_the_cluster(postgres, admin):
    row = await admin.fetchrow(
        "SELECT rolcanlogin, rolreplication, rolsuper, rolcreatedb, rolcreaterole, "
        "rolbypassrls FROM pg_roles WHERE rolname = $1",
        postgres.capture_user,
    )
    assert tuple(row) == (True, True, False, False, False, False)


async def test_the_sink_role_owns_the_results_and_sees_no_source(admin):
    await admin.execute(f"SET ROLE {SINK_ROLE}")
    await admin.execute("INSERT INTO analytics.sink_offsets VALUES ('t', 0, 1)")
    await admin.execute("CREATE TEMP TABLE stage (x int)")
    for table in CAPTURED:
        for verb in ("SELECT FROM", "DELETE FROM"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await admin.execute(f"{verb} public.{table}")


async def test_a_changed_password_is_applied(postgres, admin):
    changed = postgres.model_copy(update={"capture_password": SecretStr("another")})
    await apply_schema(changed)
    await (await as_capture(changed)).close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await as_capture(postgres)


def server_log(base: Path) -> str:
    return "".join(log.read_text() for log in base.glob("*/postgres/*.log"))


async def test_the_password_is_never_sent_in_clear(
    postgres, admin, postgres_server, tmp_path_factory
):
    await admin.execute("ALTER SYSTEM SET log_statement = 'all'")
    await admin.execute("SELECT pg_reload_conf()")
    try:
        await asyncio.sleep(0.2)
        other = postgres.model_copy(
            update={"capture_password": SecretStr("open-sesame-in-clear")}
        )
        await apply_schema(other)
        text = server_log(tmp_path_factory.getbasetemp())
        assert "ALTER ROLE" in text
        assert "open-sesame-in-clear" not in text
    finally:
        await admin.execute("ALTER SYSTEM RESET log_statement")
        await admin.execute("SELECT pg_reload_conf()")


def test_a_verifier_is_of_its_password_only():
    assert verifies("pencil", scram_verifier("pencil"))
    assert not verifies("pencil2", scram_verifier("pencil"))
    assert not verifies("pencil", "md5 something else")


def test_a_password_that_two_sides_may_spell_differently_is_refused():
    with pytest.raises(SchemaError, match="ASCII"):
        scram_verifier("pässword")


async def test_a_foreign_positions_table_without_our_columns_is_no_obstacle(postgres):
    connection = await connect(postgres.dsn.get_secret_value(), "test")
    try:
        await connection.execute(
            "CREATE TABLE positions (id bigint primary key, portfolio_id bigint)"
        )
        await apply_schema(postgres)
        assert await connection.fetchval(
            "SELECT to_regclass('analytics.position_values')"
        )
        assert not await connection.fetchval(
            "SELECT to_regclass('analytics.positions_valued')"
        )
    finally:
        await connection.close()


# --- views --------------------------------------------------------------------------


async def add_lots(admin: asyncpg.Connection) -> None:
    await admin.execute(
        "INSERT INTO positions (id, portfolio_id, symbol, position_type, quantity, "
        "entry_price, entry_date, deleted_at) VALUES "
        "(1, 9, 'A', 'LONG', 10, 5, '2024-01-02', null), "
        "(2, 9, 'B', 'LONG', 10, 5, '2024-01-02', null), "
        "(3, 9, 'C', 'LONG', 10, 5, '2024-01-02', now()), "
        "(4, 8, 'D', 'LONG', 10, 5, '2024-01-02', null)"
    )
    await admin.execute(
        "INSERT INTO analytics.position_arrays "
        "(portfolio_id, session, lot, symbol, price, market_value, flags, "
        "rev_p, rev_m, rev_v) VALUES "
        "(9, '2024-01-02', '{1,2}', '{A,B}', '{5,6}', '{50,60}', '[[],[\"x\"]]', "
        "1, 1, 1), "
        "(9, '2024-01-03', '{1}', '{A}', '{7.5}', '{75}', '[[]]', 1, 1, 1)"
    )


async def test_position_values_has_a_row_for_a_lot(admin):
    await add_lots(admin)
    rows = await admin.fetch(
        "SELECT session, lot, symbol, price, market_value, flags "
        "FROM analytics.position_values ORDER BY session, lot"
    )
    first, second = date(2024, 1, 2), date(2024, 1, 3)
    assert [tuple(row) for row in rows] == [
        (first, 1, "A", 5, 50, "[]"),
        (first, 2, "B", 6, 60, '["x"]'),
        (second, 1, "A", 7.5, 75, "[]"),
    ]


async def test_positions_valued_takes_the_newest_session(admin):
    await add_lots(admin)
    rows = await admin.fetch(
        "SELECT id, last_price, market_value FROM analytics.positions_valued ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        (1, 7.5, 75),
        (2, None, None),
        (4, None, None),
    ]


@pytest.mark.parametrize(
    ("returns", "linked"),
    [
        ([], None),
        ([None, None], None),
        ([0.1], 0.1),
        ([None, 0.5, 0.5], 1.25),
        ([0.5, None, 0.5], None),
        ([0.5, -1.0], None),
        ([0.5, -0.5], -0.25),
        ([0.0, 0.5, None], None),
    ],
)
async def test_daily_returns_are_linked(admin, returns, linked):
    await admin.executemany(
        "INSERT INTO analytics.portfolio_snapshots "
        "(portfolio_id, session, daily_return, rev_p, rev_m, rev_v) "
        "VALUES (1, $1, $2, 0, 0, 0)",
        [(date(2024, 1, 2 + i), r) for i, r in enumerate(returns)],
    )
    got = await admin.fetchval(
        "SELECT analytics.linked_return(1, '2024-01-01', '2024-02-01')"
    )
    assert got == pytest.approx(linked)


async def test_a_missing_certificate_is_named_and_a_missing_socket_comes_back(tmp_path):
    """Only the first is of no use to try again."""
    ca = tmp_path / "ca.pem"
    tls = f"postgresql://me@127.0.0.1:9/x?sslmode=verify-full&sslrootcert={ca}"
    with pytest.raises(AddressError, match=r"no file .*ca\.pem$"):
        await connect(tls, "test")
    with pytest.raises(OSError) as away:  # noqa: PT011 - and no other kind
        await connect(f"postgresql:///x?host={tmp_path}&user=me", "test")
    assert not isinstance(away.value, AddressError)
