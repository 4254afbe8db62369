"""Nothing is lost, whatever is read in whatever order, and wherever intake dies.

Beside the law stand doors that break it, each in one place.
"""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.door import Door
from tests.streams.intake_model import (
    DAYS,
    ENDS,
    PLACES,
    Run,
    Source,
    Target,
    faults_of,
    random_life,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(0, 6))
def test_after_any_life_the_journal_holds_the_newest_of_every_row(seed, crashes):
    assert faults_of(*random_life(seed, crashes=crashes)) == []


class PinsNothing(Door):
    """Commits beyond rows that are still kept."""

    def committable(self) -> Any:
        kept = self.transactions
        return self.ledger.committable({}, kept.ended, self._packer.unfinished)


class AnnouncesNothing(Door):
    """Appends parts before anybody could know of them."""

    def announcement(self) -> Any:
        return {}

    def committable(self) -> Any:
        kept = self.transactions
        return self.ledger.committable(kept.pins(), kept.ended, ())


class ForgetsTheEnd(Door):
    """Does not say which transaction was done last."""

    def committable(self) -> Any:
        pins = self.transactions.pins()
        return self.ledger.committable(pins, (0, ""), self._packer.unfinished)


class AnnouncesWithOffsets(Door):
    """Commits what is not in the journal yet."""

    def announcement(self) -> Any:
        return self.committable()


class DropsHeldPrices(Door):
    """Holds back without writing it down."""

    def drain(self) -> Any:
        writes = super().drain()
        writes.held.clear()
        return writes


class TakesRepeatedPlacesForRepeatedRows(Door):
    """Never tells the logs that got a part that it is whole."""

    def _pass(self, piece: Any) -> None:
        if piece is None or piece.changes:
            super()._pass(piece)


@pytest.mark.parametrize(
    "broken",
    [
        PinsNothing,
        AnnouncesNothing,
        AnnouncesWithOffsets,
        DropsHeldPrices,
        TakesRepeatedPlacesForRepeatedRows,
    ],
)
def test_a_door_that_is_broken_in_one_place_is_caught(broken):
    assert any(faults_of(*random_life(seed, broken, crashes=5)) for seed in range(400))


@pytest.mark.parametrize(("door", "fails"), [(Door, False), (ForgetsTheEnd, True)])
def test_rows_sent_again_whose_end_was_read_before_a_restart_are_no_part(door, fails):
    source, target = Source(random.Random(1)), Target()  # noqa: S311
    source.transaction(6)
    source.stream(100)
    first = Run(source, target, DAYS[10], door)
    for place in PLACES:
        first.read(place, 100)
    source.die(back=4)
    source.stream(100)
    first.read(ENDS, 100)
    first.write()
    first.commit()
    Run(source, target, DAYS[10], door).finish()
    assert bool(faults_of(source, target)) == fails
