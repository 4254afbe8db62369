"""A seeded synthetic universe: prices with a factor structure, and portfolios.

500 symbols and eight ETFs move by seven common factors and noise of their own; a
portfolio has 21 lots, of which three are short, a partial sale, and one in five has
flows. The same numbers come from the same seed, on every machine.
"""

import io
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from analytics.calendar import Calendar
from connectors.calendar import load_calendar
from connectors.settings import CalendarSettings
from sample import Tables

ETFS = ("SPY", "TLT", "VTV", "VUG", "MTUM", "QUAL", "IWM", "USMV")
SECTORS = (
    "Technology",
    "Healthcare",
    "Financial Services",
    "Consumer Cyclical",
    "Consumer Defensive",
    "Basic Materials",
    "Energy",
    "Industrials",
    "Utilities",
    "Real Estate",
    "Communication Services",
)
LOTS = 21
SHORT_LOTS = 3
CASH = 1.1
"""Equity of a portfolio at its start, in units of what its lots cost."""

# Loadings of the ETFs on market, rates, value, momentum, quality, size, calm.
_ETF_LOADINGS = np.array(
    [
        [1.0, 0, 0, 0, 0, 0, 0],
        [-0.2, 1.0, 0, 0, 0, 0, 0],
        [0.9, 0, 0.6, 0, 0, 0, 0.2],
        [1.1, 0, -0.6, 0, 0, 0, -0.2],
        [1.0, 0, -0.2, 0.7, 0, 0, 0],
        [0.95, 0, 0, 0, 0.6, 0, 0],
        [1.1, 0, 0.1, 0, -0.2, 0.8, 0],
        [0.7, 0.1, 0, 0, 0.1, 0, 0.6],
    ]
)
_FACTOR_DAILY = np.array([0.010, 0.008, 0.004, 0.005, 0.003, 0.005, 0.004])


@dataclass(frozen=True, slots=True)
class Universe:
    """What was made: the rows, and what a measurement must know of them.

    Attributes
    ----------
    tables
        Rows of the source tables.
    sessions
        ISO dates of the prices; the last ``live`` of them have results.
    live
        Number of sessions with results.
    symbols
        Names of the price series.
    closes
        Closes in cents, sessions x symbols.
    holders
        Portfolio ids that hold a symbol, by symbol.
    rows
        Number of rows in all tables.
    """

    tables: Tables
    sessions: list[str]
    live: int
    symbols: list[str]
    closes: NDArray[np.int64]
    holders: dict[str, list[int]]
    rows: int


def make_universe(
    portfolios: int,
    sessions: int,
    *,
    symbols: int = 500,
    warmup: int = 252,
    last: date = date(2024, 12, 31),
    seed: int = 20_240_229,
) -> Universe:
    """Make ``portfolios`` with a result in each of ``sessions`` sessions.

    Parameters
    ----------
    portfolios, sessions
        How many of each; every portfolio begins on the first of the sessions.
    symbols
        Symbols beside the eight ETFs.
    warmup
        Sessions with prices before the first one with results.
    last
        The last session, or the day after it.
    seed
        Of the random numbers.
    """
    chance = np.random.default_rng(seed)
    days = _days(warmup + sessions, last)
    names = [*ETFS, *(f"S{i:04d}" for i in range(symbols))]
    closes = _closes(chance, len(days), symbols)
    book = _Book(chance, names, closes, days, sessions)
    for portfolio in range(1, portfolios + 1):
        book.add(portfolio)
    tables = book.tables() | {
        "company_profiles": _profiles(names),
        "market_data_cache": _prices(names, closes, days),
    }
    rows = sum(data.count(b"\n") for _, data in tables.values())
    return Universe(tables, days, sessions, names, closes, book.holders, rows)


def _days(number: int, last: date) -> list[str]:
    bounds = CalendarSettings()
    calendar: Calendar = load_calendar(bounds.name, bounds.start, bounds.end)
    end = calendar.backward(last.toordinal()) + 1
    return [calendar.iso(t) for t in range(end - number, end)]


def _closes(chance: np.random.Generator, days: int, symbols: int) -> NDArray[np.int64]:
    """Draw closes in cents, above 1.00: paths of factors x loadings and noise."""
    loadings = chance.normal(0, 0.4, (symbols, 7))
    loadings[:, 0] = chance.normal(1.0, 0.3, symbols)
    loadings = np.vstack([_ETF_LOADINGS, loadings])
    noise = np.concatenate([np.full(8, 0.001), chance.uniform(0.008, 0.02, symbols)])
    factors = chance.standard_normal((days, 7)) * _FACTOR_DAILY + [0.0003, *[0] * 6]
    moves = factors @ loadings.T
    moves += chance.standard_normal((days, symbols + 8)) * noise
    start = chance.uniform(20, 300, symbols + 8)
    path = start * np.exp(np.cumsum(moves, axis=0))
    cents: NDArray[np.int64] = np.maximum(np.rint(path * 100), 100).astype(np.int64)
    return cents


