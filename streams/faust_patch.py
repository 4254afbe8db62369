"""What stock Faust 0.15.3 and aiokafka 0.14 need, and why: four corrections.

1. *Records lost at a rebalance.* After recovery Faust resumes the source
   partitions, seeks them to the committed offsets (tens of milliseconds), and
   then clears every stream queue. What was delivered during the seek is deleted,
   and the position is already behind it. Cure: no flow during the seek; both
   callers resume it right after.
2. *A fetch waits up to 1.5 s.* The wait is fixed in Faust, and a partition that
   was empty at the last fetch has to wait for it to end. Cure: 50 ms.
3. *A recovery that waits for ever.* A fetch that began before a rebalance looks at
   the set of partitions that Faust changes meanwhile. While it is empty the fetch
   takes whatever there is, also what recovery has just sought to the beginning;
   Faust throws it away because nothing flows, and seeks back only what has a
   committed offset, which a changelog never has. Cure: no seek while a fetch is
   under way, and fetches that are short, so that no seek waits for long.
4. *Nobody says until when a member is surely a member.* A process that was
   stopped (SIGSTOP, a long pause) wakes up as an owner although the group gave
   its partitions to others. Cure: note when the coordinator last confirmed the
   membership. The time is that of *sending* the request, so the group cannot
   expire the member earlier than a session time-out after it.

The corrections are of names that the pinned versions have; ``install`` fails
loudly when one is missing, and a test kills and rebalances without them.
"""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

FETCH_WAIT_MS = 50
FETCH_S = 0.2
"""A fetch that finds nothing ends after this; a seek waits for it."""
NEVER = float("-inf")

# A commit is no proof: without a generation an empty group takes it from anybody.
_PROOFS = (HeartbeatRequest, SyncGroupRequest)
_MEMBER = frozenset({0, 27})
"""NONE, REBALANCE_IN_PROGRESS: the coordinator knows this member."""
_STRANGER = frozenset({22, 25, 82})
"""ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID."""

_perform_seek = Consumer.perform_seek
_create_worker_consumer = AIOKafkaConsumerThread._create_worker_consumer  # noqa: SLF001
_fetch_records = AIOKafkaConsumerThread._fetch_records  # noqa: SLF001
_seek_wait = AIOKafkaConsumerThread._seek_wait  # noqa: SLF001
_send_req = GroupCoordinator._send_req  # noqa: SLF001


async def _seek_without_flow(self: Any) -> None:
    self.stop_flow()
    await _perform_seek(self)


def _consumer_that_fetches_soon(self: Any, transport: Any) -> AIOKafkaConsumer:
    consumer = _create_worker_consumer(self, transport)
    if not hasattr(consumer, "_fetch_max_wait_ms"):
        message = "aiokafka's consumer has no _fetch_max_wait_ms any more"
        raise RuntimeError(message)
    consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001
    return consumer


def _between_fetches(thread: Any) -> asyncio.Lock:
    """One lock a consumer's thread; both who take it run in that thread's loop."""
    if not hasattr(thread, "between_fetches"):
        thread.between_fetches = asyncio.Lock()
    lock: asyncio.Lock = thread.between_fetches
    return lock


async def _fetch_alone(
    self: Any, consumer: Any, active_partitions: Any, **how: Any
) -> Any:
    async with _between_fetches(self):
        if active_partitions is not None:
            active_partitions = set(active_partitions)
            if not active_partitions:
                return {}
        how["timeout"] = min(how["timeout"], FETCH_S)
        return await _fetch_records(self, consumer, active_partitions, **how)


async def _seek_alone(self: Any, consumer: Any, partitions: Mapping[Any, int]) -> None:
    async with _between_fetches(self):
        await _seek_wait(self, consumer, partitions)


async def _send_and_note(self: Any, request: Any) -> Any:
    sent = monotonic()
    response = await _send_req(self, request)
    if isinstance(request, _PROOFS):
        if response.error_code in _STRANGER:
            self.confirmed_at = NEVER
        elif response.error_code in _MEMBER:
            self.confirmed_at = sent
    return response


_CORRECTIONS: tuple[tuple[type, str, Any], ...] = (
    (Consumer, "perform_seek", _seek_without_flow),
    (AIOKafkaConsumerThread, "_create_worker_consumer", _consumer_that_fetches_soon),
    (AIOKafkaConsumerThread, "_fetch_records", _fetch_alone),
    (AIOKafkaConsumerThread, "_seek_wait", _seek_alone),
    (GroupCoordinator, "_send_req", _send_and_note),
)


def install() -> None:
    """Put the corrections in place; a second time changes nothing."""
    for owner, name, corrected in _CORRECTIONS:
        setattr(owner, name, corrected)


def confirmed_at(consumer: Any) -> float:
    """When the group last confirmed this member, in ``time.monotonic()``.

    Parameters
    ----------
    consumer
        Faust's consumer (``app.consumer``).

    Returns
    -------
    float
        ``-inf`` before the first confirmation and after the group said that it
        does not know this member.
    """
    coordinator = consumer._thread._ensure_consumer()._coordinator  # noqa: SLF001
    return float(getattr(coordinator, "confirmed_at", NEVER))
