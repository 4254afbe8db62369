"""What is handed to a producer is sent when the broker is back, however late."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.producer import message_accumulator

from connectors.health import STALL_S
from connectors.kafka import make_producer
from connectors.settings import Settings


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
