"""One intake at a time: the member of the group that is there longest has all logs.

Transactions are assembled from all CDC topics together, so that they cannot be shared
out. Others stand by and take over when it leaves or dies. A member that was frozen
and wakes up may append once more what its successor appends too: repetitions carry the
same versions and change nothing; its commits are refused by the group.
"""

import time
import uuid
from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

from connectors.settings import Settings
from connectors.topics import TopicError


def group_of(settings: Settings) -> str:
    """Name of intake's consumer group."""
    return f"{settings.worker.app_id}-intake"


def made_anew(
    settings: Settings, place: TopicPartition, read: int, found: int
) -> TopicError:
    """Make the error of a log that ends, or goes on, before what was read of it."""
    return TopicError(
        f"topic {place.topic}, partition {place.partition}, was read to {read} and "
        f"now is at {found}: it was made anew, or Kafka lost its end. Have intake read "
        "it from its beginning: stop intake, forget the offset (kafka-consumer-groups "
        f"--delete-offsets --group {group_of(settings)} --topic {place.topic}), start "
        "intake, and see what is missing by `deltafolio reconcile`"
    )


class OldestTakesAll(AbstractPartitionAssignor):  # type: ignore[misc]
    """Gives every partition to the member with the lowest birth mark.

    Use a class of ``born_now``: the mark belongs to one consumer.
    """

    name = "deltafolio-oldest"
    birth = b""

    @classmethod
    def assign(
        cls,
        cluster: ClusterMetadata,
        members: Mapping[str, ConsumerProtocolMemberMetadata],
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Give all partitions of all topics to the oldest member."""
        oldest = min(members, key=lambda member: (members[member].user_data, member))
        everything = [
            (topic, sorted(cluster.partitions_for_topic(topic) or ()))
            for topic in sorted(members[oldest].subscription)
        ]
        return {
            member: ConsumerProtocolMemberAssignment(
                0, everything if member == oldest else [], b""
            )
            for member in members
        }

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Say which topics, and since when."""
        return ConsumerProtocolMemberMetadata(0, list(topics), cls.birth)

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Nothing is kept."""


def born_now() -> type[OldestTakesAll]:
    """Make the assignor of one consumer."""
    mark = time.time_ns().to_bytes(8, "big") + uuid.uuid4().bytes
    return type("BornNow", (OldestTakesAll,), {"birth": mark})
