"""The pump between a consumer and a sink, with neither: thinning, pace, failures."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from aiokafka import TopicPartition

from connectors.health import STALL_S, Pulse
from connectors.sink import (
    SNAPSHOTS,
    ResultRecord,
    SinkSetupError,
    SinkUnavailableError,
    Written,
)
from connectors.sink_memory import MemorySink
from streams.sink import Pace, Pump, keep_trying, position, unless
from streams.sink_metrics import SinkMetrics
from tests.connectors.result_records import Made, snapshot

D = "2024-01-02"
PLACE = TopicPartition("t", 0)


class Source:
    """Gives lists of records, one after the other; an exception is raised."""

    def __init__(self, *items: list[Made] | Exception, then: asyncio.Event) -> None:
        self.items, self.then = list(items), then

    async def getmany(self, *, timeout_ms: int, max_records: int):
        if not self.items:
            self.then.set()
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        item = self.items.pop(0)
        if isinstance(item, Exception):
            raise item
        return {PLACE: item}


class SlowSink(MemorySink):
    """Takes its time, and counts its transactions."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(SNAPSHOTS)
        self.seconds, self.batches = seconds, list[int]()

    async def write(
        self, records: Sequence[ResultRecord], offsets: Mapping[int, int]
    ) -> Written:
        self.batches.append(len(records))
        await asyncio.sleep(self.seconds)
        return await super().write(records, offsets)


def tick(number: int, portfolios: int = 10) -> list[Made]:
    return [
        snapshot(p, D, (number, 0, 0), number, offset=number * portfolios + p - 1)
        for p in range(1, portfolios + 1)
    ]


@pytest.fixture
def stop() -> asyncio.Event:
    return asyncio.Event()


async def test_all_that_was_read_is_written_before_it_stops(stop):
    sink = SlowSink(0.05)
    await Pump(Source(*map(tick, range(5)), then=stop), sink, "t").run(stop)
    assert {row[0] for row in sink.rows} == set(range(1, 11))
    assert sink.offsets == {0: 50}


async def test_what_became_of_records_and_how_long_it_took_is_counted(stop):
    metrics = SinkMetrics()
    pump = Pump(
        Source(*map(tick, range(5)), then=stop), SlowSink(0.05), "t", metrics=metrics
    )
    await pump.run(stop)
    value = metrics.registry.get_sample_value
    stored = {"family": "t", "outcome": "stored"}
    assert value("deltafolio_sink_records_total", stored) == pump.total.stored > 0
    assert (value("deltafolio_sink_write_seconds_total", {"family": "t"}) or 0) >= 0.05


async def test_ticks_that_pile_up_become_one_record_a_key(stop):
    sink = SlowSink(0.1)
    pump = Pump(Source(*map(tick, range(200)), then=stop), sink, "t")
    await pump.run(stop)
    assert sink.offsets == {0: 2000}
    assert pump.total.stored <= 40
    assert {bytes(row.nav) for row in sink.rows.values()} == {b"199"}


async def test_little_is_written_at_a_measured_pace(stop):
    class Dripping(Source):
        async def getmany(self, **options):
            await asyncio.sleep(0.01)
            return await super().getmany(**options)

    sink = SlowSink()
    source = Dripping(*map(tick, range(30)), then=stop)
    await Pump(source, sink, "t", Pace(gap_s=0.1)).run(stop)
    assert len(sink.batches) <= 6


async def test_much_does_not_wait_for_the_pace(stop):
    source = Source(*map(tick, range(20)), then=stop)
    sink = SlowSink(0.001)
    async with asyncio.timeout(5):
        await Pump(source, sink, "t", Pace(gap_s=60, waiting_bytes=1)).run(stop)
    assert len(sink.batches) > 1


async def test_reading_pauses_while_too_much_waits(stop):
    source = Source(*([snapshot(i, D, (1, 1, 1))] for i in range(50)), then=stop)
    pump = Pump(source, SlowSink(10), "t", Pace(waiting_bytes=1))
    task = asyncio.create_task(pump.run(stop, patience=0))
    await asyncio.sleep(0.1)
    assert len(source.items) > 40
    stop.set()
    await task


