"""A checkpoint holds everything: rows, what was said, what is still touched."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.engine import Engine
from analytics.results import MONEY_FAMILIES
from analytics.rows import Change, Flow, Portfolio, Profile, Version, Weight
from tests.analytics.engine_desk import (
    CALENDAR,
    Desk,
    cells,
    day,
    lot_row,
    price_row,
    units,
)
from tests.analytics.test_engine_properties import (
    EXAMPLES,
    Chance,
    finished,
    folded,
    histories,
    read,
)


class Store:
    """The tables that a worker keeps: whole dumps and what changed since."""

    def __init__(self) -> None:
        self.market: dict[int | str, bytes] = {}
        self.rows: dict[int, bytes] = {}
        self.said: dict[int, bytes] = {}
        self.offsets = (0, 0)

    def write(self, engine: Engine, *, market: bool = True) -> None:
        """Take what changed; the market's table may lag behind."""
        if market:
            self.market |= engine.dump_market()
            self.offsets = (engine.market_offset(), self.offsets[1])
        self.rows |= engine.dump_portfolios(0)
        self.said |= engine.dump_said(0)
        self.offsets = (self.offsets[0], engine.partition_offset(0))

    def load_market(self, engine: Engine) -> None:
        for key, blob in self.market.items():
            engine.load_market(key, blob)
        engine.set_offsets(market=self.offsets[0])

    def load_partition(self, engine: Engine) -> None:
        engine.add_partition(0)
        for key, blob in self.rows.items():
            engine.load_portfolio(0, key, blob)
        for key, blob in self.said.items():
            engine.load_said(0, key, blob)
        engine.set_offsets(partition=(0, self.offsets[1]))

    def restored(self) -> Engine:
        engine = Engine(CALENDAR, families=MONEY_FAMILIES)
        self.load_market(engine)
        self.load_partition(engine)
        return engine


@pytest.fixture
def desk() -> Desk:
    desk = Desk(clock=CALENDAR.closes[3])
    desk.book(lot_row(1, 1, "A", 3, 5, 0), Flow(1, 1, 7, day(1)))
    desk.fold(Portfolio(2, "p", 50, day(1)), lot_row(2, 2, "B", -3, 5, 1))
    desk.prices("A", 10, 11, None, 13, 14)
    desk.prices("B", 1, 2, 3)
    desk.derive()
    return desk


def resume(desk: Desk, store: Store | None = None) -> None:
    """Go on with an engine from a checkpoint."""
    store = store or Store()
    if not store.market:
        store.write(desk.engine)
    desk.engine = store.restored()


def test_after_a_restart_nothing_is_said_and_everything_goes_on(desk):
    resume(desk)
    assert desk.derive() == []
    assert desk.engine.market_offset() == desk.offsets[0]
    assert desk.engine.partition_offset(0) == desk.offsets[1]
    desk.fold(price_row("A", 1, 12))
    found = desk.derive()
    assert cells(found) == [(1, 1), (1, 2), (1, 3)]
    assert [r.previous.nav for r in found if r.family == "snapshots"] == [
        units(10_018.0007, 4),
        units(10_018.0007, 4),
        units(10_024.0007, 4),
    ]


def test_an_older_change_is_still_older_after_a_restart(desk):
    late = desk.change(price_row("A", 1, 99)), desk.change(lot_row(1, 1, "A", 9, 5, 0))
    desk.fold(desk.gone(price_row("A", 1, 11)), desk.gone(lot_row(1, 1, "A", 3, 5, 0)))
    desk.derive()
    resume(desk)
    desk.fold(*late)
    assert desk.derive() == []


def test_only_what_changed_is_dumped_again(desk):
    engine, store = desk.engine, Store()
    store.write(engine)
    assert (engine.dump_portfolios(0), engine.dump_said(0)) == ({}, {})
    assert engine.dump_market() == {}
    desk.fold(price_row("B", 4, 5))
    desk.derive()
    assert set(engine.dump_market()) == {4}
    assert engine.dump_portfolios(0) == {}
    assert set(engine.dump_said(0)) == {4}
    desk.fold(Flow(1, 1, 8, day(3)))
    desk.derive()
    assert set(engine.dump_portfolios(0)) == {1}
    assert set(engine.dump_said(0)) == {1, 2, 3, 4}
    assert len(engine.dump_portfolios(0, only_dirty=False)) == 2


