"""Why a number is what it is: read from the results, which carry their story.

A record says up to where the journal was folded for it and which change last moved
it; lots, symbols and sessions beside it say what weighs most in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from analytics.calendar import Calendar
from analytics.factors import Factors
from connectors.postgres import Connection
from connectors.sink import RISK, SNAPSHOTS
from connectors.why_inputs import Asked, Input, inputs_of

NOT_METRICS = ("reasons", "quality", "cause", "previous")
SNAPSHOT_METRICS = tuple(n for n in SNAPSHOTS.values if n not in NOT_METRICS)
CONCENTRATION = ("hhi", "effective_names", "top3", "top10")
REASONS = {
    "mean": "mean_reason",
    "weighted_mean": "mean_reason",
    "effective_number": "effective_reason",
    "condition": "condition_reason",
    "strength": "strength_reason",
    "coverage": "coverage_reason",
    "money": "money_reason",
}
MAIN = ("value", "slope", "net")
"""What is meant where a path ends at an object: its value, or its like."""


class WhyError(Exception):
    """There is nothing to explain; the message says what there is instead."""


@dataclass(frozen=True, slots=True)
class Window:
    """Sessions whose returns are in a number, and of how many it was made."""

    first: date
    last: date
    sessions: int
    n: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Why one number is what it is.

    Attributes
    ----------
    value, reason
        The number, or why it is null.
    revision
        Records folded of the portfolio's partition (p) and of the market (m), and
        the version of the definitions (v).
    as_of
        Newest commit that is in it.
    window
        None for numbers that are of this session alone.
    inputs
        What weighs most, the heaviest first; ``weighed`` says in which measure.
    cause
        The change that last moved the record: table, key, committed, changed (by
        column, old and new). None if no change of a row is known to have moved it:
        time passed, or a worker took over from an earlier checkpoint.
    """

    portfolio: int
    session: date
    metric: str
    value: Any
    reason: str | None
    status: str | None
    revision: Mapping[str, int]
    as_of: str
    window: Window | None
    weighed: str
    inputs: Sequence[Input]
    cause: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Found:
    """A number in a record: where it stands, what it is, of how many."""

    path: tuple[str, ...]
    value: Any
    reason: str | None
    n: int | None = None


class Why:
    """Answers from schema ``analytics``."""

    def __init__(
        self, connection: Connection, calendar: Calendar, factors: Factors
    ) -> None:
        self._connection = connection
        self._calendar = calendar
        self._factors = factors

    async def answer(
        self, portfolio: int, session: str, metric: str, top: int = 5
    ) -> Answer:
        """Explain a number.

        Parameters
        ----------
        portfolio
            Id.
        session
            ``YYYY-MM-DD``, or ``newest``.
        metric
            A column of a snapshot (``nav``, ``pnl``), or a path into the record of
            risk (``betas.market``, ``volatility.21``, ``correlation.mean``).
        top
            So many inputs.

        Raises
        ------
        WhyError
            No such portfolio, session or metric.
        """
        table = SNAPSHOTS.table if metric in SNAPSHOT_METRICS else RISK.table
        _refuse_unknown(metric)
        first, last = await self._bounds(portfolio)
        day = self._day(session, first, last)
        row = await self._row(table, portfolio, day)
        if table == SNAPSHOTS.table:
            reasons = json.loads(row["reasons"] or "{}")
            found = Found((metric,), row[metric], reasons.get(metric))
        else:
            found = find(json.loads(row["content"]), metric)
        asked = Asked(portfolio, row["session"], found.path, self._factors)
        weighed, inputs = await inputs_of(self._connection, asked, top)
        return Answer(
            portfolio=portfolio,
            session=row["session"],
            metric=".".join(found.path).removesuffix(".value"),
            value=found.value,
            reason=found.reason,
            status=row["status"],
            revision={name: row[f"rev_{name}"] for name in "pmv"},
            as_of=row["as_of"].isoformat(),
            window=self._window(day, found, first),
            weighed=weighed,
            inputs=inputs,
            cause=json.loads(row["cause"] or "null"),
        )

    async def _bounds(self, portfolio: int) -> tuple[date, date]:
        """First and last session with results of a portfolio."""
        first, last = await self._connection.fetchrow(
            "SELECT min(session), max(session) FROM analytics.portfolio_snapshots "
            "WHERE portfolio_id = $1",
            portfolio,
        )
        if last is None:
            message = f"portfolio {portfolio} has no results"
            raise WhyError(message)
        return first, last

    def _day(self, session: str, first: date, last: date) -> date:
        """Find the session that is meant."""
        if session == "newest":
            return last
        try:
            day = date.fromisoformat(session)
        except ValueError as error:
            message = f"{session!r} is neither a date (YYYY-MM-DD) nor 'newest'"
            raise WhyError(message) from error
        if self._calendar.index(day.toordinal()) is None:
            message = f"{day} is no session of the exchange"
            raise WhyError(message)
        if not first <= day <= last:
            message = f"the portfolio has results from {first} to {last}"
            raise WhyError(message)
        return day

    async def _row(self, table: str, portfolio: int, day: date) -> Any:
        row = await self._connection.fetchrow(
            f"SELECT * FROM analytics.{table} "  # noqa: S608 - our own names
            "WHERE portfolio_id = $1 AND session = $2",
            portfolio,
            day,
        )
        if row is None:
            message = (
                f"portfolio {portfolio} has no row in analytics.{table} at {day}: is "
                "the family published (worker.families in the settings)?"
            )
            raise WhyError(message)
        return row

    def _window(self, day: date, found: Found, begun: date) -> Window | None:
        """Sessions whose returns are in it; own returns only since it has begun."""
        length = window_length(found.path, self._factors)
        at = self._calendar.index(day.toordinal())
        if length is None or at is None:
            return None
        oldest = 0
        if found.path[0] == "twr_volatility":
            oldest = self._calendar.index(begun.toordinal()) or 0
        start = max(at - length + 1, oldest)
        first = date.fromordinal(self._calendar.days[start])
        return Window(first, day, at - start + 1, found.n)


