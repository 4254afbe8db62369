"""What the worker counts, in its own Prometheus registry."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from time import perf_counter, time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
)

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.25, 0.5, 1, 5, 30, 120)


class Phase(StrEnum):
    """Where a worker's time goes.

    ``READ`` waits for records that the logs have already; ``PUBLISH`` compresses,
    sends and waits for the brokers. The others compute. What is left of a worker's
    life is its start, checkpoints, and waiting for something to happen.
    """

    READ = "read"
    DECODE = "decode"
    FOLD = "fold"
    DERIVE = "derive"
    ENCODE = "encode"
    PUBLISH = "publish"


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
        phases = Counter(
            f"{name}phase_seconds", "Seconds by phase.", ["phase"], registry=at
        )
        self._phases = {phase: phases.labels(phase) for phase in Phase}
        ProcessCollector(registry=at)
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

    def spent(self, phase: Phase, seconds: float) -> None:
        """Add seconds to a phase."""
        self._phases[phase].inc(seconds)

    @contextmanager
    def spending(self, phase: Phase) -> Iterator[None]:
        """Add the seconds of a block to a phase."""
        began = perf_counter()
        try:
            yield
        finally:
            self._phases[phase].inc(perf_counter() - began)

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase so far, and of the processor (``cpu``)."""
        value = self.registry.get_sample_value
        name = "deltafolio_worker_phase_seconds_total"
        found = {str(p): value(name, {"phase": p}) or 0.0 for p in Phase}
        return found | {"cpu": value("process_cpu_seconds_total") or 0.0}

    def counts(self) -> dict[str, int]:
        """Count what was folded, published by family, and refused so far."""
        named = {
            "deltafolio_worker_folded_rows_total": "rows",
            "deltafolio_worker_results_total": "",
            "deltafolio_worker_dead_letters_total": "refused",
        }
        found: dict[str, int] = {}
        for metric in self.registry.collect():
            for sample in metric.samples:
                if sample.name in named:
                    name = named[sample.name] or sample.labels["family"]
                    found[name] = found.get(name, 0) + int(sample.value)
        return found

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
