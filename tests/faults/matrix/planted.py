"""Bugs that are planted in a process, to see that they are found.

Each takes away one of the things that ``docs/delivery.md`` rests on, as a plausible
mistake would, in the process that ``process.py`` starts and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

LATE_S = 1.5
HEEDFUL_S = 15.0
"""A new worker has its partitions by then, and a new world all of its workers."""


def acknowledge_before_publishing() -> None:
    """Intake commits offsets (I6) of what is appended (I4) a moment later."""
    from streams.intake import Intake

    append = Intake._append
    waiting: set[asyncio.Task[None]] = set()
    queue = asyncio.Lock()

    async def later(intake: Intake, *records: Any) -> None:
        await asyncio.sleep(LATE_S)
        async with queue:
            await append(intake, *records)

    async def not_awaited(intake: Intake, *records: Any) -> None:
        task = asyncio.create_task(later(intake, *records))
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    Intake._append = not_awaited  # type: ignore[method-assign]


def table_before_results() -> None:
    """A worker writes its table (E6) before the results that it tells of (E4)."""
    from streams.outbox import Outbox

    publish, stored = Outbox.publish, Outbox.stored
    waiting: set[asyncio.Task[None]] = set()
    queue = asyncio.Lock()

    async def later(outbox: Outbox, results: Any) -> None:
        await asyncio.sleep(LATE_S)
        async with queue:
            await publish(outbox, results)
            await stored(outbox)

    async def not_awaited(outbox: Outbox, results: Any) -> None:
        task = asyncio.create_task(later(outbox, results))
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    async def taken_as_stored(outbox: Outbox) -> None:
        pass

    Outbox.publish = not_awaited  # type: ignore[method-assign]
    Outbox.stored = taken_as_stored  # type: ignore[method-assign]


def watermark_per_portfolio() -> None:
    """A change is older if its portfolio has seen a newer one, of whatever row."""
    from analytics.engine import Engine
    from analytics.rows import Change, Version

    fold = Engine.fold_partition
    seen: dict[int | None, Version] = {}

    def newer(changes: Iterable[Change]) -> list[Change]:
        kept = []
        for change in changes:
            mark = seen.get(change.portfolio)
            if mark is None or change.version > mark:
                seen[change.portfolio] = change.version
                kept.append(change)
        return kept

    def filtered(engine: Engine, partition: int, changes: Any, **more: Any) -> None:
        fold(engine, partition, newer(changes), **more)

    Engine.fold_partition = filtered  # type: ignore[method-assign,assignment]


def rebalance_ignored() -> None:
    """A worker goes on with what it owned when the group decides anew.

    As if nobody else had read any of it: it does not look for what it missed, which
    would make it right again. What the group decides while a world is begun is heeded.
    """
    from streams.app import FaustApp
    from streams.ownership import Ownership
    from streams.portfolios import Portfolios

    begun = time.monotonic()

    async def on_revoked(portfolios: Portfolios) -> None:
        pass

    async def on_assigned(portfolios: Portfolios, partitions: frozenset[int]) -> None:
        """Drop nothing: what was owned before stays, and stays live."""
        ownership = portfolios._ownership
        live = set(ownership.live)
        ownership.assign(partitions | ownership.owned)
        ownership.live |= live

    async def not_missed(portfolios: Portfolios, *where: int) -> None:
        pass

    def replaced(owner: Any, name: str, deaf: Callable[..., Any]) -> None:
        heeded = getattr(owner, name)

        def chosen(*arguments: Any) -> Any:
            late = time.monotonic() > begun + HEEDFUL_S
            return (deaf if late else heeded)(*arguments)

        setattr(owner, name, chosen)

    replaced(Portfolios, "on_revoked", on_revoked)
    replaced(Portfolios, "on_assigned", on_assigned)
    replaced(Portfolios, "_fill", not_missed)
    replaced(Ownership, "is_confirmed", lambda _: True)
    replaced(FaustApp, "highwater", lambda *_: 0)


def letter_dropped() -> None:
    """Intake refuses a row and tells nobody."""
    from streams.door import Door

    drain = Door.drain

    def without_letters(door: Door) -> Any:
        writes = drain(door)
        writes.letters.clear()
        return writes

    Door.drain = without_letters  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "acknowledgement before publishing": acknowledge_before_publishing,
    "table before its results": table_before_results,
    "watermark per portfolio": watermark_per_portfolio,
    "ignored rebalance": rebalance_ignored,
    "dropped dead letter": letter_dropped,
}
