"""The doctor on real databases: what it finds, and that its SQL mends it."""

import json
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from connectors.doctor import Finding, Level, Report, examine
from connectors.postgres import CAPTURED, apply_schema, connect
from connectors.settings import PostgresSettings
from deltafolio.cli import app

# What every test server has, and what no SQL can tell.
USUAL = {"max_slot_wal_keep_size"}


@pytest.fixture
async def owner(postgres: PostgresSettings) -> AsyncIterator[asyncpg.Connection]:
    """A connection to an empty database."""
    connection = await connect(postgres.dsn.get_secret_value(), "test")
    yield connection
    await connection.close()


def bad(report: Report) -> list[Finding]:
    return [
        finding
        for finding in report.findings
        if finding.level is not Level.OK and finding.subject not in USUAL
    ]


async def test_the_schema_that_we_apply_is_well(postgres):
    await apply_schema(postgres)
    report = await examine(postgres)
    assert bad(report) == []
    assert report.is_well


async def test_an_empty_database_lacks_everything_and_is_told_how_to_get_it(
    postgres, owner
):
    report = await examine(postgres)
    missing = {f.subject for f in report.findings if "table is missing" in f.message}
    assert missing == {f"public.{table}" for table in CAPTURED}
    for finding in bad(report):
        if finding.sql and not finding.safe:
            await owner.execute(finding.sql)
    assert bad(await examine(postgres, fix=True)) == []


# --- one fault at a time ------------------------------------------------------------

FAULTS = [
    ("DROP TABLE positions CASCADE", "public.positions", "missing"),
    ("ALTER TABLE positions REPLICA IDENTITY DEFAULT", "public.positions", "FULL"),
    ("ALTER TABLE positions REPLICA IDENTITY NOTHING", "public.positions", "FULL"),
    (
        "ALTER TABLE market_data_cache DROP COLUMN adj_close",
        "public.market_data_cache",
        "adj_close (double precision) is missing",
    ),
    (
        "ALTER TABLE portfolios ALTER id DROP IDENTITY; "
        "ALTER TABLE portfolios ALTER id TYPE text",
        "public.portfolios",
        "column id is text, expected bigint",
    ),
    (
        "ALTER TABLE equity_changes ALTER change_date TYPE timestamptz",
        "public.equity_changes",
        "expected date",
    ),
    (
        "ALTER TABLE portfolios DROP deleted_at, ADD deleted_at boolean",
        "public.portfolios",
        "deleted_at is boolean",
    ),
    (
        "ALTER TABLE company_profiles DROP CONSTRAINT company_profiles_pkey",
        "public.company_profiles",
        "symbol is not unique",
    ),
    (
        "ALTER PUBLICATION deltafolio DROP TABLE equity_changes; "
        "ALTER TABLE equity_changes SET UNLOGGED",
        "public.equity_changes",
        "UNLOGGED",
    ),
    (
        "ALTER TABLE portfolios ENABLE ROW LEVEL SECURITY",
        "public.portfolios",
        "row security",
    ),
    ("ALTER ROLE {role} NOLOGIN", "role {role}", "has not LOGIN"),
    ("ALTER ROLE {role} NOREPLICATION", "role {role}", "has not REPLICATION"),
    ("ALTER ROLE {role} SUPERUSER", "role {role}", "more than it needs"),
    ("ALTER ROLE {role} CREATEROLE", "role {role}", "more than it needs"),
    ("REVOKE SELECT ON positions FROM {role}", "role {role}", "may not read positions"),
    (
        "GRANT INSERT ON positions TO {role}",
        "role {role}",
        "may write public.positions",
    ),
    (
        "GRANT USAGE ON SCHEMA analytics TO {role}; "
        "GRANT SELECT ON analytics.sink_offsets TO {role}",
        "role {role}",
        "unneeded, analytics.sink_offsets",
    ),
    ("GRANT CREATE ON SCHEMA public TO {role}", "role {role}", "create in schema"),
    ("GRANT pg_write_all_data TO {role}", "role {role}", "member of pg_write_all_data"),
    (
        "CREATE TABLE own (x int); ALTER TABLE own OWNER TO {role}",
        "role {role}",
        "owns public.own",
    ),
    ("DROP PUBLICATION deltafolio", "publication deltafolio", "does not exist"),
    (
        "ALTER PUBLICATION deltafolio DROP TABLE positions, portfolios",
        "publication deltafolio",
        "lacks portfolios, positions",
    ),
    (
        "ALTER PUBLICATION deltafolio ADD TABLE analytics.portfolio_snapshots",
        "publication deltafolio",
        "besides: analytics.portfolio_snapshots",
    ),
    (
        "DROP PUBLICATION deltafolio; CREATE PUBLICATION deltafolio FOR ALL TABLES",
        "publication deltafolio",
        "all tables",
    ),
    (
        "ALTER PUBLICATION deltafolio SET (publish = 'insert, update')",
        "publication deltafolio",
        "does not publish delete, truncate",
    ),
    (
        "ALTER PUBLICATION deltafolio SET TABLE portfolios WHERE (id < 5), positions, "
        "market_data_cache, equity_changes, position_realized_events, "
        "company_profiles, benchmarks_sector_weights",
        "publication deltafolio",
        "only rows with",
    ),
    (
        "ALTER PUBLICATION deltafolio SET TABLE portfolios (id, name), positions, "
        "market_data_cache, equity_changes, position_realized_events, "
        "company_profiles, benchmarks_sector_weights",
        "publication deltafolio",
        "every UPDATE fails",
    ),
    ("DROP TABLE analytics.sink_offsets", "schema analytics", "lacks sink_offsets"),
    (
        "ALTER TABLE analytics.portfolio_snapshots DROP COLUMN hhi",
        "schema analytics",
        "lacks hhi",
    ),
    ("DROP SCHEMA analytics CASCADE", "schema analytics", "lacks sink_offsets"),
]


