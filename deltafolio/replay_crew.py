"""Worker processes of a replay: of low priority, and with the run's settings alone."""

from __future__ import annotations

import sys
from pathlib import Path

from deltafolio.supervisor import Say, Supervisor, clean_environment

NICE = "10"
LIVES = 3
"""A worker that failed so often will not do better."""


class LocalCrew:
    """Workers in a run's directory.

    Parameters
    ----------
    home
        Directory of the run, with its settings.
    workers
        How many.
    say
        Told in a sentence when one of them ends.

    Notes
    -----
    Nothing of the environment that names settings reaches them: the run's file alone
    says where they read and write.
    """

    def __init__(self, home: Path, workers: int, say: Say) -> None:
        self._home = home
        self._names = [f"worker-{i + 1}" for i in range(workers)]
        self._supervisor = Supervisor(
            home, self._names, say, command, clean_environment()
        )
        self._used = 0.0

    def start(self) -> None:
        """Start them; one that ends is started again."""
        self._supervisor.start()

    def stop(self) -> None:
        """Stop them in good order."""
        self.cpu_seconds()
        self._supervisor.stop()

    def cpu_seconds(self) -> float:
        """CPU seconds of those that run."""
        now = sum(self._supervisor.cpu_seconds().values())
        self._used = max(self._used, now)
        return self._used

    def trouble(self) -> str:
        """Say which of them keeps failing."""
        for name in self._names:
            failed = [code for code in self._supervisor.exit_codes(name) if code > 0]
            if len(failed) >= LIVES:
                return f"{name} keeps failing: see {self._home}/logs/{name}.log"
        return ""


def command(_: str) -> list[str]:
    """Run a worker, of low priority."""
    return ["nice", "-n", NICE, sys.executable, "-m", "deltafolio", "run", "worker"]
