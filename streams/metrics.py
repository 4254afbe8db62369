"""What the worker counts, in its own Prometheus registry."""

from collections.abc import Callable
from time import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.25, 0.5, 1, 5, 30, 120)


class Metrics:
    """Counters and gauges of one worker; updated by batch, not by row."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name, at = "deltafolio_worker_", self.registry
        self._records = Counter(
            f"{name}folded_records", "Records folded.", ["log"], registry=at
        )
        self._rows = Counter(f"{name}folded_rows", "Rows folded.", ["log"], registry=at)
        self._results = Counter(
            f"{name}results", "Results published.", ["family"], registry=at
        )
        self._latency = Histogram(
            f"{name}commit_to_result_seconds",
            "From the newest commit in a flush until its results were stored.",
            buckets=_SECONDS,
            registry=at,
        )
        self._lag = Gauge(f"{name}lag", "Records behind.", ["log"], registry=at)
        self._partitions = Gauge(
            f"{name}partitions", "Partitions.", ["state"], registry=at
        )
        self.checkpoints = Counter(
            f"{name}checkpoints", "Partitions checkpointed.", registry=at
        )
        self.foreign = Counter(
            f"{name}foreign_records", "Records found of another writer.", registry=at
        )
        self.letters = Counter(
            f"{name}dead_letters", "Journal records not readable.", registry=at
        )
        self._busy = Gauge(
            f"{name}busy", "Whether something waits to be derived.", registry=at
        )

    def busy(self, busy: Callable[[], bool]) -> None:
        """Say how it is known, when asked, whether results are on their way."""
        self._busy.set_function(lambda: float(busy()))

    def folded(self, log: str, rows: int) -> None:
        """Count a record of a log."""
        self._records.labels(log).inc()
        self._rows.labels(log).inc(rows)

    def published(self, family: str, count: int) -> None:
        """Count results that are stored."""
        self._results.labels(family).inc(count)

    def latency(self, as_of: int) -> None:
        """Observe a flush whose newest commit was at ``as_of`` (microseconds)."""
        self._latency.observe(max(0.0, time() - as_of / 1e6))

    def lag(self, log: str, records: int) -> None:
        """Set how far behind the end of a log we are."""
        self._lag.labels(log).set(records)

    def partitions(self, *, owned: int, live: int) -> None:
        """Set how many partitions there are."""
        self._partitions.labels("owned").set(owned)
        self._partitions.labels("live").set(live)
