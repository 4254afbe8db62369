"""Three portfolios on the sample's prices, as rows of the source tables.

1. *Growth*: long-only stocks, bought on four days.
2. *Balanced*: factor ETFs and stocks, with flows (one dated on a Sunday, one on a
   holiday), partial sales and a lot closed whole.
3. *Long/short*: stocks both ways, a call that expires, a short put that does not,
   and a private holding without a market price.

Every trade is at the close of its day, so no price is written down twice.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import count
from typing import NamedTuple

from sample import Tables
from sample.prices import ETFS, STOCKS, closes

FIRST_DAY = "2022-06-01"
BENCHMARK = "SAMPLE20"
CALL = "AAPL221118C00150000"
PUT = "JPM230120P00110000"
OPTION_VOLATILITY = 0.35

SECTORS = {
    "Technology": ["AAPL", "AMD", "MSFT"],
    "Financial Services": ["BAC", "JPM"],
    "Consumer Cyclical": ["BBY", "HD"],
    "Energy": ["CVX", "RRC", "XOM"],
    "Industrials": ["GE"],
    "Healthcare": ["JNJ", "LLY", "MRK", "PFE", "UNH"],
    "Consumer Defensive": ["KO", "PEP", "PG", "WMT"],
}


class Buy(NamedTuple):
    """A lot: bought (or sold short) at the close of ``day``."""

    portfolio: int
    symbol: str
    quantity: int
    day: str = FIRST_DAY
    type: str = "LONG"
    klass: str = "PUBLIC"
    exit_day: str = ""


class Option(NamedTuple):
    """What an option's symbol stands for."""

    underlying: str
    strike: int
    expiry: str
    call: bool


OPTIONS = {
    CALL: Option("AAPL", 150, "2022-11-18", call=True),
    PUT: Option("JPM", 110, "2023-01-20", call=False),
}
PRIVATE = "HELIOS SERIES B"

PORTFOLIOS = [
    # id, name, inception, equity balance
    (1, "Growth", FIRST_DAY, 1_000_000),
    (2, "Balanced", FIRST_DAY, 500_000),
    (3, "Long/short", FIRST_DAY, 750_000),
]

LOTS = [
    *(Buy(1, s, q) for s, q in [("AAPL", 800), ("MSFT", 500), ("JPM", 600)]),
    *(Buy(1, s, q) for s, q in [("JNJ", 400), ("XOM", 700), ("UNH", 150)]),
    *(Buy(1, s, q) for s, q in [("HD", 200), ("PG", 400), ("KO", 900), ("WMT", 400)]),
    Buy(1, "AMD", 300, "2022-07-15"),
    Buy(1, "LLY", 120, "2022-08-22"),
    Buy(1, "PFE", 1000, "2022-10-03"),
    *(Buy(2, s, q) for s, q in [("MTUM", 300), ("QUAL", 400), ("USMV", 600)]),
    *(Buy(2, s, q) for s, q in [("VLUE", 500), ("SIZE", 250), ("PEP", 200)]),
    Buy(2, "MRK", 250),
    Buy(2, "CVX", 150),
    Buy(2, "BAC", 1000, exit_day="2022-09-21"),
    *(Buy(3, s, q) for s, q in [("AMD", 600), ("MSFT", 300), ("LLY", 200)]),
    Buy(3, "XOM", 800),
    *(Buy(3, s, q, type="SHORT") for s, q in [("GE", -1500), ("BBY", -700)]),
    *(Buy(3, s, q, type="SHORT") for s, q in [("RRC", -1200), ("PFE", -500)]),
    Buy(3, CALL, 5, "2022-06-15", "LC", "OPTIONS"),
    Buy(3, PUT, -4, "2022-09-01", "SP", "OPTIONS"),
    Buy(3, PRIVATE, 10_000, klass="PRIVATE"),
]

EVENTS = [
    # portfolio, symbol, day, closed, realized P&L (else: at the day's close)
    (2, "MRK", "2022-08-15", 150, None),
    (2, "CVX", "2022-10-24", 100, None),
    (2, "CVX", "2022-11-14", 50, "1325.50"),
    (3, "PFE", "2022-10-20", 300, None),
]

