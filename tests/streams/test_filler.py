"""Stretches of a log are read although brokers go away for a while."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
)

from connectors.settings import Settings
from streams import filler
from streams.filler import Filler
from streams.metrics import Metrics

PLACE = TopicPartition("journal", 0)


@pytest.fixture
async def patient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Filler]:
    monkeypatch.setattr(filler, "POLL_MS", 1)
    made = Filler(Settings(), Metrics())
    yield made
    await made.stop()


def answering(*answers: Any) -> Any:
    left = list(answers)

    async def end_offsets(places: list[TopicPartition]) -> dict[TopicPartition, int]:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict.fromkeys(places, answer)

    return end_offsets


@pytest.mark.parametrize("away", [KafkaTimeoutError(), KafkaConnectionError()])
async def test_the_end_of_a_log_is_asked_for_until_a_broker_answers(
    patient: Filler, monkeypatch: pytest.MonkeyPatch, away: KafkaError
) -> None:
    monkeypatch.setattr(patient._consumer, "end_offsets", answering(away, away, 7))
    assert await patient.ends([PLACE]) == {PLACE: 7}


async def test_who_asks_for_now_is_told_that_nobody_answers(
    patient: Filler, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_offsets = answering(KafkaTimeoutError())
    monkeypatch.setattr(patient._consumer, "end_offsets", end_offsets)
    with pytest.raises(KafkaTimeoutError):
        await patient.ends_now([PLACE])


async def test_what_no_waiting_mends_is_raised(
    patient: Filler, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_offsets = answering(TopicAuthorizationFailedError())
    monkeypatch.setattr(patient._consumer, "end_offsets", end_offsets)
    with pytest.raises(TopicAuthorizationFailedError):
        await patient.ends([PLACE])
