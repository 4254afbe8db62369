"""The source tables: columns that results depend on, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.postgres import quote

# Columns of the source tables that the oracle reads. Dates that Python has no
# value for are read as infinite (which no calendar holds); of deleted_at it only
# matters whether it is set.
SOURCE: Mapping[str, Sequence[str]] = {
    "portfolios": ("id", "inception_date", "equity_balance", "deleted_at"),
    "positions": (
        "id",
        "portfolio_id",
        "symbol",
        "position_type",
        "investment_class",
        "quantity",
        "entry_price",
        "entry_date",
        "exit_price",
        "exit_date",
        "underlying_symbol",
        "strike_price",
        "expiration_date",
        "last_price",
        "deleted_at",
    ),
    "equity_changes": (
        "id",
        "portfolio_id",
        "change_type",
        "amount",
        "change_date",
        "deleted_at",
    ),
    "position_realized_events": (
        "id",
        "portfolio_id",
        "position_id",
        "trade_date",
        "quantity_closed",
        "exit_price",
        "realized_pnl",
        "deleted_at",
    ),
    "market_data_cache": (
        "symbol",
        "date",
        "open",
        "high",
        "low",
        "close",
        "adj_close",
    ),
    "company_profiles": ("symbol", "sector", "is_etf"),
    "benchmarks_sector_weights": (
        "id",
        "benchmark_code",
        "sector",
        "weight",
        "effective_date",
    ),
}
# Columns that a table may lack: where they are, the door checks them.
OPTIONAL: Mapping[str, Sequence[str]] = {"market_data_cache": ("open", "high", "low")}
DATES = frozenset(
    {
        "inception_date",
        "entry_date",
        "exit_date",
        "expiration_date",
        "change_date",
        "trade_date",
        "date",
        "effective_date",
    }
)


def select_source(schema: str, table: str, shown: str, where: str = "") -> str:
    """Query of a source table ``t``; of ``OPTIONAL`` columns those it lacks are null.

    A name that the table has not is looked for outside of the inner query.
    """
    query = f"SELECT {shown} FROM {quote(schema)}.{quote(table)} AS t {where}"  # noqa: S608
    absent = OPTIONAL.get(table)
    if absent is None:
        return query
    nulls = ", ".join(f"NULL::numeric AS {quote(name)}" for name in absent)
    return (
        f"SELECT found.* FROM (SELECT {nulls}) AS absent "  # noqa: S608
        f"CROSS JOIN LATERAL ({query}) AS found"
    )


def column(name: str) -> str:
    """Select a column so that asyncpg can read whatever is in it."""
    if name in DATES:
        return (
            f"CASE WHEN {name} < '0001-01-01' THEN '-infinity' "
            f"WHEN {name} > '9999-12-31' THEN 'infinity' ELSE {name} END AS {name}"
        )
    if name == "deleted_at":
        return "CASE WHEN deleted_at IS NOT NULL THEN 'epoch'::timestamptz END AS " + (
            name
        )
    return name
