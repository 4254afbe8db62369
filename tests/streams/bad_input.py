"""What nobody should send on a CDC topic, made from a seed, and what is made of it.

``generate`` gives records of every kind; ``feed`` takes them through the door, the
transactions and the packing, folds the journal that comes out into an engine, and
writes every result down: what a worker would do. ``faults_in`` says what went wrong.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.rows import Change
from connectors.deadletters import (
    MAX_PAYLOAD,
    REDRIVE_HEADER,
    decode_letter,
    later,
    read_redrive,
)
from connectors.debezium import decode
from connectors.journal import decode as decode_journal
from connectors.kafka import MAX_RECORD_BYTES
from streams.door import Door
from streams.holdback import Holdback
from streams.intake_stats import IntakeStats
from streams.ledger import Ledger
from streams.parts import make_engine
from streams.record import RecordWriter
from tests.connectors.envelopes import (
    EPOCH,
    MONDAY,
    ROWS,
    envelope,
    marker,
    snapshot_row,
)
from tests.streams.intake_model import ENDS, PLACES, SETTINGS

METADATA_BYTES = 4096
"""What Kafka takes with a committed offset (``offset.metadata.max.bytes``)."""

DAYS = [EPOCH + MONDAY + day for day in range(40)]
CALENDAR = Calendar(DAYS, [0] * 40, DAYS[0], DAYS[-1])
OTHERS: dict[str, dict[str, Any]] = {
    "equity_changes": {
        "id": 4,
        "portfolio_id": 1,
        "change_type": "CONTRIBUTION",
        "amount": "5.0000",
        "change_date": MONDAY + 2,
        "deleted_at": None,
    },
    "position_realized_events": {
        "id": 5,
        "portfolio_id": 1,
        "position_id": 2,
        "trade_date": MONDAY + 3,
        "quantity_closed": "1.0000",
        "exit_price": "51.000000",
        "realized_pnl": None,
        "deleted_at": None,
    },
    "company_profiles": {"symbol": "A", "sector": "Energy", "is_etf": False},
    "benchmarks_sector_weights": {
        "id": 9,
        "benchmark_code": "SPY",
        "sector": "Energy",
        "weight": "0.25000000",
        "effective_date": MONDAY,
    },
}
TABLES = {**ROWS, **OTHERS}
WRONG = [None, True, -1, 0, 2**31, 2**63, 2**70, 1.5, 1e308, "", "x", "\udcff", [], {}]
WRONG += ["9" * 5000, ["1"], {"table": "pets"}, '["-1","-1"]', '["1"]', "\x00", "²"]
NOT_FINITE = [
    "NAN",
    "NaN",
    "Infinity",
    "-Infinity",
    float("nan"),
    float("inf"),
    "1e999",
]

Made = tuple[bytes | None, dict[str, Any]]


@dataclass
class Maker:
    """Makes one bad record after the other.

    Attributes
    ----------
    chance
        Where everything is drawn from.
    number
        Counts records, so that redriven letters have names of their own.
    """

    chance: random.Random
    number: int = 0

    def message(self) -> dict[str, Any]:
        """A sound message: a row of some table, of any operation, or a boundary."""
        chance = self.chance
        if chance.random() < 0.1:
            status = chance.choice(["BEGIN", "END"])
            tx, lsn = chance.randrange(700, 800), chance.randrange(10**9)
            return marker(status, tx, lsn, chance.randrange(4))
        table = chance.choice(list(TABLES))
        row = copy.deepcopy(TABLES[table])
        if "id" in row:
            row["id"] = chance.randrange(1, 30)
        if "portfolio_id" in row:
            row["portfolio_id"] = chance.randrange(1, 5)
        op = chance.choice("ccurd")
        if op == "r":
            return snapshot_row(table, row, chance.randrange(10**9))
        after = None if op == "d" else row
        before = row if op == "d" else None
        if op == "u" and chance.random() < 0.3:
            before = copy.deepcopy(row) | {"symbol": "B"}
        lsn = chance.randrange(10**9)
        return envelope(
            op,
            table,
            before=before,
            after=after,
            commit=lsn - chance.randrange(100),
            lsn=lsn,
            tx=chance.choice([None, chance.randrange(700, 800)]),
            order=chance.randrange(1, 5),
        )

    def place_in(self, message: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """A random field: the object that has it, and its name."""
        holder: dict[str, Any] = message
        while True:
            name = self.chance.choice(sorted(holder))
            inner = holder[name]
            if not isinstance(inner, dict) or not inner or self.chance.random() < 0.1:
                return holder, name
            holder = inner

    def column_in(self, message: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """A random column of the row, or any field where there is no row."""
        row = message.get("after") or message.get("before")
        if not row:
            return self.place_in(message)
        return row, self.chance.choice(sorted(row))

    # --- kinds ---

    def sound(self) -> Made:
        return dump(self.message()), {}

    def truncated(self) -> Made:
        value = dump(self.message())
        return value[: self.chance.randrange(len(value))], {}

    def wrong_type(self) -> Made:
        message = self.message()
        for _ in range(self.chance.randrange(1, 4)):
            holder, name = self.place_in(message)
            holder[name] = copy.deepcopy(self.chance.choice(WRONG))
        return dump(message), {}

    def wrong_table(self) -> Made:
        message = self.message()
        if "source" in message:
            names = [*TABLES, "pets", "", "positions; DROP TABLE positions", "é" * 300]
            message["source"]["table"] = self.chance.choice(names)
        return dump(message), {}

    def huge(self) -> Made:
        message = self.message()
        holder, name = self.column_in(message)
        size = self.chance.choice([10_000, 100_000, 100_000, 1_300_000, 2_500_000])
        holder[name] = self.chance.choice(["A", "é", "\x00", '"', "😀"]) * size
        value = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
        # Kafka takes no more; what is above it never arrives.
        return value[: MAX_RECORD_BYTES - 1000], {}

    def huge_number(self) -> Made:
        message = self.message()
        holder, name = self.place_in(message)
        holder[name] = "@"
        digits = b"9" * self.chance.choice([20, 400, 4_299, 4_301, 20_000])
        return dump(message).replace(b'"@"', digits), {}

    def deep(self) -> Made:
        message = self.message()
        holder, name = self.place_in(message)
        holder[name] = "@"
        depth = self.chance.choice([100, 5_000, self.chance.randrange(1, 1_100)])
        start, end = self.chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
        inner = start * depth + b"1" + end * depth
        return dump(message).replace(b'"@"', inner), {}

    def not_finite(self) -> Made:
        message = self.message()
        holder, name = self.column_in(message)
        holder[name] = self.chance.choice(NOT_FINITE)
        return dump(message), {}

    def unknown_operation(self) -> Made:
        message = self.message()
        words = ["m", "t", "x", "", "C", "cc", None, 1, "\x00"]
        message["op" if "op" in message else "status"] = self.chance.choice(words)
        return dump(message), {}

    def missing_key(self) -> Made:
        message = self.message()
        for side in ("before", "after"):
            for name in ("id", "symbol", "date", "portfolio_id"):
                if message.get(side) and self.chance.random() < 0.5:
                    message[side].pop(name, None)
        return dump(message), {"key": None}

    def wrong_key(self) -> Made:
        keys = [b"", b"\xff\xfe", b"999", b"0", b"\x00" * 5_000_000, "é".encode() * 9]
        weights = [5, 5, 5, 5, 0.02, 5]
        [key] = self.chance.choices(keys, weights)
        if self.chance.random() < 0.5:
            return self.wrong_type()[0], {"key": key}
        return dump(self.message()), {"key": key}

    def invalid_utf8(self) -> Made:
        value = bytearray(dump(self.message()))
        for _ in range(self.chance.randrange(1, 4)):
            value[self.chance.randrange(len(value))] = self.chance.randrange(128, 256)
        return bytes(value), {}

    def flipped(self) -> Made:
        value = bytearray(dump(self.message()))
        for _ in range(self.chance.randrange(1, 4)):
            value[self.chance.randrange(len(value))] ^= 1 << self.chance.randrange(8)
        return bytes(value), {}

    def future_schema(self) -> Made:
        message = self.message()
        how = self.chance.randrange(4)
        holder, name = self.column_in(message)
        if how == 0:
            holder["added_column"] = {"nested": [1, 2]}
        elif how == 1:
            holder["renamed"] = holder.pop(name)
        elif how == 2:
            message = {"schema": {"type": "struct"}, "payload": message}
        elif "source" in message:
            message["source"] |= {"version": "9.0", "lsn_proc": 1, "ts_us": None}
            message["source"]["ts_ms"] = self.chance.choice([None, 0, -1, 2**62, 2**70])
        return dump(message), {}

    def strange_transaction(self) -> Made:
        message = self.message()
        names = ["", ":", "779", "x:1", "7" * 30 + ":1", "n" * 9_000 + ":5", "é:1"]
        name = self.chance.choice(names)
        if "status" in message:
            message["id"] = name
        elif message["transaction"]:
            message["transaction"]["id"] = name
            orders = [0, -1, 2**63 - 1, -(2**63), 2**63]
            message["transaction"]["total_order"] = self.chance.choice(orders)
        return dump(message), {}

    def strange_time(self) -> Made:
        times = [-1, 2**62, -(2**63), 2**63 - 1, 253_402_300_800_000]
        message = self.message()
        if "source" in message:
            message["source"]["ts_us"] = self.chance.choice(times)
        if self.chance.random() < 0.5:
            message.pop("op", None)
        return dump(message), {"timestamp": self.chance.choice(times)}

    def strange_header(self) -> Made:
        floor = self.chance.choice([0, 5, -1, 2**63, 2**64, 2**70])
        mark = {"topic": "t", "partition": 0, "offset": self.number, "floor": floor}
        texts: list[bytes | None] = [None, b"", b"{}", b"\xff", b"[" * 5_000]
        texts += [dump(mark)] * 5 + [dump(mark | {"offset": 2**70 + self.number})]
        headers = ((REDRIVE_HEADER, self.chance.choice(texts)), ("other", None))
        value = self.chance.choice([self.sound, self.wrong_type])()[0]
        return value, {"headers": headers}

    def tombstone(self) -> Made:
        return None, {}

    def heartbeat(self) -> Made:
        return dump({"ts_ms": self.number}), {}

    def noise(self) -> Made:
        return self.chance.randbytes(self.chance.randrange(64)), {}


RARE = {"huge": 0.03, "deep": 0.3, "huge_number": 0.3}
KINDS: dict[str, Callable[[Maker], Made]] = {
    name: kind
    for name, kind in vars(Maker).items()
    if callable(kind)
    and not name.startswith("_")
    and name not in ("message", "place_in", "column_in")
}


def dump(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode("utf-8", "surrogatepass")


def generate(seed: int, count: int) -> Iterator[tuple[str, TopicPartition, Made]]:
    """Kind, place and content of each record; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, no secret
    maker = Maker(chance)
    weights = [RARE.get(name, 1.0) for name in KINDS]
    kinds = chance.choices(list(KINDS), weights, k=count)
    for number, kind in enumerate(kinds):
        maker.number = number
        made = KINDS[kind](maker)
        ends = made[0] is not None and b'"status"' in made[0]
        wrong = chance.random() < 0.05
        places = PLACES if wrong else [ENDS] if ends else PLACES[:-1]
        yield kind, chance.choice(places), made