def test_what_is_touched_and_not_said_survives(desk):
    desk.fold(price_row("A", 3, 15), lot_row(2, 2, "B", -4, 5, 1))
    desk.engine.derive(["snapshots"])
    desk.fold(price_row("A", 0, 9))
    resume(desk)
    assert desk.engine.touched()
    found = desk.engine.derive()
    assert cells(found) == [(1, 0), (1, 1)]
    positions = [(1, 0), (1, 1), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3), (2, 4)]
    assert cells(found, "positions") == positions
    desk.engine.validate()


def test_a_transaction_that_is_not_complete_survives(desk):
    desk.fold(Flow(1, 1, 8, day(3)), tx="5", more=True)
    desk.fold(price_row("A", 0, 9), tx="6", more=True)
    resume(desk)
    assert desk.derive() == []
    desk.fold(price_row("A", 1, 9), tx="6")
    assert cells(desk.derive()) == []  # only portfolios of this partition hold A
    desk.fold(tx="5")  # nothing left of it for this log
    desk.engine.fold_partition(0, [], next_offset=99, tx="5")
    assert len(cells(desk.derive())) == 5


def test_part_of_a_transaction_stays_part_of_one(desk):
    desk.fold(Flow(1, 1, 8, day(3)), tx="5", partial=True)
    desk.fold(price_row("A", 4, 9), tx="6", partial=True)
    desk.derive()
    resume(desk)
    assert desk.derive() == []
    assert desk.at(3)["quality"]["partial"] is True
    desk.fold(Flow(2, 1, 8, day(3)), tx="5")
    desk.derive()
    assert [q["partial"] for q in desk.column("quality")] == [False] * 4 + [True]
    desk.fold(price_row("A", 4, 8), tx="6")
    desk.derive()
    assert desk.at(4)["quality"]["partial"] is False


def test_profiles_and_weights_are_kept(desk):
    change = desk.change(None, "company_profiles", ("A",), None)
    profile = Profile("A", "Technology", False)
    weight = Weight(1, "SPX", "Energy", 0.5, day(0))
    version = Version(99, 0, 0)
    rows = [("company_profiles", ("A",), profile)]
    rows += [("benchmarks_sector_weights", (1,), weight)]
    changes = [type(change)(t, k, version, 1, None, row) for t, k, row in rows]
    desk.engine.fold_market(changes, next_offset=9)
    resume(desk)
    assert desk.engine.market.profiles == {"A": (version, profile)}
    assert desk.engine.market.weights == {1: (version, weight)}


def test_a_blob_of_another_layout_is_refused(desk):
    with pytest.raises(msgspec.DecodeError):
        desk.engine.load_portfolio(0, 1, b"\x93\x01\x02\x03")
    with pytest.raises(msgspec.DecodeError):
        desk.engine.load_market(3, b"nonsense")


def taken_over(desk: Desk, *rows) -> list:
    """What is said when a partition comes to a market that has moved on."""
    store = Store()
    store.write(desk.engine)
    other = Engine(CALENDAR, families=MONEY_FAMILIES)
    store.load_market(other)
    since = other.market_offset()
    for row in rows:
        change = row if isinstance(row, Change) else desk.change(row)
        other.fold_market([change], next_offset=other.market_offset() + 1)
    assert other.derive() == []
    store.load_partition(other)
    other.touch_all(0, since=since)
    found = other.derive()
    other.validate()
    return found


def test_a_take_over_looks_only_at_what_changed(desk):
    found = taken_over(desk, price_row("A", 1, 12))
    assert cells(found) == [(1, 1), (1, 2), (1, 3)]


