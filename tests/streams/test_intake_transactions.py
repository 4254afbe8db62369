"""When a transaction goes on: whole, in parts, short; and what it pins meanwhile."""

import pytest
from aiokafka import TopicPartition

from analytics.rows import Change, Version
from connectors.debezium import Decoded, Marker
from streams.transactions import Piece, Transactions

LOTS, PRICES, ENDS = (TopicPartition(name, 0) for name in ("lots", "prices", "ends"))


def row(tx: str | None, order: int, commit: int = 100) -> Decoded:
    version = Version(commit, commit + order, order)
    change = Change("positions", (order,), version, 0, 1, None)
    return Decoded((change,), tx=tx, order=order)


class Scene:
    """Gives records their offsets, and remembers what went on."""

    def __init__(self, wait: float = 1.0, limit: int = 1000, **more: object) -> None:
        self.kept = Transactions(wait, limit, **more)
        self.offsets = {LOTS: 0, PRICES: 0, ENDS: 0}
        self.gone: list[tuple[str | None, int, bool]] = []

    def row(self, tx, order, now=0.0, place=LOTS, commit=100):
        offset = self._offset(place)
        self._note(self.kept.row(place, offset, row(tx, order, commit), now))

    def end(self, tx, count, now=0.0, lsn=200):
        offset = self._offset(ENDS)
        self._note(self.kept.end(ENDS, offset, Marker(tx, count, lsn), now))

    def tick(self, now, caught_up=True):
        for piece in self.kept.tick(now, caught_up=caught_up):
            self._note(piece)

    def _offset(self, place):
        self.offsets[place] += 1
        return self.offsets[place] - 1

    def _note(self, piece: Piece | None):
        if piece is not None:
            self.gone.append((piece.tx, len(piece.changes), piece.partial))


def test_a_row_without_a_transaction_goes_straight_on():
    scene = Scene()
    scene.row(None, 0)
    assert scene.gone == [(None, 1, False)]
    assert scene.kept.pins() == {}


@pytest.mark.parametrize("end_at", range(4))
def test_rows_go_on_together_wherever_the_end_comes(end_at):
    scene = Scene()
    for order in range(4):
        if order == end_at:
            scene.end("7", 3)
        if order < 3:
            assert scene.gone == []
            scene.row("7", order + 1, place=PRICES if order else LOTS)
    assert scene.gone == [("7", 3, False)]
    assert (len(scene.kept), scene.kept.held, scene.kept.pins()) == (0, 0, {})


def test_a_row_that_was_read_twice_does_not_complete_a_transaction():
    scene = Scene()
    scene.end("7", 2)
    scene.row("7", 1)
    scene.row("7", 1)
    assert scene.gone == []
    scene.row("7", 2)
    assert scene.gone == [("7", 3, False)]


def test_rows_numbered_anew_after_a_crash_all_go_on():
    """Debezium may number 3, 4 as 2, 3 the second time, and count 3 in all."""
    scene = Scene()
    for order in (1, 2, 3):
        scene.row("7", order)
    for order in (2, 3):
        scene.row("7", order, commit=103)
    scene.end("7", 3)
    assert scene.gone == [("7", 5, False)]


def test_a_second_smaller_end_neither_reopens_nor_holds_anything():
    scene = Scene()
    scene.row("7", 1)
    scene.row("7", 2)
    scene.end("7", 2)
    scene.end("7", 1)
    scene.row("7", 2)
    assert scene.gone == [("7", 2, False), ("7", 1, False)]
    assert len(scene.kept) == 0


@pytest.mark.parametrize("counts", [(2, 3), (3, 2)])
def test_the_smallest_of_several_ends_counts(counts):
    scene = Scene()
    for count in counts:
        scene.end("7", count)
    scene.row("7", 1)
    scene.row("7", 2)
    assert scene.gone == [("7", 2, False)]


def test_what_waits_in_vain_goes_on_as_a_part_and_ends_with_the_rest():
    scene = Scene(wait=1.0)
    scene.row("7", 1, now=0.0)
    scene.tick(0.9)
    assert scene.gone == []
    scene.tick(1.0)
    assert scene.gone == [("7", 1, True)]
    scene.row("7", 2, now=5.0)
    scene.end("7", 2, now=5.0)
    assert scene.gone == [("7", 1, True), ("7", 1, False)]


def test_the_end_of_a_transaction_that_went_on_in_parts_is_said_without_rows():
    scene = Scene()
    scene.row("7", 1)
    scene.tick(2.0)
    scene.end("7", 1, now=9.0)
    assert scene.gone == [("7", 1, True), ("7", 0, False)]


