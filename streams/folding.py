"""E1 and E2: records of the journal are decoded and folded into the engine.

A record that cannot be decoded is bad input: it goes to the dead letters (E5) and
counts as folded, for it will not get better. Anything else that goes wrong is not
caught here and ends the worker before anything is acknowledged.
"""

from analytics.engine import Engine
from connectors.deadletters import DeadLetter, Place, letter_of
from connectors.debezium import Refused
from connectors.journal import Batch, JournalFormatError, decode
from connectors.settings import TopicSettings
from connectors.steps import Step, crash, offsets
from streams.metrics import Metrics, Phase

MARKET_PARTITION = 0
BROKEN = "broken_record"
"""Reason in the letter of a journal record that cannot be decoded."""


class OutOfOrderError(RuntimeError):
    """A record is not the next one of its log: a defect, never input."""


class Folder:
    """The one door by which the journal enters the engine.

    Attributes
    ----------
    letters
        Records that could not be decoded and were not reported yet.
    """

    def __init__(self, engine: Engine, topics: TopicSettings, metrics: Metrics) -> None:
        self._engine = engine
        self._topics = topics
        self._metrics = metrics
        self.letters: list[DeadLetter] = []

    def market(self, offset: int, value: bytes | None, timestamp: int) -> None:
        """Fold one record of the market.

        Parameters
        ----------
        offset, value, timestamp
            Of the record; the time in milliseconds, as Kafka has it.

        Raises
        ------
        OutOfOrderError
            If it is not the next one.
        """
        _check(self._topics.market, offset, self._engine.market_offset())
        place = Place(self._topics.market, MARKET_PARTITION, offset, timestamp)
        batch = self._decoded(place, value)
        crash.done(Step.E1)
        with self._metrics.spending(Phase.FOLD):
            self._engine.fold_market(
                batch.changes,
                next_offset=offset + 1,
                tx=batch.tx,
                more=batch.more,
                partial=batch.partial,
            )
        crash.done(Step.E2)
        self._metrics.folded(self._topics.market, len(batch.changes))

    def portfolios(
        self, partition: int, offset: int, value: bytes | None, timestamp: int
    ) -> None:
        """Fold one record of a partition of portfolios; as `market`."""
        topic = self._topics.portfolios
        _check(topic, offset, self._engine.partition_offset(partition))
        batch = self._decoded(Place(topic, partition, offset, timestamp), value)
        crash.done(Step.E1)
        with self._metrics.spending(Phase.FOLD):
            self._engine.fold_partition(
                partition,
                batch.changes,
                next_offset=offset + 1,
                tx=batch.tx,
                more=batch.more,
                partial=batch.partial,
            )
        offsets.fold(partition, offset)
        crash.done(Step.E2)
        self._metrics.folded(topic, len(batch.changes))

    def take_letters(self) -> list[DeadLetter]:
        """Letters since the last call."""
        taken, self.letters = self.letters, []
        return taken

    def _decoded(self, place: Place, value: bytes | None) -> Batch:
        try:
            with self._metrics.spending(Phase.DECODE):
                return decode(value or b"")
        except JournalFormatError as error:
            refused = Refused(BROKEN, value=str(error))
            self.letters.append(letter_of(place, value, refused))
            return Batch(0, None, more=False, partial=False, changes=[])


def _check(topic: str, offset: int, expected: int) -> None:
    if offset != expected:
        message = f"{topic}: record {offset}, expected {expected}"
        raise OutOfOrderError(message)