@dataclass
class Outcome:
    """What became of the records that were fed."""

    stats: IntakeStats = field(default_factory=IntakeStats)
    fed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    wanted: Counter[bytes] = field(default_factory=Counter)
    written: Counter[bytes] = field(default_factory=Counter)
    letters: dict[bytes, bytes] = field(default_factory=dict)
    payloads: dict[bytes, bytes | None] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    results: int = 0
    changes: list[Change] = field(default_factory=list)
    removed: set[bytes] = field(default_factory=set)


class Pipe:
    """Door, packing, engine and record writer, without Kafka between them."""

    def __init__(self, door: type[Door] = Door, calendar: Calendar = CALENDAR) -> None:
        self.outcome = Outcome()
        self.calendar = calendar
        ledger = Ledger({}, dict.fromkeys(PLACES, 0), ENDS)
        stats = self.outcome.stats
        self.door = door(SETTINGS, calendar, ledger, Holdback(DAYS[-1]), stats)
        self.engine: Engine = make_engine(SETTINGS, CALENDAR)
        for partition in range(SETTINGS.topics.partitions):
            self.engine.add_partition(partition)
        self._offsets: Counter[TopicPartition] = Counter()
        self._writer = RecordWriter(CALENDAR)

    def take(self, kind: str, place: TopicPartition, made: Made) -> None:
        """Take a record, and note what should come of it."""
        out, (value, more) = self.outcome, made
        out.fed += 1
        out.kinds[kind] += 1
        told = {"key": b"1", "timestamp": 0, "headers": ()} | more
        offset = self.door.ledger.next(place)
        record = SimpleNamespace(offset=offset, value=value, **told)
        if place != ENDS:
            self._want(place, record)
        else:
            out.payloads[f"{place.topic}/0/{offset}".encode()] = value
        self.door.take(place, record, float(out.fed))

    def _want(self, place: TopicPartition, record: Any) -> None:
        mark = read_redrive(record.headers)
        floor = mark.floor if mark else self.door.ledger.floor(place)
        found = decode(record.value, self.calendar, floor)
        changes = map(later, found.changes) if mark else found.changes
        self.outcome.wanted.update(repr(change).encode() for change in changes)
        name = f"{place.topic}/0/{record.offset}"
        if mark:
            name = f"{mark.topic}/{mark.partition}/{mark.offset}"
        self.outcome.payloads[name.encode()] = record.value

    def write(self) -> None:
        """Do with what is due as intake and a worker do."""
        writes = self.door.drain()
        for key, value in writes.letters:
            self.outcome.letters[key] = value or b""
        self.outcome.removed.update(key for key, _ in writes.forget_letters)
        for made in writes.journal:
            self._size("journal", made.value)
            self._fold(made.place, made.value)
        for offsets in (self.door.committable(), self.door.announcement()):
            for at in offsets.values():
                if len(at.metadata.encode()) > METADATA_BYTES:
                    self.outcome.faults.append("metadata too long")
        for result in self.engine.derive():
            self._size("result", self._writer.record(result).value or b"")
            self.outcome.results += 1
        self._writer.forget()

    def finish(self) -> Outcome:
        """Let go what still waits."""
        end = self.outcome.fed + 1.0
        self.door.tick(end, DAYS[-1], caught_up=True)
        self.door.tick(end + 100, DAYS[-1], caught_up=True)
        self.write()
        return self.outcome

    def _fold(self, place: TopicPartition, value: bytes) -> None:
        batch = decode_journal(value)
        self.outcome.written.update(repr(c).encode() for c in batch.changes)
        self._offsets[place] += 1
        flags = {"tx": batch.tx, "more": batch.more, "partial": batch.partial}
        changes: list[Change] = batch.changes
        self.outcome.changes += changes
        at = self._offsets[place]
        if place.topic == SETTINGS.topics.market:
            self.engine.fold_market(changes, next_offset=at, **flags)
        else:
            here = place.partition
            self.engine.fold_partition(here, changes, next_offset=at, **flags)

    def _size(self, what: str, value: bytes) -> None:
        if len(value) > MAX_RECORD_BYTES - 1000:
            self.outcome.faults.append(f"{what} of {len(value)} bytes")