def test_news_prolongs_the_wait():
    scene = Scene(wait=1.0)
    scene.row("7", 1, now=0.0)
    scene.row("7", 2, now=0.8)
    scene.tick(1.7)
    assert scene.gone == []


def test_nothing_waits_in_vain_while_intake_itself_is_behind():
    scene = Scene(wait=1.0)
    scene.row("7", 1, now=0.0)
    scene.tick(5.0, caught_up=False)
    scene.tick(5.9)
    assert scene.gone == []
    scene.tick(6.1)
    assert scene.gone == [("7", 1, True)]


def test_when_a_later_transaction_has_ended_nothing_more_will_come():
    scene = Scene(wait=1.0)
    scene.row("7", 1, commit=100)
    scene.end("7", 2, lsn=200)  # a row was lost
    scene.row("8", 1, commit=200)
    scene.end("8", 1, lsn=300)
    scene.tick(1.5)
    assert scene.gone == [("8", 1, False), ("7", 1, False)]
    assert (scene.kept.short, scene.kept.parts) == (1, 0)


def test_the_end_of_an_earlier_transaction_says_nothing():
    scene = Scene(wait=1.0)
    scene.row("7", 1, commit=200)
    scene.end("6", 1, lsn=200)
    scene.row("6", 1, commit=100)
    scene.tick(1.5)
    assert scene.gone == [("6", 1, False), ("7", 1, True)]


def test_its_own_end_says_nothing_about_a_row_that_is_late():
    scene = Scene(wait=1.0)
    scene.row("7", 1)
    scene.end("7", 2)
    scene.tick(1.5)
    assert scene.gone == [("7", 1, True)]
    scene.row("7", 2, now=2.0)
    assert scene.gone[1:] == [("7", 1, False)]


def test_memory_is_bounded_by_letting_the_largest_go_on_in_parts():
    scene = Scene(limit=10)
    scene.row("6", 1)
    for order in range(1, 31):
        scene.row("7", order)
        assert scene.kept.held <= 10
    scene.end("7", 30)
    assert {tx for tx, _, _ in scene.gone} == {"7"}
    assert [partial for _, _, partial in scene.gone] == [True, True, True, False]
    assert sum(rows for _, rows, _ in scene.gone) == 30


def test_open_transactions_pin_their_first_records_of_each_log():
    scene = Scene()
    scene.row(None, 0)
    scene.row("7", 1)
    scene.row("8", 1)
    scene.end("8", 9)
    scene.row("7", 2, place=PRICES)
    scene.row("8", 2, place=PRICES)
    assert scene.kept.pins() == {LOTS: 1, PRICES: 0, ENDS: 0}
    scene.end("7", 2)
    assert scene.kept.pins() == {LOTS: 2, PRICES: 1, ENDS: 0}


def test_parts_that_went_on_are_pinned_until_the_end():
    scene = Scene()
    scene.row("7", 1)
    scene.tick(2.0)
    assert scene.kept.pins() == {LOTS: 0}


def test_rows_of_the_transaction_that_was_done_last_before_a_restart_go_straight_on():
    scene = Scene(ended=(200, "7"))
    scene.row("7", 3)
    assert scene.gone == [("7", 1, False)]


def test_rows_read_again_without_their_end_go_on_as_a_whole():
    scene = Scene(ended=(900, "9"))
    scene.row("7", 3, commit=100)
    scene.tick(1.5)
    assert scene.gone == [("7", 1, False)]


def test_ends_without_rows_are_counted_until_the_rows_come():
    scene = Scene()
    scene.end("7", 1)
    scene.end("7", 2)
    scene.end("8", 1)
    assert scene.kept.rowless == 2
    scene.row("7", 1)
    scene.row("8", 1)
    assert scene.kept.rowless == 0
    scene.end("9", 1, lsn=300)
    scene.end("10", 1, lsn=400)
    scene.tick(9.0)
    assert scene.kept.rowless == 1


def test_places_in_a_transaction_cost_no_memory_in_their_usual_order():
    scene = Scene(limit=10)
    scene.row("7", 2)
    for order in range(1, 5000):
        scene.row("7", order)
    scene.row("7", -5)
    scene.row("7", 10**18)
    [kept] = scene.kept._open.values()
    assert kept.seen.beyond == {-5, 10**18}
    assert len(kept.seen) == 5001
