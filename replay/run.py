"""A run from its plan to its summary: feed, derive, compare, publish.

Each phase begins with what Kafka and ``run.json`` say is done, so a run that was
stopped, in whatever way, goes on where it was: the feed at the end of the run's logs,
the workers from their checkpoints, the comparison from the topics.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from connectors.engine import derivation_version
from connectors.kafka import places_of, read_to_end, started_admin, started_consumer
from connectors.settings import Settings
from connectors.sink import FAMILIES, Family, Revision
from connectors.topics import ensure_topics, worker_topics
from replay.ask import check_publish
from replay.bootstrap import FILE
from replay.branch import branch, save
from replay.crew import Crew, is_done, phase_seconds
from replay.differences import Comparer, Differences
from replay.edited import feed_edits, load_changes
from replay.errors import RunError, WorkError
from replay.explain import Moved, explain
from replay.feed import feed, feed_file
from replay.logs import ends_of, reading
from replay.named import NAMED, Named, first_of, name
from replay.publish import is_stuck, publish
from replay.said import Compared, compare, families_of, wanted_by, words_of
from replay.sources import Source
from replay.state import OVER, Phase, Run, Runs

LOOK_S = 0.25
Show = Callable[[Phase, int, int], None]
"""Told the phase, how much of it is done, and of how much."""


class StoppedError(RunError):
    """Somebody asked the run to pause or to be cancelled."""


class Replay:
    """One run at work.

    Parameters
    ----------
    live
        Settings of the live system.
    runs, run
        Where runs are kept, and which one this is.
    crew
        Its workers.
    show
        Told of progress.

    Attributes
    ----------
    branch
        Settings of the run.
    compared
        By family, once compared.
    differences
        Number by number, once compared; None if the run is about the present.
    named
        Of a run about the present: the first cells that differ.
    explained
        Of a run as of a time: what was committed since and touches what differs.
    """

    def __init__(
        self, live: Settings, runs: Runs, run: Run, crew: Crew, show: Show
    ) -> None:
        self.live = live
        self.run = run
        self.branch = branch(live, run.name, run.plan.ask)
        self.compared: dict[str, Compared] = {}
        self.differences: Differences | None = None
        self.named: list[Named] = []
        self.explained: list[Moved] = []
        self._runs = runs
        self._crew = crew
        self._show = show
        self._fed = 0

    async def work(self) -> None:
        """Do what is left of the run.

        Raises
        ------
        AskError
            If it is to publish what is not the present.
        RunError
            If it is over, or is asked to stop.
        WorkError
            If its workers fail; it can be resumed.
        """
        if self.run.phase in OVER:
            message = f"run {self.run.name} is {self.run.phase.value}"
            raise RunError(message)
        check_publish(self.run.plan.ask)
        save(self.branch)
        await ensure_topics(self.branch, topics=worker_topics(self.branch))
        steps = {
            Phase.FEED: self._feed,
            Phase.DERIVE: self._derive,
            Phase.COMPARE: self._compare,
            Phase.PUBLISH: self._publish,
        }
        phases = list(steps)
        for phase in phases[phases.index(self.run.phase) :]:
            if phase is Phase.PUBLISH and not self.compared:
                await self._compare()
            await self._step(phase, steps[phase])
        self._enter(Phase.DONE)

    async def _step(self, phase: Phase, step: Callable[[], object]) -> None:
        """Do a phase, and add up its time whatever comes of it."""
        self._enter(phase)
        began = time.monotonic()
        try:
            await step()  # type: ignore[misc]  # each of them is a coroutine
        finally:
            seconds = self.run.summary.seconds
            spent = time.monotonic() - began
            seconds[phase] = seconds.get(phase, 0.0) + spent
            self._runs.save(self.run)

    def _enter(self, phase: Phase) -> None:
        self.run.phase, self.run.error = phase, ""
        self._runs.save(self.run)

    # --- phases ---

    async def _feed(self) -> None:
        plan = self.run.plan

        def fed(records: int) -> None:
            self._fed += records
            self._show(Phase.FEED, self._fed, plan.prefix.records())
            self._obey()

        if plan.ask.source is Source.POSTGRES:
            await feed_file(self.branch, self._runs.place(self.run.name) / FILE, fed)
        else:
            await feed(self.live, self.branch, plan.ask, plan.prefix, fed)
        if plan.ask.edits:
            changes = load_changes(self.branch.home)
            await feed_edits(self.branch, plan.prefix, changes)

    async def _derive(self) -> None:
        """Let the workers work until all is done; they stop in good order."""
        summary, before = self.run.summary, self.run.summary.cpu_seconds
        async with reading(self.branch) as consumer:
            ends = await ends_of(consumer, self.branch.topics)
        phases = _Phases(summary.worker_seconds)
        await asyncio.to_thread(self._crew.start)
        try:
            async with _Count(self.branch) as count:
                while not await is_done(self.branch.home, ends):
                    self._show(Phase.DERIVE, await count.read(), self.run.plan.cells)
                    summary.cpu_seconds = before + self._crew.cpu_seconds()
                    summary.worker_seconds = await phases.read(self.branch.home)
                    self._obey()
                    if trouble := self._crew.trouble():
                        raise WorkError(trouble)
                    await asyncio.sleep(LOOK_S)
                self._show(Phase.DERIVE, await count.read(), self.run.plan.cells)
            summary.cpu_seconds = before + self._crew.cpu_seconds()
            summary.worker_seconds = await phases.read(self.branch.home)
        finally:
            await asyncio.to_thread(self._crew.stop)

    async def _compare(self) -> None:
        summary, ask = self.run.summary, self.run.plan.ask
        families = families_of(ask)
        for done, family in enumerate(families):
            self._show(Phase.COMPARE, done, len(families))
            wanted = wanted_by(ask, family)
            ours = await words_of(self.branch, family, wanted)
            live = await words_of(self.live, family, wanted)
            prefix = self._revision if ask.is_now else None
            self.compared[family.name] = compare(ours, live, prefix)
            self._obey()
        summary.refused = self.run.plan.refused + await self._letters()
        every = self.compared.values()
        summary.derived = sum(found.derived for found in every)
        summary.unchanged = sum(found.unchanged for found in every)
        summary.newer = sum(found.newer for found in every)
        summary.differ, summary.stuck = sum(len(found.differ) for found in every), 0
        if ask.is_present:
            await self._name()
        else:
            comparer = Comparer(
                *(self.live, self.branch, self.run.name),
                *(ask, self.run.plan.prefix),
            )
            self.differences = await comparer.run()
            self.explained = await explain(self.live, ask, self.differences)

    async def _name(self) -> None:
        """Count what cannot be published, and name the first cells that differ."""
        self.named = []
        for family in self._differing():
            differ = self.compared[family.name].differ
            if self.run.plan.ask.is_now:
                stuck = sum(is_stuck(found, self._revision) for found in differ)
                self.run.summary.stuck += stuck
            some = first_of(differ, NAMED - len(self.named))
            self.named += await name(self.live, self.branch, family, some)

    async def _letters(self) -> int:
        """Count what could not be read, and what the source's read refused."""
        letters = read_to_end(self.branch, self.branch.topics.deadletters)
        return len({r.key async for records in letters for r in records})

    async def _publish(self) -> None:
        if not self.run.plan.ask.publish:
            return
        for family in self._differing():
            differ = self.compared[family.name].differ
            self._show(
                Phase.PUBLISH, self.run.summary.published, self.run.summary.differ
            )
            self.run.summary.published += await publish(
                self.live, self.branch, family, differ, self._revision
            )
            self._obey()

    def _differing(self) -> list[Family]:
        return [f for f in FAMILIES if f.name in self.compared]

    def _revision(self, partition: int) -> Revision:
        """Revision that the run reaches in a partition."""
        prefix = self.run.plan.prefix
        return (
            prefix.portfolios[partition],
            prefix.market,
            derivation_version(self.live),
        )

    def _obey(self) -> None:
        """Stop if somebody asked for it."""
        asked = self._runs.requested(self.run.name)
        if asked == "cancel":
            self._enter(Phase.CANCELLED)
        if asked:
            message = f"run {self.run.name}: {asked} was asked for"
            raise StoppedError(message)


class _Phases:
    """Adds up what workers did, those included that have ended since."""

    def __init__(self, before: dict[str, float]) -> None:
        self._before = before
        self._told: dict[int, dict[str, float]] = {}

    async def read(self, home: Path) -> dict[str, float]:
        """Seconds of each phase so far."""
        self._told |= await phase_seconds(home)
        total = Counter(self._before)
        for told in self._told.values():
            total.update(told)
        return dict(total)


class _Count:
    """Counts the records of the run's snapshots, or of its first family."""

    def __init__(self, branch: Settings) -> None:
        families = branch.worker.families
        self._topic = getattr(branch.topics, families[0])
        self._settings = branch

    async def __aenter__(self) -> _Count:
        async with started_admin(self._settings) as admin:
            self._places = await places_of(admin, [self._topic])
        self._opened = started_consumer(self._settings, group_id=None)
        self._consumer = await self._opened.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.__aexit__(None, None, None)

    async def read(self) -> int:
        return sum((await self._consumer.end_offsets(self._places)).values())