def feed(seed: int, count: int, door: type[Door] = Door, every: int = 500) -> Outcome:
    """Feed records of a seed, writing every so many of them."""
    pipe = Pipe(door)
    for number, (kind, place, made) in enumerate(generate(seed, count)):
        pipe.take(kind, place, made)
        if number % every == every - 1:
            pipe.write()
    return pipe.finish()


def faults_in(out: Outcome) -> list[str]:
    """What is wrong with the outcome; empty when every record is accounted for."""
    stats, faults = out.stats, list(out.faults)
    refused, ignored = sum(stats.refused.values()), sum(stats.ignored.values())
    counted = stats.accepted + refused + ignored + stats.boundaries
    if not counted == stats.read == out.fed:
        faults.append(f"fed {out.fed}, read {stats.read}, counted {counted}")
    if len(out.letters) != refused:
        faults.append(f"{refused} refused, {len(out.letters)} letters")
    if out.written != out.wanted:
        lost, added = out.wanted - out.written, out.written - out.wanted
        faults.append(f"{lost.total()} changes lost, {added.total()} made up")
    for key, value in out.letters.items():
        letter = decode_letter(value)
        if letter is None or len(value) > MAX_RECORD_BYTES - 1000:
            faults.append(f"letter {key!r} of {len(value)} bytes")
            continue
        payload = out.payloads[key]
        kept = payload is not None and len(payload) <= MAX_PAYLOAD
        if letter.body() != (payload if kept else None):
            faults.append(f"letter {key!r} does not hold what was refused")
    return faults
