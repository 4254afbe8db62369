"""How long from the commit of a price until all who hold it have results.

Prices of the newest session are updated by a fixed schedule, whatever the system does
(an open loop: nothing waits for results, so nothing is left out when they are late).
Afterwards the CDC topic tells the commit time of every update, and for every update
and every portfolio that holds the symbol the first record is found that knows of it
(its ``as_of`` is not before the commit). Each such pair counts once.

    python -m bench.latency --rates 200,500,1000 --seconds 15

With ``--replay 5000`` once more while a replay of all sessions derives so many records
a second beside it (0: without a limit).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from aiokafka import TopicPartition
from numpy.typing import NDArray

from analytics.results import ALL_FAMILIES
from bench.machine import cpu, head
from bench.rig import CHOICES, Rig, derive_cold, rig
from connectors.kafka import make_consumer, places_of, started_admin
from connectors.postgres import connect
from connectors.settings import Settings
from deltafolio.universe import Universe
from replay.state import Phase, Runs

TICK_SECONDS = 0.01
WARM_SECONDS = 3.0
REST_SECONDS = 4.0
START_SECONDS = 4.0
"""From the start of a replay's workers until they derive."""
BUMPS = itertools.count(1)
"""Cents on top of a price; one series, so that no load repeats a price of another."""
AS_OF = b'"as_of":"'
AS_OF_LENGTH = len("2026-01-01T00:00:00.000000Z")
TICKER = re.compile(rb'"after":\{"symbol":"([^"]+)"')
COMMIT = re.compile(rb'"ts_us":(\d+)')

UPDATE = """
UPDATE market_data_cache AS m SET close = v.close::numeric
FROM unnest($1::text[], $2::text[]) AS v (symbol, close)
WHERE m.symbol = v.symbol AND m.date = $3::text::date
"""


@dataclass(slots=True)
class Tap:
    """Reads topics while the load runs, and keeps only what is needed later.

    Attributes
    ----------
    records
        Key, time of arrival, and the text of ``as_of``.
    """

    settings: Settings
    records: list[tuple[bytes, float, bytes]] = field(default_factory=list)

    async def run(self, ready: asyncio.Event) -> None:
        """Read results.snapshots from its ends until cancelled."""
        names = self.settings.topics
        places = [
            TopicPartition(names.snapshots, partition)
            for partition in range(names.partitions)
        ]
        consumer = make_consumer(self.settings, fetch_max_wait_ms=100)
        await consumer.start()
        try:
            consumer.assign(places)
            await consumer.seek_to_end()
            for place in places:
                await consumer.position(place)
            ready.set()
            while True:
                batches = await consumer.getmany(timeout_ms=100)
                now = time.time()
                for records in batches.values():
                    self._note(records, now)
        finally:
            await consumer.stop()

    def _note(self, records: list, now: float) -> None:
        for record in records:
            start = record.value.find(AS_OF) + len(AS_OF)
            text = record.value[start : start + AS_OF_LENGTH]
            self.records.append((record.key, now, text))


async def load(universe: Universe, dsn: str, rate: int, seconds: float) -> list[float]:
    """Commit ``rate`` prices a second by schedule; how late each commit was sent."""
    rows = max(1, round(rate * TICK_SECONDS))
    every = rows / rate
    day = universe.sessions[-1]
    names = itertools.cycle(universe.symbols)
    base = dict(zip(universe.symbols, universe.closes[-1].tolist(), strict=True))
    late = []
    connection = await connect(dsn, "bench")
    began = time.perf_counter()
    try:
        for tick in range(round(seconds / every)):
            due = began + tick * every
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            late.append(time.perf_counter() - due)
            chosen = [next(names) for _ in range(rows)]
            # Never the price that it was, however updates are put together.
            prices = [f"{(base[name] + next(BUMPS)) / 100:.2f}" for name in chosen]
            await connection.execute(UPDATE, chosen, prices, day)
    finally:
        await connection.close()
    return late


async def commits(
    settings: Settings, starts: dict[TopicPartition, int]
) -> list[tuple[str, int]]:
    """Read symbol and commit time (microseconds) of every update since ``starts``."""
    consumer = make_consumer(settings)
    await consumer.start()
    found = []
    try:
        consumer.assign(list(starts))
        for place, offset in starts.items():
            consumer.seek(place, offset)
        ends = await consumer.end_offsets(list(starts))
        for place, end in ends.items():
            while await consumer.position(place) < end:
                batch = await consumer.getmany(place, timeout_ms=500)
                for record in batch.get(place, ()):
                    found.append(_read(record.value))
    finally:
        await consumer.stop()
    return found


def _read(value: bytes) -> tuple[str, int]:
    symbol, commit = TICKER.search(value), COMMIT.search(value)
    if symbol is None or commit is None:
        message = f"not an update of a price: {value[:200]!r}"
        raise ValueError(message)
    return symbol[1].decode(), int(commit[1])


