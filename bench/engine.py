"""What the engine alone costs: fold, derive, tick, correct, restart.

No Kafka, one core, CPU time. Portfolios hold 21 lots of 508 symbols that have 252
sessions of history before the derived ones. Last, wall time of several engines that
derive side by side, a process and a share of the partitions each, as workers do.

    python -m bench.engine --portfolios 1000 --sessions 87 --engines 2
"""

import argparse
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Manager
from random import Random
from threading import Barrier
from time import perf_counter, process_time
from typing import Any

import numpy as np
import psutil

from analytics import snapshots, valuation
from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.factors import Factors
from analytics.results import ALL_FAMILIES
from analytics.rows import Change, Lot, Portfolio, Price, Row, Version
from bench.machine import head
from connectors.memory import keep_freed

SYMBOLS, LOTS, WARM_UP, RECORD, PART, TICKS = 508, 21, 252, 1000, 8192, 7
OTHERS = SYMBOLS - len(Factors().symbols)
FIRST = 738_000
ENTRY = FIRST + WARM_UP


class World:
    """A seeded universe of prices and portfolios as changes."""

    def __init__(self, portfolios: int, sessions: int) -> None:
        self.random = Random(7)  # noqa: S311
        self.portfolios, self.total = portfolios, WARM_UP + sessions
        days = list(range(FIRST, FIRST + self.total + 10))
        closes = [day * 86_400_000_000 for day in range(len(days))]
        self.calendar = Calendar(days, closes, days[0], days[-1])
        factors = Factors().symbols
        self.others = [f"S{n:03d}" for n in range(SYMBOLS - len(factors))]
        self.symbols = [*factors, *self.others]
        self.level = {s: self.random.uniform(5, 500) for s in self.symbols}
        self.number = 0

    def change(self, table: str, key: Any, portfolio: int | None, row: Row) -> Change:
        """Make the next change."""
        self.number += 1
        version = Version(self.number, self.number, 0)
        return Change(table, key, version, self.number, portfolio, row)

    def price(self, symbol: str, session: int) -> Change:
        """Step a price at random from the last one."""
        self.level[symbol] *= self.random.uniform(0.98, 1.0205)
        close = int(self.level[symbol] * 100) * 10_000
        day = FIRST + session
        row = Price(symbol, day, close, close / 1e6)
        return self.change("market_data_cache", (symbol, day), None, row)

    def prices(self) -> list[Change]:
        """Make all closes, session by session."""
        return [self.price(s, t) for t in range(self.total) for s in self.symbols]

    def rows(self) -> list[Change]:
        """Make portfolios with their lots, entered in the first derived session."""
        found, lot = [], 0
        for ident in range(1, self.portfolios + 1):
            row = Portfolio(ident, f"p{ident}", 10_000_000_000, None)
            found.append(self.change("portfolios", (ident,), ident, row))
            for symbol in self.random.sample(self.symbols, LOTS):
                lot += 1
                found.append(self.lot(lot, ident, symbol))
        return found

    def lot(self, ident: int, owner: int, symbol: str) -> Change:
        """Make a lot, one in five short."""
        size = self.random.randint(1, 500) * 10_000
        kind, size = ("LONG", size) if self.random.random() < 0.8 else ("SHORT", -size)
        paid = self.random.randint(5, 500) * 1_000_000
        none = (None,) * 6
        row = Lot(ident, owner, symbol, kind, "PUBLIC", size, paid, ENTRY, *none)
        return self.change("positions", (ident,), owner, row)


