"""The published results as models: what a consumer may rely on, field by field.

They are the contract. JSON Schemas and the AsyncAPI document under ``schemas/`` are
made of them (``deltafolio schemas --write``), and a test reads what the engine says by
them. The sink does not use them: it passes JSON on as it is.

Consumers must pass over fields that they do not know; such may be added at any time.
Removing one, or changing what it means, raises ``revision.v``.
"""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from connectors.record_models import (
    Exact,
    Flag,
    Head,
    InvestmentClass,
    Model,
    Money,
    PositionType,
    PriceStatus,
    Reason,
    Retraction,
    Status,
    SymbolHead,
    SymbolRetraction,
)
from connectors.risk_models import Risk, SymbolStatistics

# --- snapshots --------------------------------------------------------------------


class CarriedLot(Model):
    """A lot valued with a price that is not of this session."""

    lot: int
    """Id of the lot (``positions.id``)."""
    symbol: str
    """Its symbol, verbatim."""
    date: date | None
    """Session of the close that was used. Null if it was the entry price."""


class QualityModel(Model):
    """How good the prices are. The lists name lots that are held (q ≠ 0)."""

    priced: int
    """Lots with a price of this session, and PRIVATE ones."""
    stale: list[CarriedLot]
    """Valued with a close one to four sessions old; counted in every number."""
    unpriced: list[CarriedLot]
    """Valued with an older close or the entry price; in money, not in concentration."""
    private_mark: list[int]
    """PRIVATE lots valued with their newest close, else the row's ``last_price``."""
    at_cost: list[int]
    """PRIVATE lots without a mark, at their entry price."""
    jump: list[str]
    """Held symbols whose close moved by 1.8 times or more since the session before."""
    orphan_events: list[int]
    """Realized events whose lot is not in this portfolio; not counted anywhere."""
    quantity_unknown: list[int]
    """Lots with an exit but neither a quantity nor events; not counted anywhere."""
    overflow: list[int]
    """Lots whose amounts do not fit 64 bits; then all money is null."""
    partial: bool
    """Part of a transaction is missing; the record is published again when it comes."""


class Snapshot(Head):
    """A portfolio in a session: money, return, exposures, counts, quality.

    Money is exact: NAV(t) - NAV(t-1) - pnl(t) - flow(t) = 0 and NAV = cash + long +
    short. It is null only for ``overflow``.
    """

    status: Status
    """``final`` after the close of the exchange, unless ``quality.partial``."""
    nav: Money | None
    """Net asset value, the same as equity: cash + market value."""
    cash: Money | None
    """Equity before the first session + flows - what was paid for lots; may be < 0."""
    market_value: Money | None
    """Sum of the lots' market values, short ones negative."""
    long_value: Money | None
    """Market value of long lots."""
    short_value: Money | None
    """Market value of short lots; ≤ 0."""
    gross_value: Money | None
    """long - short."""
    net_value: Money | None
    """long + short."""
    flow: Money | None
    """Contributions - withdrawals of this session."""
    pnl: Money | None
    """Profit and loss of this session, of prices and trades."""
    daily_return: float | None
    """pnl / (NAV of the session before + flow). Null: ``nav_not_positive`` if the
    denominator is not positive, ``overflow``."""
    realized_pnl: Money | None
    """Of closings in this session; reported, not added to NAV."""
    cumulative_pnl: Money | None
    """NAV - equity before the first session - flows."""
    cumulative_realized_pnl: Money | None
    """Realized since the first session."""
    cumulative_flow: Money | None
    """Flows since the first session."""
    lots: int
    """Lots held at the close (q ≠ 0)."""
    long_lots: int
    """Lots with q > 0."""
    short_lots: int
    """Lots with q < 0."""
    names: int
    """Symbols held and priced, long and short of one symbol netted."""
    hhi: float | None
    """Herfindahl-Hirschman index, 10⁴·Σw², w = |MV|/Σ|MV| by symbol. Null:
    ``no_positions``, ``no_coverage`` (none is priced), ``overflow``."""
    effective_names: float | None
    """10⁴ / hhi. Null as ``hhi``."""
    top3: float | None
    """Weight of the three largest symbols, 0..1. Null as ``hhi``."""
    top10: float | None
    """Weight of the ten largest symbols, 0..1. Null as ``hhi``."""
    reasons: dict[str, Reason]
    """Why a field is null, by its name."""
    quality: QualityModel
    """How good the prices are."""


# --- positions --------------------------------------------------------------------


class Positions(Head):
    """The lots of a portfolio listed in a session, as arrays of one length.

    Element i of each array is of lot[i]; lots are in the order of their ids. Listed is
    what was held before, is held at the close, or was traded in the session.
    """

    status: Status
    """As in the snapshot."""
    lot: list[int]
    """Ids (``positions.id``)."""
    symbol: list[str]
    """Symbols, verbatim."""
    position_type: list[PositionType]
    """LONG, SHORT; options: LC, LP, SC, SP (long/short, call/put)."""
    investment_class: list[InvestmentClass]
    """PUBLIC, OPTIONS or PRIVATE."""
    quantity: list[Exact]
    """Signed quantity at the close, shares or contracts (four decimals)."""
    entry_price: list[Exact]
    """Price of a share or of a contract's unit at entry (six decimals)."""
    price: list[Exact | None]
    """Price at which it is valued. Null for a lot that is not held any more."""
    price_date: list[date | None]
    """Session of that price. Null if it is not of a close, or not held any more."""
    price_status: list[PriceStatus | None]
    """How it is priced. Null for a lot that is not held any more."""
    market_value: list[Money | None]
    """quantity · multiplier · price; the multiplier of an option is 100."""
    pnl: list[Money | None]
    """Profit and loss of the session; they add up to the snapshot's."""
    traded: list[Money | None]
    """Sum of what was paid (+) or received (-) for the lot in the session."""
    realized_pnl: list[Money | None]
    """Realized by closings of the lot in the session."""
    flags: list[list[Flag]]
    """What is odd about the lot; the same at every session."""
    reasons: dict[str, Reason]
    """Why a field is null for all lots, by its name."""


# --- reading ----------------------------------------------------------------------

AnyRecord: TypeAlias = (
    Snapshot | Positions | Risk | SymbolStatistics | Retraction | SymbolRetraction
)

MODELS: dict[str, type[Snapshot | Positions | Risk | SymbolStatistics]] = {
    "snapshots": Snapshot,
    "positions": Positions,
    "risk": Risk,
    "symbols": SymbolStatistics,
}
"""Model of a result, by family."""


def retraction_of(family: str) -> type[Retraction | SymbolRetraction]:
    """Model of a retraction of a family."""
    return SymbolRetraction if issubclass(MODELS[family], SymbolHead) else Retraction


def record_type(family: str) -> TypeAdapter[Any]:
    """Type of what a topic carries: a result of the family, or a retraction."""
    either: Any = MODELS[family] | retraction_of(family)
    return TypeAdapter(either)


def read_record(family: str, value: bytes) -> AnyRecord:
    """Read a record as its model, every decimal exactly.

    Raises
    ------
    pydantic.ValidationError
        Names the field, what was expected and what was found.
    ValueError
        When it is not JSON.
    """
    content = json.loads(value, parse_float=Decimal)
    gone = bool(content.get("retracted"))
    model = retraction_of(family) if gone else MODELS[family]
    return model.model_validate(content)
