"""A run's own names: topics, group, directory. Nothing of them is the live system's.

A worker of a run is the same program with other settings. It is started with no
settings in its environment (they would win over the run's file) and without the
database's, which it does not need.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from connectors.settings import Settings, TopicSettings
from replay.ask import Ask

PREFIX = "replay."
SETTINGS = "settings.json"


def directory(home: Path, run: str) -> Path:
    """Where a run keeps what it needs."""
    return home / "replay" / run


def branch(settings: Settings, run: str, ask: Ask) -> Settings:
    """Make settings of a run's workers: every name they write to is the run's own."""
    names = {
        field: f"{PREFIX}{run}.{value}"
        for field, value in TopicSettings().model_dump().items()
        if isinstance(value, str)
    }
    worker = settings.worker.model_copy(
        update={
            "app_id": f"{PREFIX}{run}",
            "web_port": 0,
            "families": ask.families,
            "first_session": ask.first,
            "last_session": ask.last,
            "portfolios": ask.portfolios,
            "rate": None if ask.rate is None else ask.rate / ask.workers,
        }
    )
    partitions = settings.topics.partitions
    return settings.model_copy(
        update={
            "home": directory(settings.home, run),
            "topics": TopicSettings(partitions=partitions, **names),
            "worker": worker,
        }
    )


def differences_topic(run: str) -> str:
    """Topic of what a run says otherwise than live."""
    return f"{PREFIX}{run}.differences"


def save(settings: Settings) -> None:
    """Write a run's settings where its workers read them, for their owner's eyes."""
    home = settings.home
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    shown = settings.model_dump(exclude={"home", "postgres", "connect"})
    part = home / f"{SETTINGS}.part"
    with os.fdopen(
        os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
    ) as file:
        json.dump(shown, file, default=_plain, indent=2)
    part.replace(home / SETTINGS)


def is_of(run: str, topic: str) -> bool:
    """Whether a topic or group is a run's own.

    Examples
    --------
    >>> is_of("a1", "replay.a1.journal.market"), is_of("a1", "replay.a12-state")
    (True, False)
    """
    mine = f"{PREFIX}{run}"
    return topic == mine or topic.startswith((f"{mine}.", f"{mine}-"))


def _plain(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
