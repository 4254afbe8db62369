"""The matrix's own tools do what they say: a harm that does none would find nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.matrix.checks import CHECKS
from tests.faults.matrix.disk import full_disk, small_disk
from tests.faults.matrix.disturbances import DISTURBANCES
from tests.faults.matrix.network import Proxy, Weather
from tests.faults.matrix.process import set_clock
from tests.faults.matrix.rig import Verdict
from tests.faults.matrix.run import Draw, Outcome
from tests.faults.matrix.table import table

ROOT = Path(__file__).resolve().parents[2]
MESSAGE = bytes(range(200))
SHOWN = """
import sys, time
sys.path[0] = sys.argv[2]
from pathlib import Path
from tests.faults.matrix.process import shift_clock
right = time.time()
shift_clock(Path(sys.argv[1]))
print(round(time.time() - right), round(time.time_ns() / 1e9 - right))
"""


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """Port of a server that says what it hears."""

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await asyncio.sleep(0.01)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    made = Proxy()
    made.target = echo
    yield made
    made.close()


async def heard(proxy: Proxy, seconds: float) -> bytes:
    """Say the message; what comes back within some seconds, or until a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    found = b""
    try:
        writer.write(MESSAGE)
        async with asyncio.timeout(seconds):
            while len(found) < len(MESSAGE) and (more := await reader.read(1000)):
                found += more
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
        await asyncio.sleep(0.01)
    return found


async def test_in_fine_weather_everything_passes(proxy: Proxy) -> None:
    assert await heard(proxy, 5) == MESSAGE


async def test_a_cut_lets_a_part_of_a_message_through(proxy: Proxy) -> None:
    proxy.weather = Weather(cut=1.0)
    parts = [await heard(proxy, 5) for _ in range(10)]
    assert all(MESSAGE.startswith(part) and part != MESSAGE for part in parts)
    assert proxy.cuts >= 10


async def test_silence_says_nothing_and_ends(proxy: Proxy) -> None:
    proxy.weather = Weather(silent=True)
    assert await heard(proxy, 0.3) == b""
    proxy.weather = Weather()
    assert await heard(proxy, 5) == MESSAGE


@pytest.mark.parametrize("bad", [Weather(delay=0.2), Weather(rate=1000)])
async def test_a_slow_line_is_slow(proxy: Proxy, bad: Weather) -> None:
    proxy.weather = bad
    began = time.monotonic()
    assert await heard(proxy, 5) == MESSAGE
    assert time.monotonic() - began >= 0.4  # 200 bytes there and back


@pytest.mark.parametrize("seconds", [0, 7200, -86400])
def test_a_process_believes_its_clock(tmp_path: Path, seconds: int) -> None:
    set_clock(tmp_path / "clock", seconds)
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", SHOWN, str(tmp_path / "clock"), str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(seconds)] * 2


def test_a_full_disk_takes_nothing_and_then_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with small_disk(home):
        if not home.is_mount():
            pytest.skip("no right to mount a file system")
        with full_disk(home, None), pytest.raises(OSError, match="space"):
            (home / "file").write_bytes(bytes(100_000))
        (home / "file").write_bytes(bytes(100_000))


def test_a_seed_is_always_the_same_draw_and_all_are_drawn() -> None:
    draws = [Draw.of(seed) for seed in range(2000)]
    assert draws == [Draw.of(seed) for seed in range(2000)]
    assert {draw.check for draw in draws} == set(CHECKS)
    assert {draw.disturbance for draw in draws} == set(DISTURBANCES)


def test_only_narrows_what_is_drawn() -> None:
    draws = [Draw.of(seed, "SIGKILL worker/tick") for seed in range(20)]
    assert {(d.disturbance, d.check) for d in draws} == {("SIGKILL worker", "tick")}
    assert {Draw.of(seed, "/flow").check for seed in range(20)} == {"flow"}


def test_the_table_sums_up() -> None:
    outcomes = [
        Outcome(Draw(1, "tick", "nothing"), Verdict(cells=5, wrong=1), 2.0, 9.0, []),
        Outcome(Draw(2, "flow", "nothing"), Verdict(cells=6, lost=2), 4.0, 9.0, ["x"]),
    ]
    line = "| 2 | 11 | 1 | 2 | 0 | 0 | 1 | 3.0 | 4.0 |"
    assert table(outcomes).splitlines()[2:] == [
        f"| nothing | flow, tick {line}",
        f"| all | 2 {line}",
    ]


@pytest.mark.parametrize(
    ("disturbance", "failures", "good"),
    [
        ("restart broker", [], True),
        ("restart broker", ["worker-1 ended (exit code 1)"], False),
        ("full disk", ["worker-1 ended (exit code 1)"], True),
    ],
)
def test_nobody_may_give_up_because_a_broker_is_away(
    disturbance: str, failures: list[str], good: bool
) -> None:
    draw = Draw(1, "tick", disturbance)
    assert Outcome(draw, Verdict(), 1.0, 1.0, failures).good == good
