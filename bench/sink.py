"""How fast results reach PostgreSQL: ``python -m bench.sink``.

Generated records of the size of real ones go through the sink's own functions, all
families at once, into a PostgreSQL of the embedded stack (fsync on):

* *load*: a record for each portfolio and session, into empty tables;
* *again*: the same at a newer revision, so that every row is replaced;
* *live*: ticks of all portfolios on the newest session, at a fixed rate whether the
  sink keeps up or not;
* *raw pipe*: the load's rows, spelled beforehand, by COPY into tables without a key.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import uvloop
from aiokafka import TopicPartition
from pydantic import SecretStr

from connectors.memory import spare_the_collector
from connectors.postgres import apply_schema, connect
from connectors.settings import PostgresSettings
from connectors.sink import POSITIONS, SNAPSHOTS, Family
from connectors.sink_postgres import PostgresSink
from connectors.sink_records import COPY_FORMAT, Reader, RowWriter
from connectors.stack.layout import Layout, choose_ports
from connectors.stack.process import spawn, stop
from connectors.stack.services import Context, Postgres
from streams.sink import Pump

LIVE_SECONDS = 10
FAMILIES = (SNAPSHOTS, POSITIONS)


class Generated(NamedTuple):
    """A record as aiokafka gives it."""

    offset: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    partition: int = 0


# --- records ------------------------------------------------------------------------

_HEAD = (
    '{"portfolio":%d,"session":"%s","revision":{"p":%d,"m":%d,"v":1},'
    '"as_of":"2024-05-03T12:00:00.123456Z","cause":{"table":"market_data_cache",'
    '"key":["SYM001","2024-01-02"],"committed":"2024-05-03T12:00:00.123456Z",'
    '"version":[1,2,3],"changed":{"close":["101.5","102.25"]}},"previous":null,'
)
_LISTS = "stale unpriced private_mark at_cost jump orphan_events quantity_unknown"
_QUALITY = {
    "priced": 21,
    **{n: [] for n in _LISTS.split()},
    "overflow": [],
    "partial": 0,
}


class Universe:
    """Portfolios with lots, from one seed; their records on any session."""

    def __init__(self, portfolios: int, sessions: int, lots: int) -> None:
        chance = random.Random(7)  # noqa: S311 - seeded on purpose
        self.portfolios = range(1, portfolios + 1)
        self.days = list(_weekdays(sessions))
        # Bodies are drawn from a pool: spelling each is not what is measured.
        self._bodies = {
            family: [_body(family, chance, lots) for _ in range(500)]
            for family in FAMILIES
        }

    def history(self, family: Family, revision: int) -> list[Generated]:
        """One record for each portfolio and session."""
        cells = ((p, day) for day in self.days for p in self.portfolios)
        return [
            self._record(family, portfolio, day, revision, offset)
            for offset, (portfolio, day) in enumerate(cells)
        ]

    def tick(self, family: Family, number: int) -> list[Generated]:
        """One record for each portfolio, on the newest session."""
        first = number * len(self.portfolios)
        return [
            self._record(family, portfolio, self.days[-1], 100 + number, first + i)
            for i, portfolio in enumerate(self.portfolios)
        ]

    def _record(
        self, family: Family, portfolio: int, day: str, revision: int, offset: int
    ) -> Generated:
        bodies = self._bodies[family]
        body = bodies[(portfolio * 31 + offset) % len(bodies)]
        head = _HEAD % (portfolio, day, revision, revision)
        return Generated(
            offset,
            f"{portfolio}|{day}".encode(),
            head.encode() + body,
            [("d", bytes(8)), ("r", b"%d,%d,1" % (revision, revision))],
        )


def _body(family: Family, chance: random.Random, lots: int) -> bytes:
    content = _snapshot(chance) if family is SNAPSHOTS else _positions(chance, lots)
    text = json.dumps({"status": "final", **content}, separators=(",", ":"))
    return text[1:].encode()


def _snapshot(chance: random.Random) -> dict[str, Any]:
    names = [n for n in SNAPSHOTS.values if n not in ("cause", "previous")]
    return {
        **{name: round(chance.uniform(-1e6, 1e6), 4) for name in names},
        **dict.fromkeys(("lots", "long_lots", "short_lots", "names"), 21),
        **{name: chance.random() for name in ("daily_return", "hhi", "top3")},
        "reasons": {},
        "quality": _QUALITY,
    }


def _positions(chance: random.Random, lots: int) -> dict[str, Any]:
    def money(scale: float) -> list[float]:
        return [round(chance.uniform(-scale, scale), 4) for _ in range(lots)]

    return {
        "lot": [chance.randrange(10**6) for _ in range(lots)],
        "symbol": [f"SYM{chance.randrange(500):03d}" for _ in range(lots)],
        "position_type": ["LONG"] * lots,
        "investment_class": ["PUBLIC"] * lots,
        "quantity": [float(chance.randrange(1, 900)) for _ in range(lots)],
        "entry_price": [round(chance.uniform(5, 400), 6) for _ in range(lots)],
        "price": [round(chance.uniform(5, 400), 2) for _ in range(lots)],
        "price_date": ["2024-01-02"] * lots,
        "price_status": ["priced"] * lots,
        "market_value": money(1e6),
        "pnl": money(1e4),
        "traded": [0.0] * lots,
        "realized_pnl": [0.0] * lots,
        "flags": [[]] * lots,
        "reasons": {},
    }


def _weekdays(count: int) -> Iterator[str]:
    day = date(2024, 1, 1)
    while count:
        if day.weekday() < 5:
            yield day.isoformat()
            count -= 1
        day += timedelta(days=1)


# --- sources ------------------------------------------------------------------------

Found = dict[TopicPartition, list[Any]]


class Listed:
    """Gives records out of a list, as a consumer would."""

    def __init__(self, records: list[Generated]) -> None:
        self.done = asyncio.Event()
        self._records, self._at = records, 0

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Found:
        """Give the next ones; when there are none, say that it is done."""
        found = self._records[self._at : self._at + max_records]
        self._at += len(found)
        if not found:
            self.done.set()
            await asyncio.sleep(timeout_ms / 1000)
        return {TopicPartition("", 0): found} if found else {}


class Ticking:
    """Gives ticks at their time, whether the last ones were taken or not."""

    def __init__(self, ticks: list[list[Generated]], per_second: float) -> None:
        self.done = asyncio.Event()
        self.late = 0.0
        self._ticks, self._interval = ticks, 1 / per_second
        self._began, self._given = time.monotonic(), 0

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Found:
        """Wait for the next tick's time; how late it is given is kept."""
        del max_records
        if self._given == len(self._ticks):
            self.done.set()
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        at = self._began + self._given * self._interval
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        self.late = max(self.late, time.monotonic() - at)
        self._given += 1
        return {TopicPartition("", 0): self._ticks[self._given - 1]}


