"""How a producer compresses, and for how long it waits for a broker."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from types import SimpleNamespace

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.producer import message_accumulator

from connectors.aiokafka_patch import ZSTD_LEVEL
from connectors.health import STALL_S
from connectors.kafka import make_producer
from connectors.settings import Settings

HEAD = 61
"""Bytes before the records of a batch (Kafka's record batch, magic 2)."""


async def test_a_batch_is_compressed_at_our_level(tmp_path: Path) -> None:
    producer = make_producer(Settings(home=tmp_path), max_batch_size=100_000)
    digits = random.Random(5)  # noqa: S311 - seeded
    value = json.dumps([digits.random() for _ in range(2_000)]).encode()
    batch = producer.create_batch()
    batch.append(timestamp=None, key=None, value=value)
    sent = bytes(batch._build())[HEAD:]
    plain = cramjam.zstd.decompress(sent)
    for level, same in ((ZSTD_LEVEL, True), (3, False)):
        assert (bytes(cramjam.zstd.compress(plain, level=level)) == sent) is same
    await producer.stop()


async def test_a_batch_outlives_a_broker_that_is_away_for_as_long_as_a_watch_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that has just started knows the topic and no leader of it."""
    producer, place = make_producer(Settings(home=tmp_path)), TopicPartition("t", 0)
    waiting = producer._message_accumulator
    monkeypatch.setattr(waiting._cluster, "leader_for_partition", lambda _: -1)
    batch = waiting.create_builder()
    batch.append(timestamp=None, key=b"k", value=b"v")
    sent = await waiting.add_batch(batch, place, 1)
    later = time.monotonic() + STALL_S + 1
    monkeypatch.setattr(
        message_accumulator, "time", SimpleNamespace(monotonic=lambda: later)
    )
    waiting.drain_by_nodes(ignore_nodes=())
    assert not sent.done()
    await producer.stop()
