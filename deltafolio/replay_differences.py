"""Differences of a run to live: a table for people, an object for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from deltafolio.replay_screen import moment
from replay.differences import At, Differences, Line
from replay.explain import Moved
from replay.metrics import Number, less
from replay.state import Run

TITLES = {
    "money": "money",
    "return": "return",
    "factor_money": "exposures in money",
    "percentile": "percentiles",
    "count": "counts",
}

NAMES = (1, 3)
"""Columns of words."""


def tables(run: Run, found: Differences, top: int) -> Iterator[str]:
    """Write differences for people: the largest of each kind.

    Parameters
    ----------
    run
        Its ask says whether ``then`` or an edited present stands beside live.
    found
        Of the run.
    top
        So many lines of each kind.
    """
    ask = run.plan.ask
    then = ask.as_of is not None
    yield (
        f"  differ    {found.differ:,} of {found.cells:,} portfolio-days, in "
        f"{sum(1 for line in found.lines if line.sessions):,} metrics of portfolios"
    )
    if found.ahead:
        yield (
            f"  beware    {found.ahead:,} of live's records know of changes that were "
            "committed after the run began"
        )
    names = ("then", "now", "now - then") if then else ("live", "what-if", "difference")
    heads = ("portfolio", "metric", "sessions", "session", *names)
    yield from _headlines(heads, found.lines, top)
    differing = (line for line in found.lines if line.sessions)
    for kind, lines in groupby(differing, key=lambda line: line.kind):
        some = list(lines)
        yield from ("", TITLES.get(kind, kind))
        rows = [_cells(line, line.largest, then=then) for line in some[:top]]
        yield from _aligned([heads, *rows])
        if len(some) > top:
            yield f"  {len(some) - top:,} more (--top)"


def _headlines(heads: Sequence[str], lines: Sequence[Line], top: int) -> Iterator[str]:
    """Write what is asked for first, in the newest session, of the first portfolios."""
    asked = [(line, line.headline) for line in lines if line.headline]
    some = sorted({line.portfolio for line, _ in asked})[:top]
    rows = [
        _cells(line, at, then=True)
        for line, at in sorted(asked, key=lambda pair: pair[0].portfolio)
        if line.portfolio in some
    ]
    if rows:
        yield from ("", "in the newest session", *_aligned([heads, *rows]))


def _cells(line: Line, at: At, *, then: bool) -> tuple[str, ...]:
    """Write the numbers of a session."""
    values = (at.live, at.replayed, at.difference)
    if then:
        values = (at.replayed, at.live, less(at.live, at.replayed))
    numbers = [_number(line.kind, value) for value in values]
    sign = "+" if (values[2] or 0) > 0 else ""
    return (
        str(line.portfolio),
        line.metric,
        f"{line.sessions:,}",
        at.session.isoformat(),
        *(*numbers[:2], sign + numbers[2]),
    )


def _number(kind: str, value: Number) -> str:
    """Write a number: money to the cent, ratios with six digits.

    >>> _number("money", 1234.5), _number("betas", 0.12345678)
    ('1,234.50', '0.123457')
    """
    if value is None:
        return "null"
    if kind in ("money", "factor_money"):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Write rows under each other: names to the left, numbers to the right."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if place in NAMES else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, wide, strict=True))
        ]
        yield "  " + "  ".join(cells)


def changes(moved: Sequence[Moved], most: int) -> Iterator[str]:
    """Write the changes that explain differences, as they were committed."""
    if not moved:
        return
    yield from ("", f"{len(moved):,} changes since then touch what differs")
    for one in moved[:most]:
        key = " ".join(map(str, one.key))
        whose = "" if one.portfolio is None else f" of portfolio {one.portfolio}"
        yield f"  {moment(one.committed)}  {one.table} {key}{whose}: {_columns(one)}"
    if len(moved) > most:
        yield f"  {len(moved) - most:,} more"


def _columns(one: Moved) -> str:
    """Write what changed; of a row that came or went the columns that say something."""
    if all(new is None for _, _, new in one.changed):
        return "the row is gone: " + _said((c, old) for c, old, _ in one.changed)
    if all(old is None for _, old, _ in one.changed):
        return "a new row: " + _said((c, new) for c, _, new in one.changed)
    return ", ".join(f"{c} {_word(old)} → {_word(new)}" for c, old, new in one.changed)


def _said(columns: Iterable[tuple[str, str | None]]) -> str:
    return ", ".join(f"{column} {value}" for column, value in columns if value)


def _word(value: str | None) -> str:
    return "null" if value is None else value


def as_object(run: Run, found: Differences) -> str:
    """Write them as one JSON object; amounts as numbers with exact text."""
    import msgspec

    from replay.branch import differences_topic

    ask = run.plan.ask
    encode = msgspec.json.Encoder(decimal_format="number").encode
    return encode(
        {
            "run": run.name,
            "from": ask.first,
            "to": ask.last,
            "edits": ask.edits,
            "topic": differences_topic(run.name),
            "cells": found.cells,
            "differ": found.differ,
            "ahead": found.ahead,
            "differences": found.lines,
        }
    ).decode()
