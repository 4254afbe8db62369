"""What a run leaves behind, and its removal."""

from __future__ import annotations

from pathlib import Path

import msgspec

from connectors.kafka import delete_group, started_admin
from connectors.settings import Settings
from replay.branch import PREFIX, is_of
from replay.errors import RunError
from replay.state import Runs


class Leavings(msgspec.Struct, frozen=True):
    """Everything that is a run's own.

    Attributes
    ----------
    topics
        On the brokers.
    group
        The group of its workers, which may never have been made.
    directory
        Settings, logs, ``run.json``.
    """

    topics: tuple[str, ...]
    group: str
    directory: Path


async def leavings(settings: Settings, runs: Runs, name: str) -> Leavings:
    """List what a run has left.

    Raises
    ------
    RunError
        If there is no such run.
    """
    runs.require(name)
    async with started_admin(settings) as admin:
        topics = sorted(t for t in await admin.list_topics() if is_of(name, t))
    return Leavings(tuple(topics), f"{PREFIX}{name}", runs.place(name))


async def remove(settings: Settings, runs: Runs, name: str) -> Leavings:
    """Remove all that a run has left; one that is broken as well.

    Raises
    ------
    RunError
        If there is no such run, or somebody works on it.
    """
    runs.require(name)
    with runs.hold(name):
        found = await leavings(settings, runs, name)
        async with started_admin(settings) as admin:
            if found.topics:
                response = await admin.delete_topics(list(found.topics))
                refused = [t for t, code in response.topic_error_codes if code]
                if refused:
                    message = f"topics cannot be deleted: {', '.join(refused)}"
                    raise RunError(message)
        await delete_group(settings, found.group)
        runs.remove(name)
    return found
