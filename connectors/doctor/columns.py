"""Which columns capture needs, and which types Debezium brings as what is read.

The same columns as ``analytics.validity`` reads. A table may have any others.
"""

from __future__ import annotations

from dataclasses import dataclass

from connectors.doctor.facts import Column
from connectors.postgres import quote

KEYS: dict[str, frozenset[str]] = {
    "market_data_cache": frozenset({"symbol", "date"}),
    "company_profiles": frozenset({"symbol"}),
}
"""Columns that name a row; ``id`` where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Need:
    """A column that must be there.

    Attributes
    ----------
    type
        The type it has in the schema of ours.
    kind
        How it is read: one of ``TYPES``.
    scale
        Decimals that are read; a value with more is refused.
    """

    type: str
    kind: str
    scale: int | None = None


_INTEGERS = frozenset({"int2", "int4", "int8"})
_FLOATS = frozenset({"float4", "float8"})
TYPES: dict[str, frozenset[str]] = {
    "integer": _INTEGERS,
    "text": frozenset({"text", "varchar", "bpchar", "citext", "enum"}),
    "decimal": frozenset({"numeric"}) | _INTEGERS | _FLOATS,
    "double": frozenset({"numeric"}) | _INTEGERS | _FLOATS,
    "date": frozenset({"date"}),
    "boolean": frozenset({"bool"}),
    # Any value but null means deleted: false would as well.
    "mark": frozenset({"timestamptz", "timestamp", "date"}),
}
"""Types (below all domains) by how a column is read."""

_ID = Need("bigint", "integer")
_TEXT = Need("text", "text")
_DATE = Need("date", "date")
_PRICE = Need("numeric(20, 6)", "decimal", 6)
_AMOUNT = Need("numeric(20, 4)", "decimal", 4)
_QUANTITY = Need("numeric(16, 4)", "decimal", 4)
_DELETED = Need("timestamptz", "mark")

NEEDS: dict[str, dict[str, Need]] = {
    "portfolios": {
        "id": _ID,
        "inception_date": _DATE,
        "equity_balance": _AMOUNT,
        "deleted_at": _DELETED,
    },
    "positions": {
        "id": _ID,
        "portfolio_id": _ID,
        "symbol": _TEXT,
        "position_type": _TEXT,
        "investment_class": _TEXT,
        "quantity": _QUANTITY,
        "entry_price": _PRICE,
        "entry_date": _DATE,
        "exit_price": _PRICE,
        "exit_date": _DATE,
        "underlying_symbol": _TEXT,
        "strike_price": _PRICE,
        "expiration_date": _DATE,
        "last_price": _PRICE,
        "deleted_at": _DELETED,
    },
    "market_data_cache": {
        "symbol": _TEXT,
        "date": _DATE,
        "close": _PRICE,
        "adj_close": Need("double precision", "double"),
    },
    "equity_changes": {
        "id": _ID,
        "portfolio_id": _ID,
        "change_type": _TEXT,
        "amount": _AMOUNT,
        "change_date": _DATE,
        "deleted_at": _DELETED,
    },
    "position_realized_events": {
        "id": _ID,
        "portfolio_id": _ID,
        "position_id": _ID,
        "trade_date": _DATE,
        "quantity_closed": _QUANTITY,
        "exit_price": _PRICE,
        "realized_pnl": _AMOUNT,
        "deleted_at": _DELETED,
    },
    "company_profiles": {
        "symbol": _TEXT,
        "sector": _TEXT,
        "is_etf": Need("boolean", "boolean"),
    },
    "benchmarks_sector_weights": {
        "id": _ID,
        "benchmark_code": _TEXT,
        "sector": _TEXT,
        "weight": Need("numeric(12, 8)", "decimal", 8),
        "effective_date": _DATE,
    },
}
"""Needed columns by table."""


def key_of(table: str) -> frozenset[str]:
    """Columns that name a row of a table."""
    return KEYS.get(table, frozenset({"id"}))


def type_fault(need: Need, column: Column) -> str | None:
    """Say why a column cannot be read; None if it can."""
    if column.type not in TYPES[need.kind]:
        return f"is {column.shown}, expected {need.type}"
    if column.generated:
        return "is generated: PostgreSQL does not publish it"
    return None


def conversion(name: str, need: Need, column: Column) -> str | None:
    """Write the expression that makes a column readable; None if there is none."""
    if column.generated or column.type == "uuid":
        return None
    if need.kind == "mark" and column.type == "bool":
        return f"CASE WHEN {quote(name)} THEN now() END"
    return f"{quote(name)}::{need.type}"


def type_doubt(need: Need, column: Column) -> str | None:
    """Say why some values of a column may be refused or differ; None if none may."""
    if column.type == "bpchar":
        return f"is {column.shown}: its values are padded with blanks, which count"
    if need.kind != "decimal" or need.scale is None or column.type in _INTEGERS:
        return None
    if column.scale is not None and column.scale <= need.scale:
        return None
    return f"is {column.shown}: a value with more than {need.scale} decimals is refused"
