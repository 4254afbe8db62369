"""The content of published records: fields in the order in which they are written.

Money is in units of the currency, quantities in shares or contracts, prices in
units of the currency: JSON numbers with exact decimal text. A null has its
reason in ``reasons``. Dates are ``YYYY-MM-DD``.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from analytics.money import Number

MONEY = (
    "nav",
    "cash",
    "market_value",
    "long_value",
    "short_value",
    "gross_value",
    "net_value",
    "flow",
    "pnl",
    "realized_pnl",
    "cumulative_pnl",
    "cumulative_realized_pnl",
    "cumulative_flow",
)
CONCENTRATION = ("hhi", "effective_names", "top3", "top10")
LOT_MONEY = ("market_value", "pnl", "traded", "realized_pnl")
FINAL, INTRADAY = "final", "intraday"


class Carried(Struct, gc=False):
    """A lot valued with an older close, of ``date``; or with its entry price."""

    lot: int
    symbol: str
    date: str | None


class Quality(Struct, gc=False):
    """How good the prices are; the lists speak of lots that are held."""

    priced: int
    stale: Sequence[Carried] = ()
    unpriced: Sequence[Carried] = ()
    private_mark: Sequence[int] = ()
    at_cost: Sequence[int] = ()
    jump: Sequence[str] = ()
    orphan_events: Sequence[int] = ()
    quantity_unknown: Sequence[int] = ()
    overflow: Sequence[int] = ()
    partial: bool = False


class Snapshot(Struct, gc=False):
    """A portfolio in a session."""

    status: str
    nav: Number | None
    cash: Number | None
    market_value: Number | None
    long_value: Number | None
    short_value: Number | None
    gross_value: Number | None
    net_value: Number | None
    flow: Number | None
    pnl: Number | None
    daily_return: float | None
    realized_pnl: Number | None
    cumulative_pnl: Number | None
    cumulative_realized_pnl: Number | None
    cumulative_flow: Number | None
    lots: int
    long_lots: int
    short_lots: int
    names: int
    hhi: float | None
    effective_names: float | None
    top3: float | None
    top10: float | None
    reasons: Mapping[str, str]
    quality: Quality | msgspec.Raw


class Positions(Struct, gc=False):
    """The lots listed in a session, by id: parallel lists."""

    status: str
    lot: Sequence[int]
    symbol: Sequence[str]
    position_type: Sequence[str]
    investment_class: Sequence[str]
    quantity: Sequence[Number]
    entry_price: Sequence[Number]
    price: Sequence[Number | None]
    price_date: Sequence[str | None]
    price_status: Sequence[str | None]
    market_value: Sequence[Number | None]
    pnl: Sequence[Number | None]
    traded: Sequence[Number | None]
    realized_pnl: Sequence[Number | None]
    flags: Sequence[Sequence[str]]
    reasons: Mapping[str, str]


encode = msgspec.json.Encoder().encode


def digest(content: bytes) -> int:
    """XXH3 of 64 bits, never 0 (0 is "nothing said").

    It guards against saying something twice, not against an adversary.
    """
    return xxh3_64_intdigest(content) or 1
