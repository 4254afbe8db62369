"""How long a backfill takes, to the topics and into PostgreSQL, beside the raw pipe.

The journal is full. Workers start with nothing and derive every session of a range, as
a replay does; once more with a sink beside them, into empty tables. After each run the
raw pipe reads and writes the same bytes without any arithmetic (``bench.raw_pipe``):
the ratio of the two is the figure to quote.

Seconds count from the start of the processes (the interpreter, the imports and the
group take three of them; the pipe's are not counted) until the last record is stored.

    python -m bench.backfill --portfolios 1000,10000 --workers 1,2 --families money,all
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from analytics.results import SYMBOLS
from bench import raw_pipe
from bench.machine import head, peak_memory
from bench.rig import CHOICES, LIMIT, Rig, rig
from connectors.postgres import connect
from connectors.sink import FAMILIES
from deltafolio.demo_scale import settled
from deltafolio.local_app import LocalApp
from deltafolio.progress import Gauge, Position

MB = 1e6


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: what is derived, by how many workers, and where to."""

    families: tuple[str, ...]
    workers: int
    sink: bool

    def __str__(self) -> str:
        where = "PostgreSQL" if self.sink else "topics"
        return f"{', '.join(self.families)}; {self.workers} workers; to {where}"


async def measure(made: Rig, case: Case) -> None:
    """Run one case and the raw pipe beside it, and print what was found."""
    first = date.fromisoformat(made.universe.sessions[-made.universe.live])
    app = made.derivation(
        case.workers,
        *(["sink"] if case.sink else []),
        families=case.families,
        first_session=first,
    )
    if case.sink:
        await _empty_tables(made)
    before = made.cpu_seconds()
    try:
        seconds = await _derived(made, app, case)
        spent = {
            name: used - before.get(name, 0.0)
            for name, used in made.cpu_seconds(app).items()
        }
        peaks = [_peak(app, f"worker-{i + 1}") for i in range(case.workers)]
    finally:
        app.stop()
    pipe = await raw_pipe.run(app.settings, case.workers)
    words = ", ".join(f"{name} {used:.1f}" for name, used in spent.items())
    print(
        f"   {case}\n"
        f"      {seconds:.1f} s, {made.cells / seconds:,.0f} portfolio-days/s; "
        f"raw pipe {pipe.seconds:.1f} s, ratio {seconds / pipe.seconds:.1f}\n"
        f"      read {pipe.read / MB:,.1f} MB, wrote {pipe.written / MB:,.1f} MB in "
        f"{pipe.records:,} records (before compression)\n"
        f"      CPU seconds: {words}; all {sum(spent.values()):.1f}\n"
        f"      peak memory of a worker: {max(peaks):,.0f} MiB",
        flush=True,
    )


async def _derived(made: Rig, app: LocalApp, case: Case) -> float:
    """Start the processes; seconds until the last result is where it belongs."""
    wanted = {
        name: made.cells if name != SYMBOLS else len(made.universe.symbols)
        for name in case.families
    }

    def done(now: Position) -> bool:
        return all(getattr(now, name) >= many for name, many in wanted.items())

    async with Gauge(app.settings) as gauge:
        began = time.time()
        app.start()
        await gauge.until(done, LIMIT)
        if not case.sink:
            return await settled(gauge, lambda p: p.published) - began
        await settled(gauge, lambda p: p.published)
        return await gauge.until(lambda p: p.sunk >= p.published, LIMIT) - began


def _peak(app: LocalApp, name: str) -> float:
    pid = app.supervisor.pid(name)
    return peak_memory(pid) if pid else 0.0


async def _empty_tables(made: Rig) -> None:
    """Let a run write into tables as empty as those of a new system."""
    connection = await connect(made.settings.postgres.dsn.get_secret_value(), "bench")
    tables = [f"analytics.{family.table}" for family in FAMILIES]
    try:
        await connection.execute(f"TRUNCATE {', '.join(tables)}")
    finally:
        await connection.close()


async def backfill(portfolios: int, sessions: int, cases: Sequence[Case]) -> None:
    """Measure cases on one full journal."""
    head(f"backfill: {portfolios:,} portfolios x {sessions} sessions")
    async with rig(portfolios, sessions) as made:
        for case in cases:
            await measure(made, case)


def main() -> None:
    """Ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portfolios", default="1000,10000")
    parser.add_argument("--sessions", type=int, default=87)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--families", default="money,all", help="money, all")
    parser.add_argument("--to", default="topics,postgres", help="topics, postgres")
    args = parser.parse_args()
    cases = [
        Case(CHOICES[families], int(workers), where == "postgres")
        for families, workers, where in itertools.product(
            args.families.split(","), args.workers.split(","), args.to.split(",")
        )
    ]
    # Whoever gives up waiting leaves no servers behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for portfolios in args.portfolios.split(","):
        asyncio.run(backfill(int(portfolios), args.sessions, cases))


if __name__ == "__main__":
    main()
