"""The table of a matrix: a line for each disturbance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from tests.faults.matrix.run import Outcome

HEAD = (
    "| disturbance | checks | runs | cells | wrong | lost | conflicting "
    "| falling | failed | fresh: median s | max s |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def table(outcomes: Sequence[Outcome]) -> str:
    """Draw the table, in Markdown, with a line of sums."""
    by_disturbance: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_disturbance[outcome.draw.disturbance].append(outcome)
    lines = [_line(name, some) for name, some in sorted(by_disturbance.items())]
    return "\n".join([HEAD, *lines, _line("all", outcomes)])


def _line(name: str, outcomes: Sequence[Outcome]) -> str:
    verdicts = [outcome.verdict for outcome in outcomes]
    fresh = [outcome.fresh for outcome in outcomes]
    checks = sorted({outcome.draw.check for outcome in outcomes})
    cells = (
        name,
        ", ".join(checks) if name != "all" else f"{len(checks)}",
        len(outcomes),
        f"{sum(v.cells for v in verdicts):,}",
        sum(v.wrong for v in verdicts),
        sum(v.lost for v in verdicts),
        sum(v.conflicting for v in verdicts),
        sum(v.falling for v in verdicts),
        sum(len(outcome.failures) for outcome in outcomes),
        f"{median(fresh):.1f}",
        f"{max(fresh):.1f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"