@pytest.mark.parametrize(
    ("fault", "subject", "message"), FAULTS, ids=[fault[0][:60] for fault in FAULTS]
)
async def test_a_fault_is_found_and_mended_by_its_sql(
    postgres, owner, fault, subject, message
):
    role = postgres.capture_user
    await apply_schema(postgres)
    await owner.execute(fault.format(role=role))
    found = [
        finding
        for finding in bad(await examine(postgres))
        if finding.subject == subject.format(role=role) and message in finding.message
    ]
    assert len(found) == 1, bad(await examine(postgres))
    assert found[0].sql
    await owner.execute(found[0].sql)
    left = bad(await examine(postgres, fix=True))
    assert [f for f in left if f.subject == found[0].subject] == []


async def test_a_slot_that_is_ours_is_no_fault(postgres, owner):
    await apply_schema(postgres)
    slot = "slot_" + postgres.capture_user.rpartition("_")[2]
    settings = postgres.model_copy(update={"slot": slot})
    await owner.execute(
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
    )
    report = await examine(settings)
    await owner.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    assert bad(report) == []
    assert any("nobody reads it now" in finding.message for finding in report.findings)


async def test_a_slot_of_another_database_is_found(postgres, owner, postgres_server):
    await apply_schema(postgres)
    slot = "slot_" + postgres.capture_user.rpartition("_")[2]
    elsewhere = await connect(postgres_server, "test")
    await elsewhere.execute(
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
    )
    [finding] = bad(await examine(postgres.model_copy(update={"slot": slot})))
    assert "expected pgoutput of" in finding.message
    await elsewhere.execute(finding.sql)
    await elsewhere.close()


async def test_a_wrong_password_is_found(postgres):
    await apply_schema(postgres)
    wrong = postgres.model_copy(update={"capture_password": SecretStr("wrong")})
    [finding] = bad(await examine(wrong))
    assert "password authentication failed" in finding.message


async def test_a_generated_column_is_not_published(postgres, owner):
    await apply_schema(postgres)
    await owner.execute(
        "ALTER TABLE company_profiles DROP sector, "
        "ADD sector text GENERATED ALWAYS AS (upper(industry)) STORED"
    )
    [finding] = bad(await examine(postgres))
    assert "column sector is generated" in finding.message