FLOWS = [
    # portfolio, type, amount, day
    (2, "CONTRIBUTION", 50_000, "2022-07-05"),
    (2, "WITHDRAWAL", 30_000, "2022-09-18"),  # a Sunday
    (2, "CONTRIBUTION", 10_000, "2022-11-24"),  # Thanksgiving
    (3, "WITHDRAWAL", 25_000, "2022-10-03"),
]


def tables() -> Tables:
    """Return every row of the sample, in the form that ``COPY`` loads."""
    return {
        "portfolios": _table("id name inception_date equity_balance", iter(PORTFOLIOS)),
        "positions": _table(
            "id portfolio_id symbol position_type investment_class quantity"
            " entry_price entry_date exit_price exit_date underlying_symbol"
            " strike_price expiration_date last_price",
            _lots(),
        ),
        "position_realized_events": _table(
            "portfolio_id position_id trade_date quantity_closed exit_price"
            " realized_pnl",
            _events(),
        ),
        "equity_changes": _table("portfolio_id change_type amount change_date", FLOWS),
        "company_profiles": _table("symbol sector is_etf", _profiles()),
        "benchmarks_sector_weights": _table(
            "benchmark_code sector weight effective_date", _weights()
        ),
        "market_data_cache": _table("symbol date close", _prices()),
    }


def _table(
    columns: str, rows: Iterable[Iterable[object]]
) -> tuple[tuple[str, ...], bytes]:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return tuple(columns.split()), text.getvalue().encode()


def _lots() -> Iterator[tuple[object, ...]]:
    for key, lot in zip(count(1), LOTS, strict=False):
        option = OPTIONS.get(lot.symbol)
        yield (
            key,
            *lot[:2],
            lot.type,
            lot.klass,
            lot.quantity,
            _price(lot.symbol, lot.day),
            lot.day,
            _price(lot.symbol, lot.exit_day) if lot.exit_day else None,
            lot.exit_day or None,
            *(option[:3] if option else (None, None, None)),
            "9.50" if lot.klass == "PRIVATE" else None,
        )


def _price(symbol: str, day: str) -> str:
    if symbol == PRIVATE:
        return "8.00"
    if symbol in OPTIONS:
        return _option_price(OPTIONS[symbol], day)
    return closes()[symbol][day]


def _option_price(option: Option, day: str) -> str:
    """Black-Scholes on the underlying's close, no interest, to the cent."""
    spot = float(closes()[option.underlying][day])
    days = date.fromisoformat(option.expiry) - date.fromisoformat(day)
    spread = OPTION_VOLATILITY * math.sqrt(max(days.days, 0.01) / 365)
    d1 = math.log(spot / option.strike) / spread + spread / 2
    call = spot * _normal(d1) - option.strike * _normal(d1 - spread)
    price = call if option.call else call - spot + option.strike
    return f"{max(price, 0.01):.2f}"


def _normal(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def _events() -> Iterator[tuple[object, ...]]:
    lots = {(lot.portfolio, lot.symbol): key for key, lot in enumerate(LOTS, 1)}
    for portfolio, symbol, day, closed, realized in EVENTS:
        price = None if realized else _price(symbol, day)
        yield portfolio, lots[portfolio, symbol], day, closed, price, realized


def _profiles() -> Iterator[tuple[object, ...]]:
    for sector, symbols in SECTORS.items():
        for symbol in symbols:
            yield symbol, sector, "false"
    for symbol in ETFS:
        yield symbol, None, "true"


def _weights() -> Iterator[tuple[object, ...]]:
    """Sector weights of the sample's stocks, each stock weighing the same."""
    for sector, symbols in SECTORS.items():
        yield BENCHMARK, sector, len(symbols) / len(STOCKS), "2014-01-02"


def _prices() -> Iterator[tuple[object, ...]]:
    for symbol, series in closes().items():
        for day, close in series.items():
            yield symbol, day, close
    for symbol, option in OPTIONS.items():
        bought = next(lot.day for lot in LOTS if lot.symbol == symbol)
        for day in closes()[option.underlying]:
            if bought <= day <= option.expiry:
                yield symbol, day, _option_price(option, day)
