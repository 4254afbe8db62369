"""What results topics say beyond a checkpoint, and what strangers wrote there.

R1. Read a stretch of a results partition: for each key the last record of the log
    and the highest revision.
R2. What was said is what the *last* record says, for that is what compaction keeps.
R3. If that is not the highest revision, readers who keep the highest hold another
    one; and if the highest is above our own revision, what we publish now will not
    win: publish the key again, as soon as our revision is not lower than that.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiokafka import ConsumerRecord

from analytics.engine import Engine
from analytics.results import Revision
from connectors.steps import Step, crash
from streams.filler import Filler
from streams.metrics import Metrics
from streams.publisher import Lane
from streams.record import Said, SaidReader


@dataclass(frozen=True, slots=True)
class Learned:
    """A key that was read: the revision of its last record, and the highest."""

    family: str
    owner: int | str
    session: int
    last: Revision
    highest: Revision


class Tails:
    """Teaches the engine what was said where it did not say it itself."""

    def __init__(
        self, engine: Engine, filler: Filler, reader: SaidReader, metrics: Metrics
    ) -> None:
        self._engine = engine
        self._filler = filler
        self._reader = reader
        self._metrics = metrics
        self._learned: dict[int, list[Learned]] = defaultdict(list)
        self._overruled: dict[int, list[Learned]] = {}

    async def learn(
        self,
        family: str,
        lane: Lane,
        stretch: tuple[int, int],
        still_ours: Callable[[], bool],
    ) -> None:
        """R1, R2: read a stretch [start, end) of a lane into the engine.

        Nothing of this lane may be published meanwhile. If the partition is not
        ours any more when it was read, the engine learns nothing. `judge` follows
        when the partition's state is up to date.
        """
        last: dict[tuple[int | str, int], Said] = {}
        highest: dict[tuple[int | str, int], Revision] = {}
        async for records in self._filler.stretch(lane.place, *stretch, whole=False):
            for said in self._said(family, records):
                cell = (said.owner, said.session)
                last[cell] = said
                highest[cell] = max(highest.get(cell, said.revision), said.revision)
        if last:
            crash.done(Step.R1)
        if still_ours():
            for cell, said in last.items():
                self._set(lane.partition, family, said)
                learned = Learned(family, *cell, said.revision, highest[cell])
                self._learned[lane.partition].append(learned)
            lane.expected = stretch[1]
            if last:
                crash.done(Step.R2)

    async def repair(
        self, family: str, lane: Lane, still_ours: Callable[[], bool]
    ) -> None:
        """Read what others wrote into a lane, and what we wrote on top of it."""
        foreign = lane.take_foreign()
        if not foreign:
            return
        self._metrics.foreign.inc(sum(end - start for start, end in foreign))
        first = min(start for start, _ in foreign)
        end = (await self._filler.ends([lane.place]))[lane.place]
        await self.learn(family, lane, (first, end), still_ours)
        if still_ours():
            self.judge(lane.partition)

    def judge(self, partition: int) -> None:
        """R3: see which keys that were read must be published again.

        The partition's state must be up to date: before, everything that was read
        is above its revision.
        """
        ours = self._revision(partition)
        found = [
            key
            for key in self._learned.pop(partition, ())
            if key.last < key.highest or key.highest > ours
        ]
        if found:
            self._overruled.setdefault(partition, []).extend(found)

    def restore_order(self) -> None:
        """R3: have published again what is due; the rest waits for our revision."""
        for partition, keys in list(self._overruled.items()):
            ours, waiting = self._revision(partition), []
            for key in keys:
                if key.highest > ours:
                    waiting.append(key)
                else:
                    self._engine.forget_said(
                        partition, key.family, key.owner, key.session
                    )
                    crash.done(Step.R3)
            self._overruled[partition] = waiting
            if not waiting:
                del self._overruled[partition]

    def forget(self, partition: int) -> None:
        """Another worker owns it now."""
        self._learned.pop(partition, None)
        self._overruled.pop(partition, None)

    def waits(self, partition: int) -> bool:
        """Whether a key of a partition waits to be published again."""
        return partition in self._overruled

    def _said(
        self, family: str, records: Iterable[ConsumerRecord[bytes, bytes]]
    ) -> Iterable[Said]:
        for record in records:
            said = self._reader.said(family, record.key, record.headers)
            if said is not None:
                yield said

    def _set(self, partition: int, family: str, said: Said) -> None:
        digest = said.digest or None
        self._engine.set_said(
            partition, family, said.owner, said.session, digest, said.revision
        )

    def _revision(self, partition: int) -> Revision:
        return Revision(
            self._engine.partition_offset(partition),
            self._engine.market_offset(),
            self._engine.version,
        )
