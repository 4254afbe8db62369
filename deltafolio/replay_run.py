"""A run in the foreground: its plan printed, its workers started, its end told."""

from __future__ import annotations

import contextlib
import time
from datetime import date

import msgspec
import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from analytics.calendar import Calendar
from connectors.calendar import load_calendar
from connectors.exchange import exchange_today
from connectors.runs import FAILED, RUNNING, STOPPED, tell_run
from connectors.settings import Settings
from deltafolio.replay_crew import LocalCrew
from deltafolio.replay_differences import as_object, changes, tables
from deltafolio.replay_screen import cells_named, plan_lines, run_record, summary
from replay.ask import Ask, check_dates, make_plan
from replay.bootstrap import FILE, bootstrap
from replay.branch import directory
from replay.differences import Differences
from replay.errors import ReplayError
from replay.feed import survey
from replay.run import Replay, StoppedError
from replay.sources import Source
from replay.state import OVER, Phase, Run, Runs

PAUSED = "paused"

TOP = 5
"""So many lines of differences of each kind."""

NAMED = 20
"""So many changes that explain differences."""


def calendar_of(settings: Settings) -> Calendar:
    """Load the sessions of the settings."""
    dates = settings.calendar
    return load_calendar(dates.name, dates.start, dates.end)


async def begin(settings: Settings, ask: Ask) -> Run:
    """Plan a run, print the plan, and write the run down; nothing is made before.

    Raises
    ------
    AskError
        If it cannot be had.
    """
    today = exchange_today(settings.calendar.name)()
    check_dates(ask, date.fromordinal(today))
    calendar, runs = calendar_of(settings), Runs(settings.home)
    if ask.source is Source.POSTGRES:
        run = await _begin_with_tables(settings, ask, calendar, today)
    else:
        facts, prefix = await survey(settings, ask.as_of)
        run = runs.create(make_plan(ask, facts, prefix, calendar), time.time())
    typer.echo(f"run {run.name}")
    typer.echo("\n".join(plan_lines(run.plan)))
    return run


async def _begin_with_tables(
    settings: Settings, ask: Ask, calendar: Calendar, today: int
) -> Run:
    """Read the tables, plan, and give what was read to the run."""
    runs = Runs(settings.home)
    part = runs.copy()
    try:
        read = await bootstrap(settings, calendar, today, part)
        plan = make_plan(ask, read.facts, read.prefix, calendar)
        plan = msgspec.structs.replace(plan, refused=read.refused)
        run = runs.create(plan, time.time())
        part.replace(runs.place(run.name) / FILE)
    finally:
        part.unlink(missing_ok=True)
    return run


async def work(
    settings: Settings, run: Run, *, top: int = TOP, as_json: bool = False
) -> None:
    """Work on a run, with a bar, and print what came of it.

    Parameters
    ----------
    settings, run
        Of the live system; which run.
    top
        So many lines of differences of each kind.
    as_json
        Print the differences, as one object, and nothing else.

    Raises
    ------
    ReplayError
        Why it stands still.
    """
    runs = Runs(settings.home)
    crew = LocalCrew(directory(settings.home, run.name), run.plan.ask.workers, _tell)
    with runs.hold(run.name), _bar() as bar:
        replay = Replay(settings, runs, run, crew, Shown(bar))
        await tell_run(settings, run_record(run, RUNNING, time.time()))
        status = STOPPED
        try:
            await replay.work()
            status = run.phase.value
        except StoppedError:
            status = run.phase.value if run.phase in OVER else PAUSED
            raise
        except (ReplayError, KafkaError, OSError) as error:
            status, run.error = FAILED, str(error) or type(error).__name__
            with contextlib.suppress(OSError):  # a full disk, once more
                runs.save(run)
            raise
        finally:
            await tell_run(settings, run_record(run, status, time.time()))
    if as_json:
        typer.echo(as_object(run, replay.differences or Differences()))
        return
    typer.echo("\n".join(summary(run)))
    if run.plan.ask.is_present and run.summary.differ:
        typer.echo("\n".join(cells_named(run, replay.named)))
    if replay.differences is not None:
        typer.echo("\n".join(tables(run, replay.differences, top)))
    if run.plan.ask.as_of is not None:
        typer.echo("\n".join(changes(replay.explained, NAMED)))


def _tell(text: str) -> None:
    typer.echo(text, err=True)


class Shown:
    """Progress of a run on a bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task(Phase.FEED.value)
        self._phase = Phase.FEED

    def __call__(self, phase: Phase, done: int, total: int) -> None:
        """Show how much of a phase is done."""
        if phase is not self._phase:
            self._phase = phase
            self._bar.reset(self._task)
        done = min(done, total)
        self._bar.update(
            self._task, description=phase.value, completed=done, total=total
        )


class _Rate(ProgressColumn):
    """Portfolio-days a second, while they are derived."""

    def render(self, task: Task) -> Text:
        if task.description != Phase.DERIVE.value or not task.speed:
            return Text("")
        return Text(f"{task.speed:,.0f} portfolio-days/s")


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