def _cents(value: int) -> str:
    return f"{value // 100}.{value % 100:02d}"


class _Book:
    """Portfolios as they are made, one after the other."""

    def __init__(
        self,
        chance: np.random.Generator,
        names: list[str],
        closes: NDArray[np.int64],
        days: list[str],
        live: int,
    ) -> None:
        self.chance = chance
        self.names = names
        self.closes = closes
        self.days = days
        self.live = live
        self.holders: dict[str, list[int]] = {name: [] for name in names}
        self.lots = 0
        self.out = {
            name: io.StringIO()
            for name in (
                "portfolios",
                "positions",
                "equity_changes",
                "position_realized_events",
            )
        }

    def add(self, portfolio: int) -> None:
        """Buy 21 lots, sell a part of the first, and let some money flow."""
        first = len(self.days) - self.live
        number = min(LOTS, len(self.names) - len(ETFS))
        chosen = self.chance.choice(len(self.names), number, replace=False)
        later = self.chance.integers(0, max(1, self.live * 2 // 3), number)
        entries = first + np.where(self.chance.random(number) < 0.5, 0, later)
        entries[0] = first
        quantities = self.chance.integers(10, 500, number)
        quantities[-SHORT_LOTS:] *= -1
        cost = 0
        held = self.lots + 1
        for which, entry, quantity in zip(chosen, entries, quantities, strict=True):
            cost += self._lot(portfolio, int(which), int(entry), int(quantity))
        start = self.days[first]
        equity = _cents(int(cost * CASH))
        self.out["portfolios"].write(f"{portfolio},P{portfolio},{start},{equity}\n")
        self._sale(portfolio, held, int(chosen[0]))
        if portfolio % 5 == 0:
            self._flow(portfolio)

    def _lot(self, portfolio: int, which: int, entry: int, quantity: int) -> int:
        """Write a lot; its cost in cents."""
        self.lots += 1
        name, price = self.names[which], int(self.closes[entry, which])
        self.holders[name].append(portfolio)
        kind = "LONG" if quantity > 0 else "SHORT"
        self.out["positions"].write(
            f"{self.lots},{portfolio},{name},{kind},PUBLIC,{quantity},"
            f"{_cents(price)},{self.days[entry]}\n"
        )
        return abs(quantity) * price

    def _sale(self, portfolio: int, lot: int, which: int) -> None:
        day = len(self.days) - 1 - int(self.chance.integers(0, self.live))
        self.out["position_realized_events"].write(
            f"{portfolio},{lot},{self.days[day]},5,"
            f"{_cents(int(self.closes[day, which]))}\n"
        )

    def _flow(self, portfolio: int) -> None:
        day = self.days[len(self.days) - 1 - int(self.chance.integers(0, self.live))]
        kind = "CONTRIBUTION" if portfolio % 2 else "WITHDRAWAL"
        self.out["equity_changes"].write(f"{portfolio},{kind},10000,{day}\n")

    def tables(self) -> Tables:
        """Return what was written, by table."""
        columns = {
            "portfolios": "id name inception_date equity_balance",
            "positions": (
                "id portfolio_id symbol position_type investment_class quantity"
                " entry_price entry_date"
            ),
            "equity_changes": "portfolio_id change_type amount change_date",
            "position_realized_events": (
                "portfolio_id position_id trade_date quantity_closed exit_price"
            ),
        }
        return {
            name: (tuple(columns[name].split()), text.getvalue().encode())
            for name, text in self.out.items()
        }


def _profiles(names: list[str]) -> tuple[tuple[str, ...], bytes]:
    lines = [
        f"{name},,true\n" if i < len(ETFS) else f"{name},{SECTORS[i % 11]},false\n"
        for i, name in enumerate(names)
    ]
    return ("symbol", "sector", "is_etf"), "".join(lines).encode()


def _prices(
    names: list[str], closes: NDArray[np.int64], days: list[str]
) -> tuple[tuple[str, ...], bytes]:
    """Write closes, and total-return closes that grow to them by 2 % a year."""
    growth = np.exp(-0.02 / 252 * np.arange(len(days) - 1, -1, -1))
    adjusted = np.round(closes / 100 * growth[:, None], 6)
    lines = [
        f"{name},{day},{_cents(close)},{adj}\n"
        for day, row, adj_row in zip(
            days, closes.tolist(), adjusted.tolist(), strict=True
        )
        for name, close, adj in zip(names, row, adj_row, strict=True)
    ]
    return ("symbol", "date", "close", "adj_close"), "".join(lines).encode()