def window_length(path: tuple[str, ...], factors: Factors) -> int | None:
    """Sessions of the window of a number; None where it has none.

    Examples
    --------
    >>> window_length(("betas", "market", "value"), Factors())
    90
    >>> window_length(("volatility", "percentile", "value"), Factors())
    252
    """
    kind, name = path[0], path[1] if len(path) > 1 else ""
    one = factors.volatility[0].sessions - 1
    lengths = {
        "betas": factors.beta.sessions,
        "styles": factors.ridge.sessions,
        "spreads": factors.spread.sessions,
        "correlation": factors.correlation.sessions,
        "har": factors.har_window,
        "trend": one + factors.trend.sessions,
        "percentile": one + factors.percentile.sessions,
    }
    if kind in ("volatility", "twr_volatility"):
        return int(name) if name.isdigit() else lengths.get(name)
    return lengths.get(kind)


# --- where a number stands --------------------------------------------------------


def _refuse_unknown(metric: str) -> None:
    """Refuse what is neither a column nor in the record of risk."""
    if metric in SNAPSHOT_METRICS or metric.partition(".")[0] in RISK.document:
        return
    message = (
        f"there is no {metric!r}. Of snapshots: {', '.join(SNAPSHOT_METRICS)}. "
        f"Of risk, by path: {', '.join(RISK.document)}, as in betas.market"
    )
    raise WhyError(message)


def find(content: Mapping[str, Any], metric: str) -> Found:
    """Find a number in the content of risk by its path.

    Names may have dots in them (``spreads.BRK.B-SPY``).

    Raises
    ------
    WhyError
        When it is not there; the message lists what is.
    """
    holder: Mapping[str, Any] = {}
    at: Any = {**content, "sectors": _by_sector(content.get("sectors", []))}
    path: list[str] = []
    rest = metric.split(".")
    while rest or _main(at) is not None:
        name = _next(at, rest) if rest else _main(at)
        if name is None:
            raise _no_such(path, rest, at)
        path.append(name)
        rest = rest[name.count(".") + 1 :]
        holder, at = at, at[name]
    if not isinstance(at, int | float | str | None):
        raise _no_such(path, rest, at)
    reason = holder.get(REASONS.get(path[-1], "reason")) if at is None else None
    n = holder.get("n")
    return Found(tuple(path), at, reason, n if isinstance(n, int) else None)


def _next(at: Any, rest: Sequence[str]) -> str | None:
    """Name in an object with which the rest of a path begins."""
    names = (".".join(rest[:length]) for length in range(1, len(rest) + 1))
    return next((n for n in names if isinstance(at, dict) and n in at), None)


def _main(at: Any) -> str | None:
    """Name of the number that an object stands for."""
    return next((n for n in MAIN if isinstance(at, dict) and n in at), None)


def _by_sector(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Weights by sector of all benchmarks; ``active`` by the benchmark's code.

    A block is of one benchmark, and names its sectors beside the portfolio's.
    """
    found: dict[str, Any] = {}
    for block in blocks:
        for place, sector in enumerate(block["sectors"]):
            shares = {name: block[name][place] for name in ("long", "short", "net")}
            weights = {**shares, "reason": block["reason"], "active": {}}
            active = {
                "value": block["active"][place],
                "reason": block["active_reason"],
            }
            at = found.setdefault(sector, weights)["active"]
            at.update(
                active if (code := block["benchmark"]) is None else {code: active}
            )
    return found


def _no_such(path: Sequence[str], rest: Sequence[str], at: Any) -> WhyError:
    """Say what there is."""
    where = ".".join(path)
    if not isinstance(at, dict):
        return WhyError(f"{where} is no number")
    there = ", ".join(_numbers(at)) or "nothing"
    if rest:
        return WhyError(f"no {'.'.join(rest)!r} in {where}, which has: {there}")
    return WhyError(f"{where} has: {there}")


def _numbers(at: Mapping[str, Any]) -> Iterator[str]:
    for name, value in at.items():
        if not (name.endswith("reason") or isinstance(value, list)):
            yield name