def delays(
    updates: list[tuple[str, int]],
    records: list[tuple[bytes, float, bytes]],
    universe: Universe,
) -> tuple[NDArray[np.float64], int]:
    """Milliseconds of every (update, holder) pair; and how many never came."""
    heard: dict[int, list[tuple[int, float]]] = defaultdict(list)
    newest = universe.sessions[-1].encode()
    known: dict[bytes, int] = {}
    for key, at, text in records:
        portfolio, _, session = key.partition(b"|")
        if session == newest:
            if text not in known:
                moment = datetime.fromisoformat(text.decode())
                known[text] = round(moment.timestamp() * 1e6)
            heard[int(portfolio)].append((known[text], at))
    by_symbol: dict[str, list[int]] = defaultdict(list)
    for symbol, commit in updates:
        by_symbol[symbol].append(commit)
    parts, missing = [], 0
    for symbol, moments in by_symbol.items():
        committed = np.array(moments)
        for portfolio in universe.holders[symbol]:
            pairs = heard.get(portfolio, [])
            late, lost = _first_after(committed, pairs)
            parts.append(late)
            missing += lost
    return np.concatenate(parts), missing


def _first_after(
    committed: NDArray[np.int64], pairs: list[tuple[int, float]]
) -> tuple[NDArray[np.float64], int]:
    """Delays to the first record that knows of each commit."""
    if not pairs:
        return np.empty(0), len(committed)
    known = np.array([as_of for as_of, _ in pairs])
    arrived = np.array([at for _, at in pairs])
    which = np.searchsorted(np.maximum.accumulate(known), committed)
    there = which < len(known)
    return arrived[which[there]] * 1e3 - committed[there] / 1e3, int((~there).sum())


async def measure(
    made: Rig, app: object, settings: Settings, rate: int, seconds: float
) -> None:
    """Load at one rate, wait, and print what was found."""
    dsn = settings.postgres.dsn.get_secret_value()
    async with started_admin(settings) as admin:
        places = await places_of(admin, [settings.cdc_topic("market_data_cache")])
    await load(made.universe, dsn, rate, WARM_SECONDS)
    consumer = make_consumer(settings)
    await consumer.start()
    await asyncio.sleep(REST_SECONDS)
    starts = await consumer.end_offsets(places)
    await consumer.stop()
    tap, ready = Tap(settings), asyncio.Event()
    task = asyncio.create_task(tap.run(ready))
    await ready.wait()
    before = made.cpu_seconds(app)
    late = await load(made.universe, dsn, rate, seconds)
    after = made.cpu_seconds(app)
    await asyncio.sleep(REST_SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    updates = await commits(settings, starts)
    found, missing = delays(updates, tap.records, made.universe)
    p50, p99 = np.percentile(found, [50, 99])
    print(
        f"   {rate} prices/s for {seconds:g} s, "
        f"{max(1, round(rate * TICK_SECONDS))} a commit: "
        f"p50 {p50:.0f}, p99 {p99:.0f}, max {found.max():.0f} ms "
        f"(n {len(found):,} pairs of {len(updates):,} updates; {missing} never came; "
        f"{len(tap.records):,} snapshots)\n"
        f"      commits were sent up to {max(late) * 1e3:.0f} ms after their time\n"
        f"      cores: {cpu(before, after, seconds)}",
        flush=True,
    )


@asynccontextmanager
async def replaying(
    settings: Settings, universe: Universe, rate: float
) -> AsyncIterator[None]:
    """Have a replay of all sessions at work during a block; nothing of it is left."""
    first, last = universe.sessions[-universe.live], universe.sessions[-1]
    command = [
        sys.executable,
        "-m",
        "deltafolio",
        "--home",
        str(settings.home),
        "replay",
    ]
    limit = ["--rate", f"{rate:g}"] if rate else []
    process = await asyncio.create_subprocess_exec(
        *command,
        "run",
        "--from",
        first,
        "--to",
        last,
        *limit,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        runs = Runs(settings.home)
        # Another process writes that down.
        while not [r for r in runs.all() if r.phase is Phase.DERIVE]:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await asyncio.sleep(START_SECONDS)
        yield
        over = (
            "over before the measurement was"
            if process.returncode is not None
            else "on"
        )
        print(f"      the replay beside it went {over}")
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()
        clean = await asyncio.create_subprocess_exec(*command, "clean")
        await clean.wait()


async def latency(
    made: Rig,
    workers: int,
    rates: list[int],
    seconds: float,
    *,
    sink: bool,
    families: tuple[str, ...] = ALL_FAMILIES,
    replay: float | None = None,
) -> None:
    """Derive, then measure each rate; with a replay beside it if there is one."""
    head(
        f"commit to result, {made.cells // made.universe.live:,} portfolios, "
        f"{workers} workers, sink {'on' if sink else 'off'}"
    )
    app = made.derivation(workers, *(["sink"] if sink else []), families=families)
    try:
        await derive_cold(made, app)
        for rate in rates:
            await measure(made, app, app.settings, rate, seconds)
            if replay is not None:
                print(f"   a replay beside it, {replay:g} records/s (0: no limit)")
                async with replaying(app.settings, made.universe, replay):
                    await measure(made, app, app.settings, rate, seconds)
    finally:
        app.stop()


async def main() -> None:
    """Ask on a rig of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portfolios", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=87)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rates", default="200,500,1000")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--sink", action="store_true")
    parser.add_argument("--families", default="all", choices=CHOICES)
    parser.add_argument("--replay", type=float, help="records a second; 0: no limit")
    args = parser.parse_args()
    rates = [int(rate) for rate in args.rates.split(",")]
    async with rig(args.portfolios, args.sessions) as made:
        await latency(
            made,
            args.workers,
            rates,
            args.seconds,
            sink=args.sink,
            families=CHOICES[args.families],
            replay=args.replay,
        )


if __name__ == "__main__":
    asyncio.run(main())
