"""What the demonstration prints: stages with their progress, and tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import asyncpg  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

LINE_SECONDS = 2.0
"""Where no terminal shows a moving line, one is printed so often, later less so."""

WIDTH = 100


class Stage:
    """One stage: what it is, and how far it is."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._status = console.status(f"{title} …")
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> Stage:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def say(self, text: str) -> None:
        """Tell how far it is: a moving line, or a line now and then."""
        if self._console.is_terminal:
            self._status.update(f"{self._title} … [dim]{text}[/]")
            return
        now = time.monotonic()
        if now - self._printed > max(LINE_SECONDS, (now - self._began) / 5):
            self._printed = now
            self._console.print(f"    {text}", highlight=False)


class Screen:
    """Prints the demonstration, in a terminal or into a file."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=WIDTH)
        self._began = time.monotonic()

    @contextmanager
    def stage(self, title: str) -> Iterator[Stage]:
        """Show a stage while it runs, and how long it took when it has ended."""
        began = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"[dim]·[/] {title} …")
        with Stage(self.console, title) as stage:
            yield stage
        took = time.monotonic() - began
        self.console.print(f"[green]✓[/] {title} [dim]{took:.1f} s[/]")

    def head(self, text: str) -> None:
        """Print a headline."""
        self.console.print(f"\n[bold]{text}[/]")

    def say(self, text: str) -> None:
        """Print a sentence."""
        self.console.print(text)

    def seconds(self) -> float:
        """Seconds since the demonstration began."""
        return time.monotonic() - self._began


def portfolios_table(rows: Sequence[asyncpg.Record]) -> Table:
    """Lay out the newest snapshot of each portfolio."""
    title = f"Portfolios on {rows[0]['session']}"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("portfolio", no_wrap=True)
    for name in ("equity", "P&L day", "day %", "P&L total", "long", "short"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("lots", "names", "beta", "vol"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("not fresh", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            money(row["nav"]),
            money(row["pnl"]),
            "-" if row["daily_return"] is None else f"{row['daily_return']:+.2%}",
            money(row["cumulative_pnl"]),
            money(row["long_value"]),
            money(row["short_value"]),
            str(row["lots"]),
            "-" if row["effective_names"] is None else f"{row['effective_names']:.1f}",
            "-" if row["beta"] is None else f"{row['beta']:+.2f}",
            "-" if row["volatility"] is None else f"{row['volatility']:.0%}",
            row["not_fresh"] or "",
        )
    return table


def money(value: object) -> str:
    """Show an amount in whole units: ``1,234,567``; unknown is a dash.

    >>> money(-1234567.5), money(None)
    ('-1,234,568', '-')
    """
    return "-" if value is None else f"{float(str(value)):,.0f}"


def change(old: object, new: object) -> str:
    """Show an amount before and after."""
    return money(new) if old == new else f"{money(old)} → {money(new)}"


def publications(records: int, cells: int) -> str:
    """Say how many snapshots were published, of how many cells.

    A cell is published again while the rows behind it still arrive, so records
    may be more than cells: the two are not put as a part of a whole.

    >>> publications(4197, 438)
    '4,197 snapshots published of 438 portfolio-days, again where rows came later'
    >>> publications(0, 438)
    'no snapshots published yet of 438 portfolio-days'
    """
    of = f"of {cells:,} portfolio-days"
    if not records:
        return f"no snapshots published yet {of}"
    return f"{records:,} snapshots published {of}, again where rows came later"