# --- measuring ----------------------------------------------------------------------


class Stopwatch:
    """Wall clock and CPU of this process and of PostgreSQL."""

    def __init__(self, server: psutil.Process) -> None:
        self._server = server
        self._wall, self._ours = time.monotonic(), time.process_time()
        self._theirs = self._server_cpu()

    def _server_cpu(self) -> float:
        """Of the server and its backends, also of those that have ended."""
        processes = (self._server, *self._server.children())
        times = [process.cpu_times() for process in processes]
        ended = times[0].children_user + times[0].children_system
        return float(sum(t.user + t.system for t in times) + ended)

    def say(self, what: str, records: int) -> None:
        """Print the figures since this was made."""
        wall = time.monotonic() - self._wall
        ours = time.process_time() - self._ours
        theirs = self._server_cpu() - self._theirs
        print(
            f"{what:9} {records:9,} records {wall:6.2f} s {records / wall:9,.0f}/s   "
            f"CPU seconds: sink {ours:5.2f}, PostgreSQL {theirs:5.2f}"
        )


async def pump(dsn: str, family: Family, source: Listed | Ticking) -> Pump:
    """Write all that a source gives."""
    sink = PostgresSink(dsn, family, family.name)
    await sink.open()
    found = Pump(source, sink, family.name)
    await found.run(source.done, patience=600)
    await sink.close()
    return found


