"""What weighs most in a number: lots, symbols, pairs or sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

from analytics.factors import Factors
from connectors.postgres import Connection


@dataclass(frozen=True, slots=True)
class Input:
    """One input: its name, how it weighs, and what it is made of."""

    name: str
    weight: Any
    parts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which number is asked about."""

    portfolio: int
    session: date
    path: tuple[str, ...]
    factors: Factors


Weighed: TypeAlias = tuple[str, Sequence[Input]]

PNL = ("pnl", "daily_return", "cumulative_pnl")
REALIZED = ("realized_pnl", "cumulative_realized_pnl")
FLOWS = ("flow", "cumulative_flow")

_LOTS = """
SELECT lot, symbol, quantity, price, price_status, market_value, pnl, traded,
    realized_pnl
FROM analytics.position_values
WHERE portfolio_id = $1 AND session = $2 AND {column} <> 0
ORDER BY abs({column}) DESC, lot LIMIT $3
"""

# Lots of a symbol are netted; $4 is the path of the statistic in the symbol's record.
_SYMBOLS = """
SELECT symbol, market_value, statistic, n, market_value * statistic AS weight
FROM (
    SELECT symbol, sum(market_value)::double precision AS market_value,
        min((content #>> $4)::double precision) AS statistic,
        min((content #>> $5)::integer) AS n
    FROM analytics.position_statistics
    WHERE portfolio_id = $1 AND session = $2 AND reason IS NULL
    GROUP BY symbol
) AS s
WHERE statistic IS NOT NULL AND market_value <> 0
ORDER BY abs(market_value * statistic) DESC, symbol LIMIT $3
"""
_PAIRS = """
SELECT symbol_1, symbol_2, rho, n FROM analytics.pairwise_correlations
WHERE portfolio_id = $1 AND session = $2 AND rho IS NOT NULL
ORDER BY abs(rho) DESC, symbol_1, symbol_2 LIMIT $3
"""
_SESSIONS = """
SELECT session, daily_return, pnl FROM (
    SELECT session, daily_return, pnl FROM analytics.portfolio_snapshots
    WHERE portfolio_id = $1 AND session <= $2 ORDER BY session DESC LIMIT $4
) AS s
WHERE daily_return IS NOT NULL ORDER BY abs(daily_return) DESC, session LIMIT $3
"""


async def inputs_of(connection: Connection, asked: Asked, top: int) -> Weighed:
    """Find what weighs most in a number, and in which measure."""
    kind = asked.path[0]
    if kind in ("betas", "styles", "spreads", "volatility"):
        return await _symbols(connection, asked, top)
    if kind == "correlation":
        return await _pairs(connection, asked, top)
    if kind == "twr_volatility":
        return await _sessions(connection, asked, top)
    if kind == "sectors" or kind in FLOWS:
        return "", ()
    column = "pnl" if kind in PNL else "market_value"
    if kind in REALIZED:
        column = "realized_pnl"
    return await _lots(connection, asked, top, "traded" if kind == "cash" else column)


async def _lots(connection: Connection, asked: Asked, top: int, column: str) -> Weighed:
    query = _LOTS.format(column=column)  # one of our own words
    rows = await connection.fetch(query, asked.portfolio, asked.session, top)
    return f"lots by |{column}|", [
        Input(
            f"lot {row['lot']} {row['symbol']}",
            row[column],
            {
                "lot": row["lot"],
                "symbol": row["symbol"],
                "quantity": row["quantity"],
                "price": row["price"],
                "price_status": row["price_status"],
                "market_value": row["market_value"],
                "pnl": row["pnl"],
            },
        )
        for row in rows
    ]


def statistic_of(path: tuple[str, ...], factors: Factors) -> list[str]:
    """Path, in a symbol's record, of the statistic that a portfolio's number adds up.

    Examples
    --------
    >>> statistic_of(("styles", "Value", "value"), Factors())
    ['ridge', 'loadings', 'Value', 'loading']
    >>> statistic_of(("volatility", "percentile", "value"), Factors())
    ['volatility', '21', 'value']
    """
    kind, name = path[0], path[1]
    if kind == "betas":
        return [name, "beta"]
    if kind == "styles":
        return ["ridge", "loadings", name, "loading"]
    if kind == "spreads":
        return ["spreads", name, "beta"]
    if name == "har":
        return ["har", "value"]
    shortest = str(factors.volatility[0].sessions)
    return ["volatility", name if name.isdigit() else shortest, "value"]


async def _symbols(connection: Connection, asked: Asked, top: int) -> Weighed:
    path = statistic_of(asked.path, asked.factors)
    # The ridge has one n for all of its loadings.
    n = ["ridge", "n"] if path[0] == "ridge" else [*path[:-1], "n"]
    place = (asked.portfolio, asked.session)
    rows = await connection.fetch(_SYMBOLS, *place, top, path, n)
    name = path[-1] if path[-1] != "value" else "volatility"
    return f"names by |market value x {name}|", [
        Input(
            row["symbol"],
            row["weight"],
            {
                "symbol": row["symbol"],
                "market_value": row["market_value"],
                name: row["statistic"],
                "n": row["n"],
            },
        )
        for row in rows
    ]


async def _pairs(connection: Connection, asked: Asked, top: int) -> Weighed:
    rows = await connection.fetch(_PAIRS, asked.portfolio, asked.session, top)
    return "pairs by |rho|", [
        Input(f"{row['symbol_1']} {row['symbol_2']}", row["rho"], {"n": row["n"]})
        for row in rows
    ]


async def _sessions(connection: Connection, asked: Asked, top: int) -> Weighed:
    place = (asked.portfolio, asked.session)
    window = int(asked.path[1])
    rows = await connection.fetch(_SESSIONS, *place, top, window)
    return "sessions by |daily return|", [
        Input(str(row["session"]), row["daily_return"], {"pnl": row["pnl"]})
        for row in rows
    ]