async def test_a_column_list_of_another_publication_is_not_made_a_trap(postgres, owner):
    """FULL and a list of columns do not go together: every UPDATE would fail."""
    await apply_schema(postgres)
    await owner.execute(
        "ALTER TABLE portfolios REPLICA IDENTITY DEFAULT; "
        "CREATE PUBLICATION other FOR TABLE portfolios (id, name); "
        "INSERT INTO portfolios (id, name) VALUES (1, 'a')"
    )
    report = await examine(postgres, fix=True)
    [finding] = bad(report)
    assert "publication other" in finding.message
    await owner.execute("UPDATE portfolios SET name = 'b'")


# --- databases that are not ours ----------------------------------------------------

FOREIGN = """
CREATE SCHEMA ledger;
SET search_path TO ledger;
CREATE DOMAIN price AS numeric(12, 4) CHECK (VALUE > 0);
CREATE TYPE side AS ENUM ('LONG', 'SHORT');
CREATE TABLE portfolios (
    id serial PRIMARY KEY, owner_email text, inception_date date,
    equity_balance numeric(14, 2), deleted_at timestamp
);
CREATE TABLE positions (
    id integer PRIMARY KEY, portfolio_id integer REFERENCES portfolios, note text,
    symbol varchar(12), position_type side, investment_class varchar(10),
    quantity integer, entry_price price, entry_date date, exit_price price,
    exit_date date, underlying_symbol varchar(12), strike_price price,
    expiration_date date, last_price price, deleted_at date
);
CREATE TABLE market_data_cache (
    symbol varchar(12), date date, close price, adj_close numeric(12, 4),
    PRIMARY KEY (symbol, date)
) PARTITION BY RANGE (date);
CREATE TABLE prices_old PARTITION OF market_data_cache
    FOR VALUES FROM ('2000-01-01') TO ('2024-01-01');
CREATE TABLE prices_new PARTITION OF market_data_cache
    FOR VALUES FROM ('2024-01-01') TO ('2034-01-01');
CREATE TABLE equity_changes (
    id bigint PRIMARY KEY, portfolio_id bigint, change_type text,
    amount numeric(14, 2), change_date date, deleted_at timestamptz
);
CREATE TABLE position_realized_events (
    id bigint PRIMARY KEY, portfolio_id bigint, position_id bigint, trade_date date,
    quantity_closed numeric(14, 2), exit_price price, realized_pnl numeric(14, 2),
    deleted_at timestamptz
);
CREATE TABLE company_profiles (symbol text PRIMARY KEY, sector text, is_etf boolean);
CREATE TABLE benchmarks_sector_weights (
    id bigint PRIMARY KEY, benchmark_code text, sector text, weight numeric(9, 6),
    effective_date date
);
"""


async def test_a_database_of_other_types_and_partitions_can_be_captured(
    postgres, owner
):
    await owner.execute(FOREIGN)
    settings = postgres.model_copy(update={"source_schema": "ledger"})
    before = bad(await examine(settings))
    assert all(finding.safe for finding in before), before
    assert any("does not exist" in finding.message for finding in before)
    report = await examine(settings, fix=True)
    assert bad(report) == []
    assert all("mended (" in line for line in report.mended), report.mended
    await assert_changes_flow(owner)


async def assert_changes_flow(owner: asyncpg.Connection) -> None:
    slot = f"flow_{os.getpid()}"
    await owner.execute(
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
    )
    await owner.execute(
        "INSERT INTO ledger.market_data_cache VALUES ('A', '2024-05-01', 1, 1); "
        "UPDATE ledger.market_data_cache SET close = 2; "
        "DELETE FROM ledger.market_data_cache"
    )
    changes = await owner.fetch(
        "SELECT data FROM pg_logical_slot_get_binary_changes("
        f"'{slot}', NULL, NULL, "
        "'proto_version', '1', 'publication_names', 'deltafolio')"
    )
    await owner.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    root = await owner.fetchval("SELECT 'ledger.market_data_cache'::regclass::oid")
    messages = [row["data"][:5] for row in changes if row["data"][:1] in b"IUD"]
    relation = int(root).to_bytes(4, "big")
    assert messages == [kind + relation for kind in (b"I", b"U", b"D")]


