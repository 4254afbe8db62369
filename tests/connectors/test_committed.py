"""Offsets of a group are asked for until its coordinator answers."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaError,
    NodeNotReadyError,
)
from aiokafka.structs import OffsetAndMetadata

from connectors import kafka
from connectors.kafka import committed

PLACE = TopicPartition("t", 0)


class Admin:
    """Raises errors, one after the other, and answers then."""

    def __init__(self, *errors: type[KafkaError]) -> None:
        self.errors = list(errors)

    async def list_consumer_group_offsets(self, group: str) -> Any:
        if self.errors:
            raise self.errors.pop(0)()
        nothing = TopicPartition("t", 1)
        return {
            PLACE: OffsetAndMetadata(7, "m"),
            nothing: OffsetAndMetadata(-1, ""),
        }


@pytest.mark.parametrize(
    "error", [GroupCoordinatorNotAvailableError, NodeNotReadyError]
)
async def test_a_broker_that_starts_or_stood_still_is_asked_again(
    error: type[KafkaError],
) -> None:
    found = await committed(Admin(error, error), "g")
    assert found == {PLACE: OffsetAndMetadata(7, "m")}


async def test_a_refusal_is_told_at_once() -> None:
    admin = Admin(GroupAuthorizationFailedError)
    with pytest.raises(GroupAuthorizationFailedError):
        await committed(admin, "g")
    assert not admin.errors


async def test_nobody_is_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "COORDINATOR_SECONDS", 0.0)
    with pytest.raises(NodeNotReadyError):
        await committed(Admin(*[NodeNotReadyError] * 9), "g")