def test_a_take_over_sees_sessions_that_came(desk):
    found = taken_over(desk, price_row("NOBODY", 5, 1))
    assert cells(found) == [(1, 5), (2, 5)]


def test_a_take_over_sees_sessions_that_went(desk):
    found = taken_over(desk, desk.gone(price_row("A", 4, 14)))
    assert [(r.owner, r.session, r.content) for r in found[:2]] == [
        (1, 4, None),
        (2, 4, None),
    ]


def test_a_take_over_sees_what_settled(desk):
    call = {"type": "LC", "underlying": "A", "strike": 2, "expiry": 3}
    desk.fold(lot_row(9, 2, "A2", 1, 5, 1, **call))
    desk.derive()
    found = taken_over(desk, price_row("A", 3, 14))
    assert cells(found) == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_a_take_over_sees_transactions_that_ended(desk):
    desk.fold(price_row("A", 3, 14), tx="5", partial=True)
    desk.derive()
    store = Store()
    store.write(desk.engine)
    other = Engine(CALENDAR, families=MONEY_FAMILIES)
    store.load_market(other)
    other.fold_market([], next_offset=desk.offsets[0] + 1, tx="5")
    store.load_partition(other)
    assert cells(other.derive()) == [(p, t) for p in (1, 2) for t in (3, 4)]
    other.validate()


def left_off(changes, chance: Random) -> tuple[Engine, dict, Store]:
    """An engine that wrote checkpoints now and then, and a last one, and died."""
    engine, records, store = Engine(CALENDAR, families=MONEY_FAMILIES), {}, Store()
    engine.add_partition(0)
    for change in changes:
        fold(engine, change)
        if chance.random() < 0.3:
            read(engine, records)
            store.write(engine, market=chance.random() < 0.5)
    read(engine, records)
    store.write(engine, market=chance.random() < 0.5)
    return engine, records, store


def same_after_a_take_over(changes, chance: Random) -> None:
    """A partition is loaded into an engine whose market is elsewhere."""
    stop = chance.randint(len(changes) // 2, len(changes))
    left, records, store = left_off(changes[:stop], chance)
    taker = Engine(CALENDAR, families=MONEY_FAMILIES)
    store.load_market(taker)
    prices = [change for change in changes if change.portfolio is None]
    cut = chance.randint(taker.market_offset(), len(prices))
    for change in prices[taker.market_offset() : cut]:
        fold(taker, change)
    assert taker.derive() == []
    store.load_partition(taker)
    if taker.market_offset() > left.market_offset():
        taker.touch_all(0, since=left.market_offset())
    others = [change for change in changes[stop:] if change.portfolio is not None]
    for change in prices[cut:] + others:
        fold(taker, change)
    read(taker, records)
    taker.validate()
    assert records == finished(changes)


def fold(engine: Engine, change) -> None:
    """Fold one change as one record."""
    if change.portfolio is None:
        engine.fold_market([change], next_offset=engine.market_offset() + 1)
    else:
        engine.add_partition(0)
        offset = engine.partition_offset(0) + 1
        engine.fold_partition(0, [change], next_offset=offset)


@given(changes=histories(), chance=Chance)
@EXAMPLES
def test_a_take_over_says_what_one_engine_says(changes, chance):
    same_after_a_take_over(changes, chance)


@given(changes=histories(), stop=st.integers(0, 25))
@EXAMPLES
def test_a_restart_says_what_one_engine_says(changes, stop):
    records = {}
    engine = folded(Engine(CALENDAR, families=MONEY_FAMILIES), changes[:stop])
    engine.derive(["snapshots"])  # positions are still to come
    snapshots = {
        (r.family, r.owner, r.session): r.content
        for r in folded(
            Engine(CALENDAR, families=MONEY_FAMILIES), changes[:stop]
        ).derive(["snapshots"])
    }
    records |= snapshots
    store = Store()
    store.write(engine)
    resumed = folded(store.restored(), changes[stop:])
    read(resumed, records)
    resumed.validate()
    assert records == finished(changes)
