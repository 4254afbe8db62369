"""Records of the result topics, made by hand."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Made:
    """A record as aiokafka gives it."""

    key: bytes | None
    value: bytes | None
    partition: int = 0
    offset: int = 0
    headers: list[tuple[str, bytes]] = field(default_factory=list)


QUALITY = {
    "priced": 1,
    "stale": [],
    "unpriced": [],
    "private_mark": [],
    "at_cost": [],
    "jump": [],
    "orphan_events": [],
    "quantity_unknown": [],
    "overflow": [],
    "partial": False,
}
CAUSE = {
    "table": "market_data_cache",
    "key": ["A", "2024-01-02"],
    "committed": "2024-01-02T21:00:00.000001Z",
    "version": [1, 2, 3],
    "changed": {"close": ["1", None]},
}


def head(
    portfolio: int, session: str, revision: tuple[int, int, int]
) -> dict[str, Any]:
    return {
        "portfolio": portfolio,
        "session": session,
        "revision": dict(zip("pmv", revision, strict=True)),
        "as_of": "2024-01-02T21:00:00.000001Z",
        "cause": CAUSE,
        "previous": None,
    }


def snapshot_content(nav: float | None) -> dict[str, Any]:
    names = (
        "nav cash market_value long_value short_value gross_value net_value flow pnl "
        "daily_return realized_pnl cumulative_pnl cumulative_realized_pnl "
        "cumulative_flow lots long_lots short_lots names hhi effective_names top3 top10"
    )
    return {
        "status": "final",
        **dict.fromkeys(names.split(), 1),
        "nav": nav,
        "daily_return": None,
        "reasons": {"daily_return": "nav_not_positive"},
        "quality": QUALITY,
    }


def positions_content(lots: list[int], **columns: list[Any]) -> dict[str, Any]:
    n = len(lots)
    return {
        "status": "final",
        "lot": lots,
        "symbol": ["A"] * n,
        "position_type": ["LONG"] * n,
        "investment_class": ["PUBLIC"] * n,
        "quantity": [1.5] * n,
        "entry_price": [2] * n,
        "price": [3.25] * n,
        "price_date": ["2024-01-02"] * n,
        "price_status": ["priced"] * n,
        "market_value": [4.875] * n,
        "pnl": [0] * n,
        "traded": [0] * n,
        "realized_pnl": [0] * n,
        "flags": [[] for _ in lots],
        **columns,
        "reasons": {},
    }


def made(
    portfolio: int,
    session: str,
    revision: tuple[int, int, int],
    content: dict[str, Any],
    *,
    partition: int = 0,
    offset: int = 0,
) -> Made:
    value = {**head(portfolio, session, revision), **content}
    return Made(
        key=f"{portfolio}|{session}".encode(),
        value=json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(),
        partition=partition,
        offset=offset,
        headers=[("r", ",".join(map(str, revision)).encode())],
    )


def snapshot(
    portfolio: int,
    session: str,
    revision: tuple[int, int, int],
    nav: float | None = 1.0,
    **where: int,
) -> Made:
    return made(portfolio, session, revision, snapshot_content(nav), **where)


def retraction(
    portfolio: int, session: str, revision: tuple[int, int, int], **where: int
) -> Made:
    return made(portfolio, session, revision, {"retracted": True}, **where)
