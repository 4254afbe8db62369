"""What is taken up from a table: all of a state that holds, or nothing of it."""

from typing import Any, cast

import msgspec
import pytest

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.factors import Factors
from analytics.results import MONEY_FAMILIES
from analytics.rows import Change, Lot, Portfolio, Price, Row, Version
from streams.checkpoint import ChangedDefinitionsError, PartitionSeal, Shelf
from streams.publisher import Publisher
from streams.record import Record
from streams.state import PartitionStates

DAYS = [738_000, 738_001]
CALENDAR = Calendar(DAYS, [0, 1], DAYS[0], DAYS[1])
P = 3


class Topic:
    """Takes what is sent, as compaction would keep it."""

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}

    def lane(self, topic: str, partition: int) -> None:
        return None

    async def send(self, lane: None, records: Any) -> None:
        for key, value, _ in records:
            self.items[key] = value
            if value is None:
                del self.items[key]


def change(key: tuple[int | str, ...], portfolio: int | None, row: Row) -> Change:
    tables = {Portfolio: "portfolios", Lot: "positions", Price: "market_data_cache"}
    return Change(tables[type(row)], key, Version(1, 1, 0), 1, portfolio, row)


def engine(market: int = 0) -> Engine:
    made = Engine(CALENDAR, families=MONEY_FAMILIES)
    prices = [change(("A", day), None, Price("A", day, 10**7, None)) for day in DAYS]
    made.fold_market(prices, next_offset=market or 1)
    return made


def lot() -> Lot:
    return Lot(
        id=5,
        portfolio=1,
        symbol="A",
        type="LONG",
        klass="PUBLIC",
        quantity=10_000,
        entry_price=10**7,
        entry=DAYS[0],
        exit_price=None,
        exit=None,
        underlying=None,
        strike=None,
        expiry=None,
        last_price=None,
    )


@pytest.fixture
def topic() -> Topic:
    return Topic()


def states_of(made: Engine, topic: Topic) -> PartitionStates:
    return PartitionStates(made, "changelog", cast(Publisher, topic))


@pytest.fixture
async def written(topic: Topic) -> Topic:
    """The checkpoint of a worker that has derived two sessions."""
    made = engine()
    states = states_of(made, topic)
    states.take_up(P, {})
    rows = [
        change((1,), 1, Portfolio(1, "one", 10**8, None)),
        change((5,), 1, lot()),
    ]
    made.fold_partition(P, rows, next_offset=7)
    assert len(made.derive()) == 4
    await states.write(P, states.put_down(P), {"snapshots": 2, "positions": 2})
    return topic


def test_a_state_that_is_taken_up_has_nothing_left_to_say(written):
    made = engine()
    seal = states_of(made, written).take_up(P, written.items)
    assert seal is not None
    assert (seal.p, seal.m, seal.results["snapshots"]) == (7, 1, 2)
    assert made.partition_offset(P) == 7
    assert made.derive() == []
    made.touch_all(P)
    assert made.derive() == []


def resealed(items: dict[bytes, bytes], key: bytes, value: bytes) -> None:
    """Replace a piece and seal the whole as its writer would."""
    shelf = Shelf(b"%d|" % P, PartitionSeal)
    seal, blobs = shelf.read(items)
    records: list[Record] = [*shelf.put({**blobs, key: value}), shelf.seal(seal)]
    items |= {record.key: cast(bytes, record.value) for record in records}


@pytest.mark.parametrize("key", [b"pf|1", b"said|0"])
@pytest.mark.parametrize("blob", [b"", b"\xc1", msgspec.msgpack.encode([99])])
def test_a_blob_of_another_layout_makes_all_of_it_void(written, key, blob):
    resealed(written.items, key, blob)
    made = engine()
    assert states_of(made, written).take_up(P, written.items) is None
    assert made.partition_offset(P) == 0
    assert made.derive() == []


@pytest.mark.parametrize("factors", [Factors(), Factors(ridge_alpha=2.0)])
def test_a_state_of_an_older_version_is_void(written, factors):
    made = Engine(CALENDAR, version=2, factors=factors)
    assert states_of(made, written).take_up(P, written.items) is None


def test_other_factors_of_the_same_version_are_an_error(written):
    """Their results would have the revisions of those that are there."""
    made = Engine(CALENDAR, version=1, factors=Factors(ridge_alpha=2.0))
    with pytest.raises(ChangedDefinitionsError, match=r"by 1$"):
        states_of(made, written).take_up(P, written.items)


def test_an_older_version_is_an_error(written):
    made = Engine(CALENDAR, version=0)
    with pytest.raises(ChangedDefinitionsError, match=r"by 2$"):
        states_of(made, written).take_up(P, written.items)


@pytest.mark.parametrize(
    "families",
    [("snapshots",), (*MONEY_FAMILIES, "risk"), (*MONEY_FAMILIES, "symbols")],
)
def test_a_state_of_other_families_is_void(written, families):
    """The journal is read from its start, so that a new family says all it has."""
    asked = Engine(CALENDAR, families=families)
    assert states_of(asked, written).take_up(P, written.items) is None


async def test_after_a_void_one_everything_is_written(written):
    del written.items[b"%d|seal" % P]
    made = engine()
    states = states_of(made, written)
    assert states.take_up(P, written.items) is None
    dump = states.put_down(P)
    assert dump.whole
    await states.write(P, dump, dict.fromkeys(MONEY_FAMILIES, 0))
    assert states_of(engine(), written).take_up(P, written.items) is not None
    assert not states.put_down(P).whole


async def test_what_has_not_changed_is_not_written_again(written):
    made = engine()
    states = states_of(made, written)
    states.take_up(P, written.items)
    assert made.derive() == []
    await states.write(P, states.put_down(P), {})
    before = dict(written.items)
    await states.write(P, states.put_down(P), {"snapshots": 99})
    assert written.items == before
