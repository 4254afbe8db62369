"""Envelopes as Debezium 3.6.3 sends them, for tests; seen on the embedded stack."""

import json
from typing import Any

EPOCH = 719_163
MONDAY = 19_723  # 2024-01-01 as Debezium counts

PORTFOLIO: dict[str, Any] = {
    "id": 1,
    "name": "one",
    "currency": "USD",
    "inception_date": MONDAY,
    "equity_balance": "1000.0000",
    "deleted_at": None,
}
LOT: dict[str, Any] = {
    "id": 2,
    "portfolio_id": 1,
    "symbol": "A",
    "position_type": "LONG",
    "investment_class": "PUBLIC",
    "quantity": "10.5000",
    "entry_price": "50.250000",
    "entry_date": MONDAY + 1,
    "exit_price": None,
    "exit_date": None,
    "underlying_symbol": None,
    "strike_price": None,
    "expiration_date": None,
    "last_price": None,
    "deleted_at": None,
}
PRICE: dict[str, Any] = {
    "symbol": "A",
    "date": MONDAY + 1,
    "open": "50.000000",
    "high": None,
    "low": None,
    "close": "50.500000",
    "adj_close": 49.9,
    "volume": 100,
}
ROWS = {"portfolios": PORTFOLIO, "positions": LOT, "market_data_cache": PRICE}


def envelope(
    op: str,
    table: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    commit: int | None = 29_000_000,
    lsn: int | None = 29_000_100,
    tx: int | None = 779,
    order: int = 1,
    snapshot: str = "false",
) -> dict[str, Any]:
    """One envelope; ``tx`` None as in a snapshot."""
    sequence = [None if commit is None else str(commit), str(lsn)]
    source = {
        "version": "3.6.3.Final",
        "connector": "postgresql",
        "name": "cdc",
        "ts_ms": 1_795_565_968_252,
        "snapshot": snapshot,
        "db": "deltafolio",
        "sequence": json.dumps(sequence, separators=(",", ":")),
        "ts_us": 1_795_565_968_252_747,
        "ts_ns": 1_795_565_968_252_747_000,
        "schema": "public",
        "table": table,
        "txId": tx,
        "lsn": lsn,
        "xmin": None,
        "origin": None,
        "origin_lsn": None,
    }
    transaction = {
        "id": f"{tx}:{lsn}",
        "total_order": order,
        "data_collection_order": order,
    }
    return {
        "before": before,
        "after": after,
        "source": source,
        "transaction": None if tx is None else transaction,
        "op": op,
        "ts_ms": 1_795_565_968_266,
        "ts_us": 1_795_565_968_266_498,
        "ts_ns": 1_795_565_968_266_498_807,
    }


def snapshot_row(table: str, row: dict[str, Any], lsn: int) -> dict[str, Any]:
    """Row of an initial snapshot taken at a position."""
    return envelope(
        "r", table, after=row, commit=None, lsn=lsn, tx=None, snapshot="true"
    )


def marker(status: str, tx: int, lsn: int, count: int | None) -> dict[str, Any]:
    """Boundary of a transaction."""
    return {
        "status": status,
        "id": f"{tx}:{lsn}",
        "event_count": count,
        "data_collections": None,
        "ts_ms": 1_795_565_968_266,
    }


def to_bytes(value: Any) -> bytes:
    """As the JSON converter writes it."""
    return json.dumps(value, separators=(",", ":")).encode()