@pytest.mark.parametrize("where", ["source", "sink"])
async def test_a_failure_of_either_side_ends_the_pump(stop, where):
    class Failing(SlowSink):
        async def write(self, *_: object) -> Written:
            message = "gone"
            raise SinkUnavailableError(message)

    failure = OSError("gone")
    source = Source(*([failure] if where == "source" else [tick(0)]), then=stop)
    if where == "sink":
        source.then = asyncio.Event()
    sink = SlowSink() if where == "source" else Failing()
    with pytest.raises((OSError, SinkUnavailableError), match="gone"):
        await Pump(source, sink, "t").run(stop)


async def test_a_last_write_that_takes_too_long_is_given_up(stop):
    sink = SlowSink(60)
    pump = Pump(Source(tick(0), then=stop), sink, "t")
    async with asyncio.timeout(5):
        await pump.run(stop, patience=0.1)
    assert sink.offsets == {}


def test_reading_goes_on_where_it_was_left():
    assert position(PLACE, 5, 0, 9) == 5
    assert position(PLACE, 9, 0, 9) == 9


def test_what_was_cut_from_the_start_is_passed_over():
    assert position(PLACE, 0, 4, 9) == 4


def test_a_topic_that_ends_before_was_made_anew():
    with pytest.raises(SinkSetupError, match="TRUNCATE"):
        position(PLACE, 10, 0, 9)


async def test_what_passes_is_tried_again_and_what_does_not_is_raised(stop):
    failures = [SinkUnavailableError("a"), OSError("b"), SinkSetupError("c")]

    async def attempt() -> None:
        raise failures.pop(0)

    with pytest.raises(SinkSetupError, match="c"):
        await keep_trying("t", attempt, stop, Pulse())
    assert failures == []


async def test_a_stop_interrupts_a_pause_and_a_wait(stop):
    async def attempt() -> None:
        message = "away"
        raise SinkUnavailableError(message)

    async with asyncio.timeout(2):
        task = asyncio.create_task(keep_trying("t", attempt, stop, Pulse()))
        await asyncio.sleep(0.5)
        stop.set()
        await task
        assert await unless(stop, asyncio.sleep(60)) is None


async def test_the_pulse_beats_while_both_sides_go_on_and_not_while_a_write_hangs(stop):
    class Counting(Pulse):
        beats = 0

        def beat(self, trouble: str = "") -> None:
            self.beats += 1

    class Hanging(SlowSink):
        async def write(self, *_: object) -> Written:
            await asyncio.Event().wait()
            raise AssertionError

    for sink, goes_on in ((SlowSink(), True), (Hanging(), False)):
        pulse = Counting()
        source = Source(tick(0), then=asyncio.Event())
        pump = Pump(source, sink, "t", Pace(gap_s=0.01), pulse=pulse)
        task = asyncio.create_task(pump.run(stop, patience=0))
        await asyncio.sleep(0.5)
        before = pulse.beats
        assert before > 0
        await asyncio.sleep(0.7)
        assert (pulse.beats > before) == goes_on
        stop.set()
        await task
        stop.clear()


async def test_whoever_always_has_more_to_write_does_not_stand_still(stop):
    class Busy(SlowSink):
        now, idle = 0.0, list[float]()

        async def write(
            self, records: Sequence[ResultRecord], offsets: Mapping[int, int]
        ) -> Written:
            self.now += 20.0
            self.idle.append(pulse.idle_s)
            return await super().write(records, offsets)

    sink = Busy(0.001)
    pulse = Pulse(lambda: sink.now)
    source = Source(*([snapshot(i, D, (1, 1, 1))] for i in range(60)), then=stop)
    async with asyncio.timeout(10):
        await Pump(source, sink, "t", Pace(waiting_bytes=1), pulse=pulse).run(stop)
    assert len(sink.idle) > 10
    assert max(sink.idle) < STALL_S
