"""What the sink counts, in its own Prometheus registry."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, ProcessCollector

from connectors.sink import Written


class SinkMetrics:
    """Records by what became of them, and seconds, by family."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name, at = "deltafolio_sink_", self.registry
        self._records = Counter(
            f"{name}records",
            "Records by what became of them.",
            ["family", "outcome"],
            registry=at,
        )
        self._seconds = Counter(
            f"{name}write_seconds",
            "Seconds in transactions of PostgreSQL.",
            ["family"],
            registry=at,
        )
        ProcessCollector(registry=at)

    @contextmanager
    def writing(self, family: str) -> Iterator[None]:
        """Add the seconds of a block to a family's."""
        began = perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(family).inc(perf_counter() - began)

    def written(self, family: str, count: Written) -> None:
        """Count what became of a transaction's records."""
        for outcome, records in asdict(count).items():
            self._records.labels(family, outcome).inc(records)
