"""What the three services have in common."""

from __future__ import annotations

import signal
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from connectors.stack.errors import ServiceError
from connectors.stack.jars import Jar
from connectors.stack.layout import Layout
from connectors.stack.process import tail


@dataclass(frozen=True, slots=True)
class Context:
    """What a service needs to know: where it lives, its ports, the jars."""

    layout: Layout
    ports: dict[str, int]
    jars: dict[Jar, Path]


class Service(ABC):
    """One process of the stack."""

    name: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self, context: Context) -> None:
        self.context = context
        self.layout = context.layout

    @property
    @abstractmethod
    def marker(self) -> str:
        """An argument of its command line that no other stack's process has."""

    @property
    def output(self) -> Path:
        """Where its standard output goes; its log, unless it writes that itself."""
        return self.layout.log(self.name)

    def tail(self) -> str:
        """Return the ends of its log and of its output."""
        files = {self.layout.log(self.name), self.output}
        return "\n".join(filter(None, map(tail, sorted(files))))

    @abstractmethod
    def prepare(self) -> None:
        """Write configuration and make the data directory, if not there yet."""

    @abstractmethod
    def command(self) -> list[str]:
        """Command line."""

    @abstractmethod
    def is_healthy(self) -> bool:
        """Whether it does its work (asked of the service itself)."""

    def run(self, command: list[str], env: dict[str, str] | None = None) -> str:
        """Run a helper program to its end; its output goes to the error if it fails.

        Raises
        ------
        ServiceError
            If it exits with another code than 0 or takes more than two minutes.
        """
        done = subprocess.run(  # noqa: S603 - commands of our own making
            command,
            cwd=self.layout.home / self.name,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=120,
            text=True,
        )
        if done.returncode:
            why = f"{Path(command[0]).name} exited with {done.returncode}"
            log = self.layout.log(self.name)
            raise ServiceError(self.name, why, log, done.stdout + self.tail())
        return done.stdout
