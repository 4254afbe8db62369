"""Dead letters of the journal: records that no worker can read."""

from collections.abc import Iterable

from streams.folding import Letter
from streams.metrics import Metrics


class Letters:
    """Writes dead letters, and waits until they are stored."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def write(self, letters: Iterable[Letter]) -> None:
        """E5."""
        for _letter in letters:
            self._metrics.letters.inc()