class Bench:
    """One engine with one partition of so many."""

    def __init__(self, world: World, partition: int = 0, of: int = 1) -> None:
        self.world = world
        self.partition, self.of = partition, of
        self.engine = made(world, of)
        self.engine.add_partition(partition)

    def market(self, changes: list[Change]) -> int:
        """Fold market changes in records."""
        for start in range(0, len(changes), RECORD):
            part = changes[start : start + RECORD]
            self.engine.fold_market(part, next_offset=self.engine.market_offset() + 1)
        return len(changes)

    def rows(self, changes: list[Change]) -> int:
        """Fold changes of the partition's portfolios in records."""
        here = self.partition
        mine = [c for c in changes if c.portfolio and c.portfolio % self.of == here]
        for start in range(0, len(mine), RECORD):
            part = mine[start : start + RECORD]
            self.engine.fold_partition(here, part, next_offset=start + 1)
        return len(mine)

    def derive(self, *families: str) -> int:
        """Derive all that is touched, in parts that are let go of."""
        count = 0
        while part := self.engine.derive(families, limit=PART):
            count += len(part)
        return count

    def cold(self) -> None:
        """Fold and derive everything."""
        prices, rows = self.world.prices(), self.world.rows()
        timed("fold prices", "row", lambda: self.market(prices))
        timed("fold portfolios and lots", "row", lambda: self.rows(rows))
        timed("compile and spread", "row", lambda: self.derive() or len(rows))
        timed("derive snapshots", "result", lambda: self.derive("snapshots"))
        timed("derive positions", "result", lambda: self.derive("positions"))
        timed("derive risk", "result", lambda: self.derive("risk"))
        timed("derive symbols", "result", lambda: self.derive("symbols"))

    def warm(self) -> None:
        """Tick, correct, restate."""
        world, newest = self.world, self.world.total - 1
        for many in (1, 30, OTHERS):
            for families in (*((family,) for family in ALL_FAMILIES), ALL_FAMILIES):
                ticks = []
                for _ in range(TICKS):
                    # Factors move everyone; here only holders are asked for.
                    symbols = world.random.sample(world.others, many)
                    changes = [world.price(symbol, newest) for symbol in symbols]
                    ticks.append(spent(lambda c=changes, f=families: self.tick(c, *f)))
                    self.derive(*ALL_FAMILIES)
                what = families[0] if len(families) == 1 else "all families"
                report(f"tick of {many} symbols, {what}", "result", ticks)
        values = [spent(self.values) for _ in range(TICKS)]
        report("newest session of all, without encoding", "portfolio", values)
        self.market([world.price(world.symbols[0], newest - 40)])
        timed("one close, 40 sessions back", "result", self.every)
        self.rows([world.lot(1, 1, "S001")])
        timed("one lot, from its entry", "result", self.every)

    def every(self) -> int:
        """Derive all families."""
        return self.derive(*ALL_FAMILIES)

    def tick(self, changes: list[Change], *families: str) -> int:
        """Fold prices of the newest session and derive."""
        self.market(changes)
        return self.derive(*families)

    def values(self) -> int:
        """Value the newest session of every portfolio."""
        book, market = self.engine.book, self.engine.market
        slot = np.arange(book.slots.used)
        session = np.full(len(slot), market.last_session)
        cells, rows = valuation.value(book, market, slot, session)
        snapshots.money(book, cells, rows, snapshots.phases(book, cells))
        valuation.concentrate(book, cells, rows)
        return len(slot)

    def restart(self) -> None:
        """Dump everything and load it into another engine."""
        engine, dumped = self.engine, {}
        timed(
            "dump a whole checkpoint",
            "blob",
            lambda: (
                dumped.update(
                    rows=engine.dump_portfolios(0, only_dirty=False),
                    said=engine.dump_said(0, only_dirty=False),
                    market=engine.dump_market(only_dirty=False),
                )
                or sum(map(len, dumped.values()))
            ),
        )
        for name, blobs in dumped.items():
            print(f"     {name}: {sum(map(len, blobs.values())) / 1e6:.1f} MB")
        timed("load it and derive (nothing)", "blob", lambda: load(self.world, dumped))


def made(world: World, of: int = 1) -> Engine:
    """Make an engine of all families; symbols speak in the derived sessions."""
    factors = Factors(symbol_sessions=world.total - WARM_UP)
    place = {symbol: number % of for number, symbol in enumerate(world.symbols)}
    return Engine(world.calendar, factors=factors, symbol_partition=place.__getitem__)


def side_by_side(portfolios: int, sessions: int, engines: int) -> None:
    """Derive everything with several engines at once; report the slowest."""
    with Manager() as manager, ProcessPoolExecutor(engines) as pool:
        ready = manager.Barrier(engines)
        shares = [
            pool.submit(share, portfolios, sessions, number, engines, ready)
            for number in range(engines)
        ]
        found = [each.result() for each in shares]
    results, wall = sum(count for count, _ in found), max(s for _, s in found)
    name = f"derive all, {engines} engines at once, wall time"
    report(name, "result", [(wall, results)])


def share(
    portfolios: int, sessions: int, number: int, of: int, ready: Barrier
) -> tuple[int, float]:
    """Derive a share of the portfolios and symbols: results, and wall seconds."""
    keep_freed()
    world = World(portfolios, sessions)
    bench = Bench(world, number, of)
    bench.market(world.prices())
    bench.rows(world.rows())
    bench.derive()
    ready.wait()
    began = perf_counter()
    return bench.derive(*ALL_FAMILIES), perf_counter() - began


def load(world: World, dumped: dict[str, dict[Any, bytes]]) -> int:
    """Load a checkpoint; nothing is to be said."""
    other = made(world)
    for key, blob in dumped["market"].items():
        other.load_market(key, blob)
    other.add_partition(0)
    for key, blob in dumped["rows"].items():
        other.load_portfolio(0, key, blob)
    for key, blob in dumped["said"].items():
        other.load_said(0, key, blob)
    if other.derive():
        message = "a restart says something again"
        raise AssertionError(message)
    return sum(map(len, dumped.values()))


def spent(work: Callable[[], int]) -> tuple[float, int]:
    """CPU seconds of something, and how many things it did."""
    start = process_time()
    count = work()
    return process_time() - start, count


def timed(name: str, unit: str, work: Callable[[], int]) -> None:
    """Do something once and report it."""
    report(name, unit, [spent(work)])


def report(name: str, unit: str, runs: list[tuple[float, int]]) -> None:
    """Print the median of some runs."""
    seconds, count = statistics.median(runs)
    each = seconds / max(count, 1) * 1e6
    print(
        f"   {name:<42} n {len(runs)} {seconds * 1e3:9.1f} ms "
        f"{each:8.2f} us a {unit} ({count:,})"
    )


def main() -> None:
    """Ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portfolios", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=87)
    parser.add_argument("--engines", type=int, default=2)
    args = parser.parse_args()
    head(f"engine: {args.portfolios:,} portfolios, {args.sessions} sessions")
    keep_freed()
    bench = Bench(World(args.portfolios, args.sessions))
    bench.cold()
    bench.warm()
    bench.restart()
    print(f"   resident: {psutil.Process().memory_info().rss / 2**20:.0f} MiB")
    side_by_side(args.portfolios, args.sessions, args.engines)


if __name__ == "__main__":
    main()