async def measure(
    dsn: str, server: psutil.Process, universe: Universe, rate: float
) -> None:
    """All measurements, one after the other."""
    cells = len(universe.portfolios) * len(universe.days) * len(FAMILIES)
    for what, revision in (("load", 1), ("again", 2)):
        sources = {f: Listed(universe.history(f, revision)) for f in FAMILIES}
        watch = Stopwatch(server)
        await asyncio.gather(*(pump(dsn, *item) for item in sources.items()))
        watch.say(what, cells)
    await _live(dsn, server, universe, rate)
    await _raw_pipe(dsn, server, universe)


async def _live(
    dsn: str, server: psutil.Process, universe: Universe, rate: float
) -> None:
    per_second = rate / len(universe.portfolios) / len(FAMILIES)
    numbers = range(int(per_second * LIVE_SECONDS))
    ticks = {f: [universe.tick(f, n) for n in numbers] for f in FAMILIES}
    watch = Stopwatch(server)
    sources = {f: Ticking(ticks[f], per_second) for f in FAMILIES}
    pumps = await asyncio.gather(*(pump(dsn, *item) for item in sources.items()))
    watch.say("live", len(numbers) * len(universe.portfolios) * len(FAMILIES))
    for found, source in zip(pumps, sources.values(), strict=True):
        written = found.total.stored
        print(f"          {written:,} rows written, at most {source.late:.2f} s late")


async def _raw_pipe(dsn: str, server: psutil.Process, universe: Universe) -> None:
    spelled = {family: _spell(family, universe) for family in FAMILIES}
    watch = Stopwatch(server)
    await asyncio.gather(*(_copy(dsn, family, *it) for family, it in spelled.items()))
    cells = len(universe.portfolios) * len(universe.days) * len(FAMILIES)
    watch.say("raw pipe", cells)


def _spell(family: Family, universe: Universe) -> tuple[tuple[str, ...], bytes]:
    reader, writer = Reader(family), RowWriter(family)
    cells = map(reader.read, universe.history(family, 1))
    return writer.columns, b"".join(map(writer.row, cells))


async def _copy(
    dsn: str, family: Family, columns: tuple[str, ...], rows: bytes
) -> None:
    connection = await connect(dsn, "bench")
    raw = f"raw_{family.name}"
    await connection.execute(
        f"CREATE TABLE {raw} WITH (toast_tuple_target = 8160) "
        f"AS TABLE analytics.{family.table} WITH NO DATA"
    )
    await connection.copy_to_table(
        raw, source=io.BytesIO(rows), columns=columns, **COPY_FORMAT
    )
    await connection.close()


@contextmanager
def server() -> Iterator[tuple[str, psutil.Process]]:
    """Start a PostgreSQL of its own: its DSN and process."""
    with tempfile.TemporaryDirectory() as home:
        layout = Layout.at(Path(home))
        layout.make()
        (layout.home / "postgres").mkdir()
        service = Postgres(Context(layout, choose_ports(layout, frozenset()), {}))
        service.prepare()
        place = layout.home / "postgres"
        identity = spawn(service.command(), layout.log("postgres"), place)
        try:
            while not service.is_healthy():
                time.sleep(0.05)
            yield service.dsn, psutil.Process(identity.pid)
        finally:
            stop(identity, service.stop_signal, 30)


async def run(options: argparse.Namespace) -> None:
    """Start a server, make the schema, measure."""
    with server() as (dsn, process):
        await apply_schema(PostgresSettings(dsn=SecretStr(dsn)))
        universe = Universe(options.portfolios, options.sessions, options.lots)
        await measure(dsn, process, universe, options.rate)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="bench.sink", description=__doc__)
    parser.add_argument("--portfolios", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=87)
    parser.add_argument("--lots", type=int, default=21)
    parser.add_argument("--rate", type=float, default=20_000, help="records/s, live")
    spare_the_collector()
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
