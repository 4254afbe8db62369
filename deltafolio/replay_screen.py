"""Runs, plans and summaries in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from connectors.runs import REPLAY, RUNNING, RunRecord
from replay.ask import Ask, Plan
from replay.named import Named
from replay.sources import Source
from replay.state import OVER, Phase, Run, Summary


def line(run: Run, *, held: bool) -> str:
    """Say in a line what a run is and how far."""
    state = run.phase.value
    if run.phase not in OVER:
        state += ", at work" if held else ", stands still"
    text = f"{run.name}  {asked(run.plan.ask)}: {state}"
    return f"{text} ({run.error})" if run.error else text


def asked(ask: Ask) -> str:
    """Say in words what was asked for."""
    some = "all portfolios" if ask.portfolios is None else f"{len(ask.portfolios)} "
    if ask.portfolios is not None:
        some += "portfolio" if len(ask.portfolios) == 1 else "portfolios"
    then = "" if ask.as_of is None else f", as of {moment(ask.as_of)}"
    if ask.edits:
        then = f", what if: {len(ask.edits)} edit" + "s" * (len(ask.edits) > 1)
    return f"{ask.first} to {ask.last}, {some}{then}"


def moment(microseconds: int) -> str:
    """Write an instant for people.

    >>> moment(1_000_000)
    '1970-01-01 00:00:01 UTC'
    """
    at = datetime.fromtimestamp(microseconds / 1e6, UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def plan_lines(plan: Plan) -> Iterator[str]:
    """Say what a run will do."""
    ask, prefix = plan.ask, plan.prefix
    yield f"  derives   {asked(ask)}: {', '.join(ask.families)}"
    yield (
        f"            {plan.portfolios:,} portfolios x {plan.sessions:,} sessions, "
        f"{plan.cells:,} portfolio-days at most"
    )
    if ask.source is Source.POSTGRES:
        yield (
            f"  from      the tables as of {moment(plan.newest)}: {plan.changes:,} "
            f"rows, {plan.refused:,} of them refused"
        )
    else:
        yield (
            f"  from      {prefix.records():,} records of the journal with "
            f"{plan.changes:,} rows, the newest of {moment(plan.newest)}"
        )
    yield f"  warm-up   {plan.warm_up:,} sessions of prices before the range"
    for edit in ask.edits:
        yield f"  edit      {edit}"
    limit = "" if ask.rate is None else f", {ask.rate:,.0f} records/s at most"
    yield f"  workers   {ask.workers}{limit}"
    where = "what differs goes to the live topics"
    yield f"  results   {where if ask.publish else 'stay in topics of the run'}"


def cells_named(run: Run, some: Sequence[Named]) -> Iterator[str]:
    """Name the first cells that differ, and what is other in each."""
    for one in some:
        what = one.path
        if one.ours is not None or one.live is not None:
            fields = f" (and {one.fields - 1:,} more)" if one.fields > 1 else ""
            what += f"{fields}: {value(one.ours)}, live has {value(one.live)}"
        yield f"  differs   {one.topic} {one.key} {what.strip(': ')}"
    if run.summary.differ > len(some):
        yield f"            {run.summary.differ - len(some):,} more"


def value(found: Any) -> str:
    """Write a value of a record.

    >>> value(None), value(0.5), value([1])
    ('null', '0.5', '[1]')
    """
    return "null" if found is None else str(found)


def summary(run: Run) -> Iterator[str]:
    """Say what came of a run."""
    found = run.summary
    if Phase.DERIVE in found.seconds:
        seconds = found.seconds[Phase.DERIVE]
        spent = "  ".join(f"{name} {s:.1f} s" for name, s in found.seconds.items())
        yield f"  seconds   {spent}"
        yield (
            f"  CPU       {found.cpu_seconds:.1f} s of the workers; at most "
            f"{run.plan.cells / max(seconds, 1e-9):,.0f} portfolio-days/s"
        )
        words = "  ".join(f"{name} {s:.1f} s" for name, s in _ordered(found))
        yield f"  of it     {words}"
    if Phase.COMPARE in found.seconds:
        yield (
            f"  derived   {found.derived:,} records: {found.unchanged:,} as live, "
            f"{found.differ:,} differ; of {found.newer:,} live has newer ones; "
            f"{found.refused:,} refused"
        )
        if found.stuck:
            yield (
                f"  beware    {found.stuck:,} of live's have the revision of this run, "
                "which cannot replace them: the next change that touches them can"
            )
        if run.plan.ask.publish:
            yield f"  published {found.published:,}"


def _ordered(found: Summary) -> Iterator[tuple[str, float]]:
    """Seconds of the workers by phase, in the order of the flow."""
    order = ("read", "decode", "fold", "derive", "encode", "publish")
    yield from ((name, found.worker_seconds.get(name, 0.0)) for name in order)


def run_record(run: Run, status: str, now: float) -> RunRecord:
    """Make the record of a run for ``analytics.runs``."""
    found, over = run.summary, status != RUNNING
    counts = {
        name: getattr(found, name)
        for name in ("derived", "unchanged", "differ", "newer", "published", "refused")
    }
    worked = {f"worker_{name}": s for name, s in found.worker_seconds.items()}
    seconds = found.seconds | worked
    seconds |= {"total": now - run.started, "cpu": found.cpu_seconds}
    ask, ended = run.plan.ask, now if over else None
    return RunRecord(
        run.name,
        REPLAY,
        status,
        run.started,
        now,
        ask.first,
        ask.last,
        ended,
        counts,
        seconds,
        run.error,
    )
