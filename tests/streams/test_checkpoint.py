"""A checkpoint verifies as a whole or not at all, whatever was written over it."""

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.checkpoint import (
    PIECE_BYTES,
    MarketSeal,
    PartitionSeal,
    Shelf,
    VoidCheckpointError,
    by_partition,
)
from streams.record import Record

Topic = dict[bytes, bytes]
NAMES = st.sampled_from([b"pf|1", b"pf|2", b"said|10", b"said|11"])
SIZES = st.sampled_from([0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
WRITES = st.lists(st.dictionaries(NAMES, SIZES, max_size=4), max_size=6)


def shelf() -> Shelf[PartitionSeal]:
    return Shelf(b"3|", PartitionSeal)


def seal(p: int = 7) -> PartitionSeal:
    return PartitionSeal(version=1, p=p, m=9, results={"snapshots": 5}, definitions="")


def append(topic: Topic, records: Iterable[Record]) -> None:
    """What compaction leaves."""
    for key, value, _ in records:
        if value is None:
            topic.pop(key, None)
        else:
            topic[key] = value


def written(**blobs: bytes) -> Topic:
    topic: Topic = {}
    writer = shelf()
    named = {name.replace("_", "|").encode(): blob for name, blob in blobs.items()}
    append(topic, writer.put(named))
    append(topic, [writer.seal(seal())])
    return topic


def test_what_was_put_is_read():
    found = shelf().read(written(pf_1=b"rows", said_10=b"digests"))
    assert found.blobs == {b"pf|1": b"rows", b"said|10": b"digests"}
    assert (found.seal.p, found.seal.m, found.seal.results) == (7, 9, {"snapshots": 5})


@given(WRITES)
def test_the_last_write_of_each_name_is_read_whatever_the_sizes(writes):
    topic: Topic = {}
    writer = shelf()
    expected: dict[bytes, bytes] = {}
    for i, sizes in enumerate(writes):
        blobs = {name: bytes([i]) * size for name, size in sizes.items()}
        expected |= blobs
        append(topic, writer.put(blobs))
        append(topic, [writer.seal(seal(i))])
    if writes:
        assert shelf().read(topic).blobs == expected
        assert all(len(value) <= PIECE_BYTES for value in topic.values())


def test_a_reader_continues_where_the_writer_stopped():
    topic = written(pf_1=b"a" * 2 * PIECE_BYTES, pf_2=b"b")
    reader = shelf()
    reader.read(topic)
    append(topic, reader.put({b"pf|1": b"short"}))
    append(topic, [reader.seal(seal())])
    assert shelf().read(topic).blobs == {b"pf|1": b"short", b"pf|2": b"b"}


def test_a_kill_before_the_seal_makes_it_void():
    topic = written(pf_1=b"old")
    writer = shelf()
    writer.read(topic)
    append(topic, writer.put({b"pf|1": b"new"}))
    with pytest.raises(VoidCheckpointError, match="or other ones"):
        shelf().read(topic)


@pytest.mark.parametrize("key", [b"3|pf|1#0", b"3|pf|9#0"])
def test_a_stranger_makes_it_void(key):
    topic = written(pf_1=b"rows")
    topic[key] = b"of somebody else"
    with pytest.raises(VoidCheckpointError):
        shelf().read(topic)


def test_a_missing_piece_makes_it_void():
    topic = written(pf_1=b"rows", pf_2=b"rows")
    del topic[b"3|pf|2#0"]
    with pytest.raises(VoidCheckpointError, match="sealed 2 pieces, found 1"):
        shelf().read(topic)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "no seal"),
        (b"", "seal of 0 bytes"),
        (msgspec.msgpack.encode(MarketSeal(version=1, m=1)), "missing required field"),
        (msgspec.msgpack.encode(msgspec.structs.replace(seal(), format=9)), "format 9"),
    ],
)
def test_no_seal_or_another_one_makes_it_void(value, why):
    topic = written(pf_1=b"rows")
    if value is None:
        del topic[b"3|seal"]
    else:
        topic[b"3|seal"] = value
    with pytest.raises(VoidCheckpointError, match=why):
        shelf().read(topic)


def test_a_void_one_is_replaced_and_its_rest_removed():
    topic = written(pf_1=b"rows", said_10=b"digests")
    topic[b"3|pf|8#0"] = b"of somebody else"
    writer = shelf()
    with pytest.raises(VoidCheckpointError):
        writer.read(topic)
    blobs = {b"pf|1": b"anew"}
    append(topic, writer.clear(keep=blobs))
    append(topic, writer.put(blobs))
    append(topic, [writer.seal(seal())])
    assert shelf().read(topic).blobs == blobs


def test_items_are_sorted_by_their_partition():
    items = [(b"3|seal", b"a"), (b"12|pf|1#0", b"b"), (b"3|pf|2#0", b"c")]
    assert by_partition(items) == {
        3: {b"3|seal": b"a", b"3|pf|2#0": b"c"},
        12: {b"12|pf|1#0": b"b"},
    }
