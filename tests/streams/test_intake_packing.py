"""Pieces in journal records: together where they may be, alone where they must."""

from itertools import pairwise

import pytest
from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.rows import Change, Portfolio, Version
from connectors.journal import Batch, decode, partition_of
from connectors.settings import TopicSettings
from streams.packing import MAX_BYTES, Packer

TOPICS = TopicSettings(partitions=4)
MARKET = TopicPartition(TOPICS.market, 0)


def change(portfolio: int | None, key: int, name: str = "") -> Change:
    row = Portfolio(key, name, 0, None) if name else None
    return Change("portfolios", (key,), Version(1, key, 1), 0, portfolio, row)


def drained(packer: Packer) -> list[tuple[TopicPartition, Batch]]:
    return [(made.place, decode(made.value)) for made in packer.drain()]


def test_a_portfolio_lies_where_kafkas_own_partitioner_would_put_it():
    packer = Packer(TOPICS, 10)
    for portfolio in range(1, 30):
        packer.add("7", [change(portfolio, 0)])
    for place, batch in drained(packer):
        for row in batch.changes:
            assert place == TopicPartition(
                TOPICS.portfolios, partition_of(row.portfolio, 4)
            )


def test_small_transactions_share_a_record_that_names_none_of_them():
    packer = Packer(TOPICS, 10)
    packer.add("7", [change(None, 1), change(None, 2)])
    packer.add("8", [change(None, 3)])
    packer.add(None, [change(None, 4)])
    [(place, batch)] = drained(packer)
    assert (place, batch.tx, batch.more, batch.partial) == (MARKET, None, False, False)
    assert [c.key for c in batch.changes] == [(1,), (2,), (3,), (4,)]


def test_a_transaction_that_has_a_record_for_itself_is_named():
    packer = Packer(TOPICS, 10)
    packer.add("7", [change(None, 1), change(1, 2)])
    assert [batch.tx for _, batch in drained(packer)] == ["7", "7"]


def test_a_transaction_is_not_divided_while_a_record_can_hold_it():
    packer = Packer(TOPICS, 10)
    packer.add("7", [change(None, key) for key in range(6)])
    packer.add("8", [change(None, key) for key in range(6)])
    assert [(batch.tx, len(batch.changes)) for _, batch in drained(packer)] == [
        ("7", 6),
        ("8", 6),
    ]


def test_a_larger_one_is_several_records_side_by_side():
    packer = Packer(TOPICS, 10)
    packer.add("6", [change(None, 99)])
    packer.add("7", [change(None, key) for key in range(25)])
    packer.add("8", [change(None, 98)])
    assert [
        (batch.tx, len(batch.changes), batch.more) for _, batch in drained(packer)
    ] == [
        ("6", 1, False),
        ("7", 10, True),
        ("7", 10, True),
        ("7", 5, False),
        ("8", 1, False),
    ]


def test_a_part_is_alone_and_every_log_that_got_one_is_told_the_end():
    packer = Packer(TOPICS, 10)
    packer.add("7", [change(None, 1), change(1, 2), change(2, 3)], partial=True)
    packer.add("8", [change(None, 4)])
    first = drained(packer)
    assert {(batch.tx, batch.partial) for _, batch in first} == {
        ("7", True),
        ("8", False),
    }
    assert list(packer.unfinished) == ["7"]
    packer.add("7", [change(1, 5)])
    assert packer.pending
    last = drained(packer)
    told = {place for place, _ in last}
    assert told == {place for place, batch in first if batch.partial}
    assert {(batch.tx, batch.partial, batch.more) for _, batch in last} == {
        ("7", False, False)
    }
    assert sorted(len(batch.changes) for _, batch in last) == [0, 0, 1]
    assert list(packer.unfinished) == []


def test_after_a_restart_every_log_is_told():
    packer = Packer(TOPICS, 10, unfinished=["7"])
    packer.add("7", [change(1, 1)])
    assert len(drained(packer)) == 1 + 4


def test_a_record_is_cut_where_it_would_be_too_large():
    packer = Packer(TOPICS, 1000)
    changes = [change(None, key, "x" * 20_000) for key in range(100)]
    packer.add("7", changes)
    made = packer.drain()
    assert all(len(record.value) <= MAX_BYTES for record in made)
    batches = [decode(record.value) for record in made]
    assert [c for batch in batches for c in batch.changes] == changes
    assert [batch.more for batch in batches] == [True] * (len(made) - 1) + [False]


def test_one_row_of_any_size_has_its_record():
    packer = Packer(TOPICS, 1000)
    packer.add("7", [change(None, 1, "x" * 2_000_000)])
    [made] = packer.drain()
    assert made.rows == 1


pieces = st.lists(
    st.tuples(
        st.sampled_from([None, "7", "8", "9"]),
        st.lists(st.sampled_from([None, 1, 2, 3, 4, 5, 6]), max_size=12),
    ),
    max_size=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(pieces, st.integers(1, 7), st.data())
def test_nothing_is_lost_reordered_or_torn(found, most, data):
    packer = Packer(TOPICS, most)
    made: list[tuple[TopicPartition, Batch]] = []
    given_changes = []
    key = 0
    for tx, portfolios in found:
        changes = []
        for portfolio in portfolios:
            key += 1
            changes.append(change(portfolio, key))
        packer.add(tx, changes)
        given_changes += changes
        if data.draw(st.booleans()):
            made += drained(packer)
    made += drained(packer)
    by_place: dict[TopicPartition, list[Batch]] = {}
    for place, batch in made:
        by_place.setdefault(place, []).append(batch)
    for place, batches in by_place.items():
        assert all(len(batch.changes) <= most for batch in batches)
        wanted = [c for c in given_changes if packer._place(c) == place]
        assert [c for batch in batches for c in batch.changes] == wanted
        assert not batches[-1].more
        for batch, following in pairwise(batches):
            assert not batch.more or batch.tx == following.tx
    assert sum(len(batch.changes) for _, batch in made) == len(given_changes)


@pytest.mark.parametrize("partial", [True, False])
def test_nothing_makes_no_record(partial):
    packer = Packer(TOPICS, 10)
    packer.add("7", [], partial=partial)
    assert not packer.pending
    assert packer.drain() == []
