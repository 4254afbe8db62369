"""The engine's state on Kafka: taken up at a take-over, put down by the flush.

A partition's state lies in the changelog of the Faust table, the market's in a
compacted topic of its own, written by the owner of partition 0. What is written
between two seals fits one batch most of the time, and a batch is stored whole or
not at all; if it does not fit and the writer dies in between, the checkpoint is
void and the journal is read instead (``checkpoint.py``).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
from aiokafka import TopicPartition

from analytics.engine import Engine
from streams.checkpoint import (
    ChangedDefinitionsError,
    MarketSeal,
    PartitionSeal,
    Seal,
    Sealed,
    Shelf,
    VoidCheckpointError,
)
from streams.filler import Filler
from streams.folding import MARKET_PARTITION
from streams.publisher import Lane, NotOwnerError, Publisher
from streams.record import Record

logger = logging.getLogger(__name__)

PORTFOLIO = b"pf|"
SAID = b"said|"
MARKET_RECORDS = 500
"""The market is put down again when so many of its records were folded."""


@dataclass(frozen=True, slots=True)
class Dump:
    """What the engine said of its state at one instant.

    Attributes
    ----------
    p, m
        Offsets that it includes; p is 0 for the market.
    blobs
        By name; what is not in it has not changed since the last dump.
    whole
        Whether it is all of the state, to replace whatever lies there.
    """

    p: int
    m: int
    blobs: dict[bytes, bytes]
    whole: bool


class PartitionStates:
    """Checkpoints of the partitions this worker owns."""

    def __init__(self, engine: Engine, topic: str, publisher: Publisher) -> None:
        self._engine = engine
        self._topic = topic
        self._publisher = publisher
        self._shelves: dict[int, Shelf[PartitionSeal]] = {}
        self._whole: set[int] = set()
        self._sealed: dict[int, tuple[int, int]] = {}

    def lane(self, partition: int) -> Lane:
        """Where the checkpoints of a partition go."""
        return self._publisher.lane(self._topic, partition)

    def take_up(
        self, partition: int, items: Mapping[bytes, bytes]
    ) -> PartitionSeal | None:
        """T3: put a partition into the engine, from its checkpoint if that holds.

        Parameters
        ----------
        partition
            Which; the engine forgets what it had of it.
        items
            What the table holds under the partition's prefix.

        Returns
        -------
        PartitionSeal or None
            None if the checkpoint is void: the engine then has the partition
            empty, at offset 0.

        Raises
        ------
        ChangedDefinitionsError
            If other definitions were published under this or a later version: our
            results would not replace them.
        """
        self._start_empty(partition)
        shelf = self._shelves[partition] = Shelf(b"%d|" % partition, PartitionSeal)
        try:
            seal, blobs = shelf.read(items)
            self._check_definitions(seal)
            _check_version(seal, self._engine.version)
            _check_families(seal, self._engine.families)
            self._load(partition, blobs)
        except (VoidCheckpointError, msgspec.DecodeError) as error:
            if items:
                logger.warning("checkpoint of partition %d: %s", partition, error)
            self._start_empty(partition)
            self._whole.add(partition)
            return None
        self._engine.set_offsets(partition=(partition, seal.p))
        self._whole.discard(partition)
        return seal

    def put_down(self, partition: int) -> Dump:
        """Take what changed out of the engine; nothing may be touched or unsaid."""
        whole = partition in self._whole
        rows = self._engine.dump_portfolios(partition, only_dirty=not whole)
        said = self._engine.dump_said(partition, only_dirty=not whole)
        blobs = {PORTFOLIO + b"%d" % key: blob for key, blob in rows.items()}
        blobs |= {SAID + b"%d" % key: blob for key, blob in said.items()}
        return Dump(
            self._engine.partition_offset(partition),
            self._engine.market_offset(),
            blobs,
            whole,
        )

    async def write(self, partition: int, dump: Dump, results: dict[str, int]) -> None:
        """E6: write a dump and, last, its seal.

        Parameters
        ----------
        partition, dump
            What and of which.
        results
            By family, the next offset of the results partition: everything before
            is in the dump.

        Raises
        ------
        NotOwnerError
            If the partition is not ours any more.
        """
        if not dump.blobs and self._sealed.get(partition) == (dump.p, dump.m):
            return
        shelf = self._shelves.get(partition)
        if shelf is None:
            raise NotOwnerError(partition)
        seal = PartitionSeal(
            version=self._engine.version,
            p=dump.p,
            m=dump.m,
            results=results,
            definitions=self._engine.definitions(),
        )
        await self._publisher.send(self.lane(partition), _records(shelf, dump, seal))
        self._whole.discard(partition)
        self._sealed[partition] = (dump.p, dump.m)

    def distrust(self, partition: int) -> None:
        """Somebody else wrote there: the next dump is of everything."""
        self._whole.add(partition)

    def forget(self, partition: int) -> None:
        """Another worker owns it now."""
        self._engine.drop_partition(partition)
        self._shelves.pop(partition, None)
        self._sealed.pop(partition, None)
        self._whole.discard(partition)

    def _check_definitions(self, seal: PartitionSeal) -> None:
        """See that a change of definitions came with a higher version."""
        mine = self._engine.version
        if seal.version > mine or (
            seal.version == mine and seal.definitions != self._engine.definitions()
        ):
            least = seal.version - mine + 1
            message = (
                f"results of other definitions (version {seal.version}, ours is "
                f"{mine}) were published: factors.edition must be raised by {least}"
            )
            raise ChangedDefinitionsError(message)

    def _load(self, partition: int, blobs: Mapping[bytes, bytes]) -> None:
        for name, blob in blobs.items():
            if name.startswith(PORTFOLIO):
                key = int(name.removeprefix(PORTFOLIO))
                self._engine.load_portfolio(partition, key, blob)
            else:
                key = int(name.removeprefix(SAID))
                self._engine.load_said(partition, key, blob)

    def _start_empty(self, partition: int) -> None:
        self._engine.drop_partition(partition)
        self._engine.add_partition(partition)


class MarketState:
    """Checkpoint of the market; only the owner of partition 0 writes it."""

    def __init__(self, engine: Engine, topic: str, publisher: Publisher) -> None:
        self._engine = engine
        self._place = TopicPartition(topic, MARKET_PARTITION)
        self._publisher = publisher
        self._shelf: Shelf[MarketSeal] = Shelf(b"", MarketSeal)
        self._whole = True
        self._sealed = 0

    @property
    def lane(self) -> Lane:
        """Where the checkpoint goes; its partition is that of its writer."""
        return self._publisher.lane(self._place.topic, self._place.partition)

    async def take_up(self, filler: Filler) -> None:
        """T1: load the market from its checkpoint, if that holds."""
        end = (await filler.ends([self._place]))[self._place]
        items: dict[bytes, bytes] = {}
        async for records in filler.stretch(self._place, 0, end, whole=False):
            for record in records:
                if record.value is None:
                    items.pop(record.key or b"", None)
                else:
                    items[record.key or b""] = record.value
        try:
            sealed = self._shelf.read(items)
            self._load(sealed)
        except (VoidCheckpointError, msgspec.DecodeError) as error:
            # Rows that were loaded do no harm: the log holds them, and newer ones.
            if items:
                logger.warning("checkpoint of the market: %s", error)

    def put_down(self) -> Dump | None:
        """Take what changed out of the engine; None if that is too little."""
        m = self._engine.market_offset()
        if not self._whole and m - self._sealed < MARKET_RECORDS:
            return None
        dumped = self._engine.dump_market(only_dirty=not self._whole)
        blobs = {str(key).encode(): blob for key, blob in dumped.items()}
        return Dump(0, m, blobs, self._whole)

    async def write(self, dump: Dump) -> None:
        """E7: write a dump and, last, its seal.

        Raises
        ------
        NotOwnerError
            If partition 0 is not ours any more.
        """
        seal = MarketSeal(version=self._engine.version, m=dump.m)
        await self._publisher.send(self.lane, _records(self._shelf, dump, seal))
        self._whole = False
        self._sealed = dump.m

    def distrust(self) -> None:
        """Somebody else wrote there: the next dump is of everything."""
        self._whole = True

    def _load(self, sealed: Sealed[MarketSeal]) -> None:
        seal, blobs = sealed
        _check_version(seal, self._engine.version)
        for name, blob in blobs.items():
            word = name.decode()
            self._engine.load_market(int(word) if word.isdigit() else word, blob)
        self._engine.set_offsets(market=seal.m)
        self._whole = False
        self._sealed = seal.m


def _check_version(seal: Seal, version: int) -> None:
    """State of other definitions is not ours to continue."""
    if seal.version != version:
        message = f"version {seal.version}, this is {version}"
        raise VoidCheckpointError(message)


def _check_families(seal: PartitionSeal, families: Iterable[str]) -> None:
    """See that the same is derived: what is new has to be for every session."""
    if set(seal.results) != set(families):
        message = f"families {sorted(seal.results)}, these are {sorted(families)}"
        raise VoidCheckpointError(message)


def _records(
    shelf: Shelf[PartitionSeal] | Shelf[MarketSeal],
    dump: Dump,
    seal: PartitionSeal | MarketSeal,
) -> Iterator[Record]:
    """Everything of a dump in its order: the seal is the last one."""
    if dump.whole:
        yield from shelf.clear(keep=dump.blobs)
    yield from shelf.put(dump.blobs)
    yield shelf.seal(seal)  # type: ignore[arg-type]  # both are of one kind