async def test_an_owner_who_is_no_superuser_can_mend(postgres, owner):
    """As on a managed service: the database's owner, who may create roles."""
    user = postgres.capture_user.replace("capture", "owner")
    await owner.execute(
        f"CREATE ROLE {user} LOGIN CREATEROLE REPLICATION PASSWORD 'o'; "
        f"ALTER DATABASE {urlsplit(postgres.dsn.get_secret_value()).path[1:]} "
        f"OWNER TO {user}"
    )
    sink = await owner.fetchval("SELECT to_regrole('deltafolio_sink')")
    if sink:  # made by another test, not by this owner
        await owner.execute(f"GRANT deltafolio_sink TO {user} WITH ADMIN OPTION")
    url = urlsplit(postgres.dsn.get_secret_value())
    dsn = urlunsplit(url._replace(netloc=f"{user}:o@{url.hostname}:{url.port}"))
    settings = postgres.model_copy(
        update={"dsn": SecretStr(dsn), "source_schema": "ledger"}
    )
    mine = await connect(dsn, "test")
    await mine.execute(FOREIGN)
    await mine.close()
    report = await examine(settings, fix=True)
    assert bad(report) == [], report.mended
    await apply_schema(settings.model_copy(update={"source_schema": "another"}))


async def test_a_locked_table_is_not_waited_for(postgres, owner):
    await apply_schema(postgres)
    await owner.execute("ALTER TABLE portfolios REPLICA IDENTITY DEFAULT")
    async with owner.transaction():
        await owner.execute("LOCK TABLE portfolios IN ACCESS SHARE MODE")
        report = await examine(postgres, fix=True)
    assert any("not mended" in line and "lock" in line for line in report.mended)
    assert not report.is_well


async def test_a_look_changes_nothing(postgres, owner):
    await owner.execute(FOREIGN)
    state = "SELECT pg_current_wal_insert_lsn()"
    await owner.execute("CHECKPOINT")
    before = (
        await owner.fetchval("SELECT count(*) FROM pg_class"),
        await owner.fetchval("SELECT count(*) FROM pg_roles"),
    )
    await examine(postgres.model_copy(update={"source_schema": "ledger"}))
    after = (
        await owner.fetchval("SELECT count(*) FROM pg_class"),
        await owner.fetchval("SELECT count(*) FROM pg_roles"),
    )
    assert after == before
    assert await owner.fetchval(state)


async def test_a_schema_that_is_not_there_is_said(postgres):
    report = await examine(postgres.model_copy(update={"source_schema": "nowhere"}))
    assert any("schema nowhere does not exist" in f.message for f in report.findings)


# --- the command --------------------------------------------------------------------


def run(postgres: PostgresSettings, *options: str) -> Any:
    environment = {
        "DELTAFOLIO_POSTGRES__CAPTURE_USER": postgres.capture_user,
        "DELTAFOLIO_POSTGRES__CAPTURE_PASSWORD": (
            postgres.capture_password.get_secret_value()
        ),
    }
    arguments = ["doctor", "--dsn", postgres.dsn.get_secret_value(), *options]
    return CliRunner().invoke(app, arguments, env=environment)


def test_the_command_tells_fixes_and_exits_accordingly(postgres):
    found = run(postgres)
    assert found.exit_code == 1
    assert "REPLICA IDENTITY FULL" in found.output
    script = run(postgres, "--sql")
    assert script.exit_code == 1
    assert "\n-- CREATE TABLE" in script.output
    assert "\nCREATE ROLE" in script.output
    assert found.output.count("secret") == script.output.count("secret") == 0


async def _apply(postgres: PostgresSettings) -> None:
    await apply_schema(postgres)


def test_json_is_for_programs(postgres):
    import asyncio

    asyncio.run(_apply(postgres))
    found = run(postgres, "--json")
    document = json.loads(found.stdout)
    assert (found.exit_code, document["well"], document["mended"]) == (0, True, [])
    assert {f["level"] for f in document["findings"]} == {"ok", "warning"}


def test_a_server_out_of_reach_is_said_without_the_password():
    dsn = "postgresql://someone:hidden-word@127.0.0.1:1/x"
    found = CliRunner().invoke(app, ["doctor", "--dsn", dsn])
    assert found.exit_code == 1
    assert "connection" in found.output
    assert "hidden-word" not in found.output
