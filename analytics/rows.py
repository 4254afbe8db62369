"""Source rows as the engine holds them: valid, typed, in exact integers.

Units: quantities are integers of 1/10 000, prices of 1/1 000 000, amounts of
1/10 000 of the currency unit. Dates are proleptic ordinals
(``date.toordinal()``), not yet rolled to sessions. A row of these types has
passed ``analytics.validity``; a refused row is never one of them.
"""

from typing import TypeAlias

from msgspec import Struct

QUANTITY_SCALE = 4
PRICE_SCALE = 6
AMOUNT_SCALE = 4

LONG_TYPES = frozenset({"LONG", "LC", "LP"})
SHORT_TYPES = frozenset({"SHORT", "SC", "SP"})
OPTION_TYPES = frozenset({"LC", "LP", "SC", "SP"})
CLASSES = frozenset({"PUBLIC", "OPTIONS", "PRIVATE"})


class Portfolio(Struct, frozen=True, array_like=True, tag=1, tag_field="t", gc=False):
    """A row of ``portfolios``."""

    id: int
    name: str
    equity_balance: int
    inception: int | None


class Lot(Struct, frozen=True, array_like=True, tag=2, tag_field="t", gc=False):
    """A row of ``positions``: signed quantity, what is left after its events."""

    id: int
    portfolio: int
    symbol: str
    type: str
    klass: str
    quantity: int
    entry_price: int
    entry: int
    exit_price: int | None
    exit: int | None
    underlying: str | None
    strike: int | None
    expiry: int | None
    last_price: int | None


class Flow(Struct, frozen=True, array_like=True, tag=3, tag_field="t", gc=False):
    """A row of ``equity_changes``; ``amount`` is signed: withdrawals negative."""

    id: int
    portfolio: int
    amount: int
    date: int


class Event(Struct, frozen=True, array_like=True, tag=4, tag_field="t", gc=False):
    """A row of ``position_realized_events``; ``closed`` is |quantity_closed|."""

    id: int
    portfolio: int
    lot: int
    date: int
    closed: int
    price: int | None
    realized: int | None


class Price(Struct, frozen=True, array_like=True, tag=5, tag_field="t", gc=False):
    """A row of ``market_data_cache``: close in 1e-6, adj_close a double."""

    symbol: str
    date: int
    close: int
    adj_close: float | None


class Profile(Struct, frozen=True, array_like=True, tag=6, tag_field="t", gc=False):
    """A row of ``company_profiles``."""

    symbol: str
    sector: str | None
    is_etf: bool


class Weight(Struct, frozen=True, array_like=True, tag=7, tag_field="t", gc=False):
    """A row of ``benchmarks_sector_weights``; ``weight`` is a double fraction."""

    id: int
    benchmark: str
    sector: str
    weight: float
    date: int


Row: TypeAlias = Portfolio | Lot | Flow | Event | Price | Profile | Weight
PortfolioRow: TypeAlias = Portfolio | Lot | Flow | Event

# Source table -> row type; also the order in which tables are captured.
TABLES: dict[str, type[Row]] = {
    "portfolios": Portfolio,
    "positions": Lot,
    "equity_changes": Flow,
    "position_realized_events": Event,
    "market_data_cache": Price,
    "company_profiles": Profile,
    "benchmarks_sector_weights": Weight,
}
PORTFOLIO_TABLES = frozenset(
    {"portfolios", "positions", "equity_changes", "position_realized_events"}
)
MARKET_TABLES = frozenset(TABLES) - PORTFOLIO_TABLES


class Version(Struct, frozen=True, array_like=True, order=True, gc=False):
    """Order of one row's changes: ``source.sequence``, then the transaction's order.

    Compared per (primary key, portfolio) only.
    """

    commit: int
    lsn: int
    order: int


class Change(Struct, frozen=True, array_like=True, gc=False):
    """One row's new state (``row``), or that it is absent (``row is None``).

    ``key`` is the primary key: ``(id,)``, ``(symbol, date ordinal)`` for prices,
    ``(symbol,)`` for profiles. ``portfolio`` is None for market tables; for
    ``portfolios`` it equals the id. ``ts`` is the commit time in microseconds
    since the epoch. A row that is refused or deleted is absent.
    """

    table: str
    key: tuple[int | str, ...]
    version: Version
    ts: int
    portfolio: int | None
    row: Row | None
