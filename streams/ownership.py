"""Which partitions this worker owns, by what right, and which are live.

*Owned*: the group assigned it in its current generation. *Live*: owned, its state
complete up to the end that was seen when it was taken over, so that it may be
published. *Confirmed*: the group said that we are a member less than a session
time-out ago, counted from when we asked; so nobody else can own what we own.

A process can sleep between any two instructions (SIGSTOP, a full machine, a laptop
lid). Whoever wakes up after longer than the session time-out is not confirmed, and
does not publish until the group has answered, in this generation or another.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Protocol

LEASE = 0.9
"""Part of the session time-out for which a confirmation is good."""
LOOK_S = 0.02


class Membership(Protocol):
    """What Faust and the group say now."""

    @property
    def generation(self) -> int:
        """Number of the group's generation."""

    @property
    def flowing(self) -> bool:
        """Whether records are delivered."""

    def confirmed_at(self) -> float:
        """When the group last confirmed us."""


class Ownership:
    """Partitions by right. The caller's event loop is the only one to change it.

    Parameters
    ----------
    membership
        Asked at each question: nothing here is older than the group's answer.
    session_s
        Session time-out of the group.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        membership: Membership,
        session_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._membership = membership
        self._lease = session_s * LEASE
        self._clock = clock
        self.generation = -1
        self.owned: frozenset[int] = frozenset()
        self.live: set[int] = set()

    def assign(self, partitions: frozenset[int]) -> None:
        """Take what the group gave, in its generation; nothing of it is live yet."""
        self.generation = self._membership.generation
        self.owned = partitions
        self.live.clear()

    def revoke(self) -> None:
        """Give everything back."""
        self.owned = frozenset()
        self.live.clear()

    def holds(self, partition: int, generation: int) -> bool:
        """Whether a partition may be folded for someone who began in a generation.

        To be asked again after every await: a rebalance can be over by then.
        """
        return (
            generation == self.generation == self._membership.generation
            and partition in self.owned
            and self._membership.flowing
        )

    def go_live(self, partition: int) -> None:
        """Its state is complete: it may be published from now on."""
        self.live.add(partition)

    def is_confirmed(self) -> bool:
        """Whether the group's last confirmation is still good."""
        return self._clock() - self._membership.confirmed_at() < self._lease

    async def permit(self, partition: int) -> bool:
        """Whether a record of this partition may be sent at this moment.

        While the group has not confirmed us for too long, waits for its answer:
        either it confirms, or the partition is taken from us.
        """
        # Another thread's answer and the clock decide: nobody could set an event.
        while self._is_live(partition) and not self.is_confirmed():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        return self._is_live(partition)

    def _is_live(self, partition: int) -> bool:
        return partition in self.live and self.generation == self._membership.generation
