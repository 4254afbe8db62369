"""Applying the schema over one of before: columns are widened, rows and rights stay."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import urlsplit, urlunsplit

import pytest
from pydantic import SecretStr

from connectors import schema
from connectors.postgres import SINK_ROLE, apply_schema, connect, quote
from connectors.settings import PostgresSettings

OLD, NEW = "numeric(16,4)[]", "numeric(20,4)[]"
TYPE = (
    "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = "
    "'quantity' AND attrelid = 'analytics.position_arrays'::regclass"
)
NEWER = ("rev_p", "rev_m", "rev_v")


async def apply_old(postgres: PostgresSettings, monkeypatch) -> None:
    """Apply the schema as it was: with the narrow column, and without its mending."""
    read = schema.read

    def old(name: str) -> str:
        text = read(name).replace(OLD, "none")
        return text.replace("quantity numeric(20, 4)[]", "quantity numeric(16, 4)[]")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "read", old)
        await apply_schema(postgres)


@pytest.mark.parametrize("collation", ["default", "C"])
async def test_the_narrow_quantity_is_widened(postgres, monkeypatch, collation):
    connection = await connect(postgres.dsn.get_secret_value(), "test")
    try:
        await connection.execute(schema.read("source.sql"))
        await connection.execute(
            f'ALTER TABLE positions ALTER symbol TYPE text COLLATE "{collation}"'
        )
        await apply_old(postgres, monkeypatch)
        await connection.execute(
            "ALTER TABLE analytics.sink_refused "
            + ", ".join(f"DROP COLUMN {name}" for name in NEWER)
        )
        assert await connection.fetchval(TYPE) == OLD
        await connection.execute(
            "INSERT INTO positions (id, portfolio_id, symbol, position_type, quantity, "
            "entry_price, entry_date) VALUES (1, 7, 'A', 'LONG', 2, 3, '2024-01-02');"
            "INSERT INTO analytics.position_arrays (portfolio_id, session, lot, "
            "symbol, quantity, price, market_value, rev_p, rev_m, rev_v) VALUES "
            "(7, '2024-01-02', '{1}', '{A}', '{2.5}', '{4}', '{10}', 1, 1, 1);"
            "CREATE VIEW mine AS SELECT lot, quantity FROM analytics.position_values;"
            "GRANT SELECT ON analytics.position_values, analytics.positions_valued "
            f"TO {postgres.capture_user}"
        )
        await apply_schema(postgres)
        await apply_schema(postgres)
        assert await connection.fetchval(TYPE) == NEW
        assert tuple(await connection.fetchrow("SELECT * FROM mine")) == (
            1,
            Decimal("2.5"),
        )
        valued = "SELECT market_value FROM analytics.positions_valued"
        assert await connection.fetchval(valued) == 10
        await connection.execute(
            "UPDATE analytics.position_arrays SET quantity = '{922337203685477.5807}'"
        )
        await connection.execute("SELECT rev_p FROM analytics.sink_refused")
        for view in ("position_values", "positions_valued"):
            assert await connection.fetchval(
                "SELECT has_table_privilege($1, $2, 'SELECT')",
                postgres.capture_user,
                f"analytics.{view}",
            ), view
    finally:
        await connection.close()


async def test_who_owns_the_database_and_is_no_superuser_widens_it(
    postgres, monkeypatch
):
    url = urlsplit(postgres.dsn.get_secret_value())
    owner = f"owner{url.path[1:]}"
    # Roles are the cluster's: another test may have made the sink's.
    await apply_schema(postgres)
    admin = await connect(postgres.dsn.get_secret_value(), "test")
    await admin.execute("DROP SCHEMA analytics, public CASCADE")
    await admin.execute("DROP PUBLICATION deltafolio")
    await admin.execute(
        f"CREATE ROLE {owner} LOGIN CREATEROLE REPLICATION PASSWORD 'x';"
        f"GRANT {SINK_ROLE} TO {owner} WITH ADMIN OPTION;"
        f"GRANT {postgres.capture_user} TO {owner} WITH ADMIN OPTION;"
        f"ALTER DATABASE {quote(url.path[1:])} OWNER TO {owner}"
    )
    dsn = urlunsplit(url._replace(netloc=f"{owner}:x@{url.netloc.rpartition('@')[2]}"))
    owned = postgres.model_copy(
        update={"dsn": SecretStr(dsn), "capture_password": SecretStr("")}
    )
    try:
        await apply_old(owned, monkeypatch)
        assert await admin.fetchval(TYPE) == OLD
        await apply_schema(owned)
        assert await admin.fetchval(TYPE) == NEW
        owners = await admin.fetch(
            "SELECT relname, relowner::regrole::text AS owner FROM pg_class WHERE "
            "relname IN ('position_values', 'positions_valued') ORDER BY 1"
        )
        assert [tuple(row) for row in owners] == [
            ("position_values", SINK_ROLE),
            ("positions_valued", owner),
        ]
    finally:
        await admin.close()
