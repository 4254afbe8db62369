"""How long from a full journal to all results, and how much of it is the pipe.

Workers start with nothing but the journal: they read all of it, derive every session
of every portfolio, and publish. Each run has results of its own. Beside each run the
raw pipe reads and writes the same bytes (``bench.raw_pipe``); the ratio of the two is
the figure to quote, since machines differ and it does not.

    python -m bench.cold_start --portfolios 1000 --sessions 87 --workers 2 --runs 3
"""

from __future__ import annotations

import argparse
import asyncio

from bench import raw_pipe
from bench.machine import head, spread
from bench.rig import Rig, derive_cold, rig


async def cold_start(made: Rig, workers: int, runs: int) -> None:
    """Derive everything from the journal, several times, beside the raw pipe."""
    head(f"cold start: {made.cells:,} portfolio-days by {workers} workers")
    print(
        f"   before it: Debezium captured {made.captured:,.0f} rows/s, "
        f"intake wrote {made.journaled:,.0f} rows/s "
        f"({made.universe.rows:,} rows, n 1)"
    )
    seconds, raw, spent = [], [], []
    for _ in range(runs):
        app = made.derivation(workers)
        try:
            seconds.append(await derive_cold(made, app))
            spent.append(sum(app.supervisor.cpu_seconds().values()))
        finally:
            app.stop()
        raw.append((await raw_pipe.run(app.settings, workers)).seconds)
    rates = [made.cells / one for one in seconds]
    ratios = [one / pipe for one, pipe in zip(seconds, raw, strict=True)]
    print(f"   journal to results: {spread(seconds, 's')}")
    print(f"   portfolio-days/s:   {spread(rates, 'a second', 0)}")
    print(f"   CPU of the workers: {spread(spent, 's')}")
    print(f"   raw pipe:           {spread(raw, 's')}")
    print(f"   ratio to raw pipe:  {spread(ratios, 'x')}", flush=True)


async def main() -> None:
    """Ask on a rig of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portfolios", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=87)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    async with rig(args.portfolios, args.sessions) as made:
        await cold_start(made, args.workers, args.runs)


if __name__ == "__main__":
    asyncio.run(main())
