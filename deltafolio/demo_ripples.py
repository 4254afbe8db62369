"""What one change moved: said from the records that came after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from connectors.settings import Settings
from deltafolio.demo_screen import Screen, change
from deltafolio.ripples import Heard

ROWS = 8
"""Cells that a table shows at most."""


def show_ripples(
    screen: Screen,
    settings: Settings,
    heard: Sequence[Heard],
    names: dict[int, str],
    published: int,
) -> None:
    """Print which cells were published again, old and new, and how soon.

    Parameters
    ----------
    screen
        Where to.
    settings
        For the names of the topics.
    heard
        Records that came after the change.
    names
        Names of the portfolios.
    published
        How many snapshots there are, to say how few of them moved.
    """
    snapshots = [one for one in heard if one.topic == settings.topics.snapshots]
    if not snapshots:
        screen.say("  [red]nothing was published[/]")
        return
    snapshots.sort(key=lambda one: (int(one.owner), one.session))
    screen.console.print(_cells(snapshots, names))
    screen.say(
        f"  {len(snapshots)} of {published} snapshots{_others(heard, settings)} were"
        f" published again, nothing else: snapshots {_milliseconds(snapshots)}, all"
        f" {_milliseconds(heard)} after the commit"
    )
    if cause := snapshots[0].body.get("cause"):
        screen.say(f"  cause: {_cause(cause)}")


def _milliseconds(heard: Sequence[Heard]) -> str:
    delays = sorted(round((one.at - one.known) * 1000) for one in heard)
    first, last = delays[0], delays[-1]
    return f"{last} ms" if first == last else f"{first} to {last} ms"


def _others(heard: Sequence[Heard], settings: Settings) -> str:
    """Count what came besides snapshots, as words of a list."""
    counts, topics = Counter(one.topic for one in heard), settings.topics
    lots = f"{counts[topics.positions]} records of lots"
    risk, symbols = counts[topics.risk], counts[topics.symbols]
    if not risk + symbols:
        return f" and {lots}"
    return f", {lots}, {risk} of risk and {symbols} of symbols"


def _cells(snapshots: Sequence[Heard], names: dict[int, str]) -> Table:
    table = Table(box=None, padding=(0, 2))
    for name in ("portfolio", "session"):
        table.add_column(name)
    for name in ("equity", "P&L of the day"):
        table.add_column(name, justify="right")
    half = ROWS // 2
    shown = snapshots
    if len(snapshots) > ROWS:
        shown = [*snapshots[:half], *snapshots[-half:]]
    for i, one in enumerate(shown):
        if len(snapshots) > ROWS and i == half:
            table.add_row("…", f"{len(snapshots) - ROWS} more", "", "")
        body, before = one.body, one.body.get("previous") or {}
        table.add_row(
            names.get(int(one.owner), str(one.owner)),
            one.session,
            change(before.get("nav"), body.get("nav")),
            change(before.get("pnl"), body.get("pnl")),
        )
    return table


def _cause(cause: dict[str, object]) -> str:
    """Say a cause in words: table, key, and what changed in the row."""
    changed = cause.get("changed")
    fields = changed if isinstance(changed, dict) else {}
    if fields and all(old is None for old, _ in fields.values()):
        what = "a new row"
    elif fields and all(new is None for _, new in fields.values()):
        what = "the row is gone"
    else:
        what = ", ".join(f"{name} {old} → {new}" for name, (old, new) in fields.items())
    return f"{cause.get('table')} {cause.get('key')}: {what}"
