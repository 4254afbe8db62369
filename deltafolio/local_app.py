"""A whole application on this machine, under one's own hands.

The demonstration, the benches and the tests use it: start it, kill parts of it, wait
until it has caught up, stop it.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from signal import SIGKILL
from typing import Any, Self

from pydantic import SecretStr

from connectors.settings import (
    PREFIX,
    SECRETS_VARIABLE,
    ConnectSettings,
    KafkaSettings,
    PostgresSettings,
    Settings,
)
from connectors.stack import StackInfo
from deltafolio.progress import Gauge, Position
from deltafolio.supervisor import (
    STOP_SECONDS,
    Say,
    Supervisor,
    clean_environment,
    process_names,
)


def stack_settings(info: StackInfo) -> Settings:
    """Make settings of an embedded stack, with a fresh password for capture.

    The stack is where it is, whatever the environment says of other servers.
    """
    servers = {
        "home": info.home,
        "postgres": PostgresSettings(
            dsn=SecretStr(info.dsn),
            capture_password=SecretStr(secrets.token_urlsafe(18)),
        ),
        "kafka": KafkaSettings(bootstrap=info.bootstrap),
        "connect": ConnectSettings(url=info.connect_url),
    }
    return Settings().model_copy(update=servers)


def other_servers() -> list[str]:
    """Variables of the environment that point commands to servers of their own."""
    groups = tuple(f"{PREFIX}{name}" for name in ("POSTGRES", "KAFKA", "CONNECT"))
    return sorted(
        name
        for name in os.environ
        if name.upper().startswith(groups) or name == SECRETS_VARIABLE
    )


def save_settings(settings: Settings) -> Path:
    """Write settings where the processes of a state directory read them.

    The file has passwords in it and is for its owner's eyes only.
    """
    path = settings.home / "settings.json"
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = json.dumps(settings.model_dump(exclude={"home"}), default=_plain, indent=2)
    part = path.with_suffix(".part")
    with os.fdopen(
        os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
    ) as f:
        f.write(text)
    part.replace(path)
    return path


def _plain(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


class LocalApp:
    """Capture, intake, workers and sink, supervised.

    Parameters
    ----------
    settings
        Of a running stack; saved in the state directory for the processes to read,
        which heed no other: the environment may name servers of somebody else.
    workers
        How many workers.
    say
        Told in a sentence when a process ends or is killed.
    names
        Which processes, where not all of them.

    Examples
    --------
    >>> with LocalApp(settings, workers=3) as app:  # doctest: +SKIP
    ...     app.kill("worker-2")
    ...     asyncio.run(app.wait_caught_up())
    """

    def __init__(
        self,
        settings: Settings,
        workers: int = 1,
        say: Say | None = None,
        names: list[str] | None = None,
    ) -> None:
        self.settings = settings
        self.supervisor = Supervisor(
            settings.home,
            names or process_names(workers),
            say,
            environment=clean_environment(),
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the processes; what they need is made by themselves."""
        save_settings(self.settings)
        self.supervisor.start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop the processes in good order; after ``seconds``, by force."""
        self.supervisor.stop(seconds)

    def kill(self, name: str, number: int = SIGKILL) -> None:
        """Send a signal to ``capture``, ``intake``, ``sink`` or ``worker-N``."""
        self.supervisor.kill(name, number)

    def log(self, name: str) -> str:
        """Return what a process has logged."""
        return (self.settings.home / "logs" / f"{name}.log").read_text("utf-8")

    async def wait_caught_up(self, limit: float = 60.0, quiet: float = 1.0) -> Position:
        """Wait until all that is committed went the whole way and nothing moves.

        Raises
        ------
        NotCaughtUpError
            When that did not happen within ``limit`` seconds.
        """
        async with Gauge(self.settings) as gauge:
            return await gauge.settle(quiet, limit)
