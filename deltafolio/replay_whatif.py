"""``deltafolio replay what-if``: its edits read, its plan made and printed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date

import msgspec

from analytics.results import RISK, SNAPSHOTS
from connectors.exchange import exchange_today
from connectors.ids import Wanted
from connectors.settings import Settings
from deltafolio.replay_run import calendar_of
from deltafolio.replay_screen import plan_lines
from replay.ask import Ask, check_dates, make_plan
from replay.edited import rows_of, save_changes
from replay.editing import Grounds, apply
from replay.edits import Edits
from replay.errors import AskError
from replay.feed import survey
from replay.state import Run, Runs

COMPARED = (SNAPSHOTS, RISK)
"""Families whose numbers are a portfolio's; the others are not derived."""


async def begin_what_if(
    settings: Settings,
    edits: Edits,
    bounds: tuple[date | None, date | None],
    portfolios: Wanted | None,
    workers: int,
    say: Callable[[str], None],
) -> Run:
    """Plan a branch with edits, print the plan, and write the run down.

    Parameters
    ----------
    bounds
        First and last date; None is that of the first or newest price.

    Raises
    ------
    AskError, EditsError
        If it cannot be had; nothing is made then.
    """
    families = tuple(name for name in settings.worker.families if name in COMPARED)
    if not families:
        message = "snapshots and risk are compared, and live derives neither"
        raise AskError(message)
    calendar = calendar_of(settings)
    facts, prefix = await survey(settings, None)
    days = facts.days or {calendar.first}
    ask = Ask(
        bounds[0] or date.fromordinal(min(days)),
        bounds[1] or date.fromordinal(max(days)),
        workers=workers,
        families=families,
    ).narrowed(portfolios)
    check_dates(ask, date.fromordinal(exchange_today(settings.calendar.name)()))
    plan = make_plan(ask, facts, prefix, calendar)
    rows = await rows_of(settings, prefix, edits)
    edited = apply(edits, Grounds(rows, max(days), settings.factors, calendar))
    ask = msgspec.structs.replace(plan.ask, edits=edited.words)
    plan = msgspec.structs.replace(plan, ask=ask)
    runs = Runs(settings.home)
    run = runs.create(plan, time.time())
    save_changes(runs.place(run.name), edited.changes)
    say(f"run {run.name}")
    for line in plan_lines(plan):
        say(line)
    return run
