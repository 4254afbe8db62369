"""Disturbances: what is done to the system while its users go on.

Each ends when its harm is over: a process that was killed and must come back by
itself, a server that was started again, a sleeper that was woken. From then on the time
to fresh results counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import get_args

import httpx

from analytics.rows import TABLES
from connectors.capture import signal_topic, snapshot_signal
from connectors.connect_client import ConnectClient
from connectors.kafka import read_to_end, started_producer
from connectors.postgres import quote
from connectors.stack.process import read_identity, stop
from connectors.stack.stack import ServiceName
from tests.faults.matrix.disk import full_disk
from tests.faults.matrix.network import FINE, Weather
from tests.faults.matrix.process import set_clock
from tests.faults.matrix.rig import WORKERS, Rig

Disturbance = Callable[[Rig, Random], Awaitable[None]]

PROCESSES = ("worker", "intake", "sink", "capture")
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)
LONG_SLEEP_S = 30.0
REPEATED = 200
END_STREAM = (
    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
    "WHERE slot_name = $1 AND active_pid IS NOT NULL"
)
LONG_ONES = 0.1
"""Share of the sleeps that last as long as that; the others are shorter."""


def _victim(process: str, chance: Random) -> str:
    if process == "worker":
        return f"worker-{chance.randrange(WORKERS) + 1}"
    return process


async def kill(process: str, rig: Rig, chance: Random) -> None:
    """SIGKILL; the supervisor starts another."""
    rig.supervisor.kill(_victim(process, chance))


async def terminate(process: str, rig: Rig, chance: Random) -> None:
    """SIGTERM: it ends in good order; the supervisor starts another."""
    rig.supervisor.kill(_victim(process, chance), signal.SIGTERM)


def _nap(chance: Random) -> float:
    return LONG_SLEEP_S if chance.random() < LONG_ONES else chance.uniform(1, 9)


async def sleep(process: str, rig: Rig, chance: Random) -> None:
    """SIGSTOP, and SIGCONT later: often after its session has run out."""
    name = _victim(process, chance)
    pid = rig.supervisor.pid(name)
    rig.supervisor.kill(name, signal.SIGSTOP)
    await asyncio.sleep(_nap(chance))
    if pid == rig.supervisor.pid(name):
        rig.supervisor.kill(name, signal.SIGCONT)


# --- servers ---


async def _start(rig: Rig, service: ServiceName, chance: Random) -> None:
    await asyncio.sleep(chance.uniform(0, 3))
    await asyncio.to_thread(rig.stack.start_service, service)


async def kill_service(service: ServiceName, rig: Rig, chance: Random) -> None:
    """SIGKILL of a server, and its start a moment later."""
    await asyncio.to_thread(rig.stack.kill, service)
    await _start(rig, service, chance)


async def restart_service(service: ServiceName, rig: Rig, chance: Random) -> None:
    """SIGTERM of a server (PostgreSQL: a fast shutdown), and its start."""
    await asyncio.to_thread(rig.stack.stop_service, service)
    await _start(rig, service, chance)


async def shut_down_at_once(rig: Rig, chance: Random) -> None:
    """PostgreSQL's immediate shutdown: it recovers from its log at the next start."""
    identity = read_identity(rig.stack.layout.pid("postgres"))
    assert identity is not None
    await asyncio.to_thread(stop, identity, signal.SIGQUIT, 15.0)
    await _start(rig, "postgres", chance)


async def sleep_service(service: ServiceName, rig: Rig, chance: Random) -> None:
    """SIGSTOP of a server, and SIGCONT."""
    identity = read_identity(rig.stack.layout.pid(service))
    assert identity is not None
    os.kill(identity.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(_nap(chance))
    finally:
        os.kill(identity.pid, signal.SIGCONT)


# --- scale ---


async def rescale(rig: Rig, chance: Random) -> None:
    """One worker, then three, then one, then as many as before."""
    supervisor = rig.supervisor
    for count in (1, 3, 1, WORKERS):
        for number in range(1, 4):
            name, wanted = f"worker-{number}", number <= count
            if wanted and name not in supervisor.names():
                supervisor.add(name)
            if not wanted and name in supervisor.names():
                await asyncio.to_thread(supervisor.remove, name)
        await asyncio.sleep(chance.uniform(0.5, 5))


async def roll(rig: Rig, chance: Random) -> None:
    """Every process is stopped in good order and started, one after the other."""
    names = rig.supervisor.names()
    chance.shuffle(names)
    for name in names:
        await asyncio.to_thread(rig.supervisor.remove, name)
        rig.supervisor.add(name)
        await asyncio.sleep(chance.uniform(0, 2))


# --- the network ---


async def weather(
    side: str, bad: Callable[[Random], Weather], rig: Rig, chance: Random
) -> None:
    """Bad weather before Kafka or PostgreSQL, for some seconds."""
    proxy = getattr(rig.network, side)
    proxy.weather = bad(chance)
    try:
        await asyncio.sleep(chance.uniform(0.5, 6))
    finally:
        proxy.weather = FINE


def cut(chance: Random) -> Weather:
    """Connections end in the middle of a message."""
    return Weather(cut=chance.choice((0.02, 0.2, 1.0)))


def delay(chance: Random) -> Weather:
    """Each piece comes late."""
    return Weather(delay=chance.uniform(0.01, 0.5))


def throttle(chance: Random) -> Weather:
    """A thin line."""
    return Weather(rate=chance.choice((20_000, 200_000)))


def silence(chance: Random) -> Weather:
    """Nothing comes, and nobody says why."""
    return Weather(silent=True)


# --- the machine ---


async def fill_disk(rig: Rig, chance: Random) -> None:
    """The state directory is full, and a process must start in it."""
    with full_disk(rig.world.settings.home, rig.supervisor):
        await asyncio.sleep(chance.uniform(0, 1))
        rig.supervisor.kill(_victim(chance.choice(PROCESSES), chance))
        await asyncio.sleep(chance.uniform(0.5, 5))


async def jump(rig: Rig, chance: Random) -> None:
    """The clock of all processes jumps, and later it is right again."""
    seconds = chance.choice((10.0, 600.0, 7200.0, 86400.0)) * chance.choice((1, -1))
    set_clock(rig.clock, seconds)
    try:
        await asyncio.sleep(chance.uniform(0.5, 6))
    finally:
        set_clock(rig.clock, 0)


# --- capture ---


async def end_stream(rig: Rig, chance: Random) -> None:
    """PostgreSQL ends the connection that the changes come by."""
    await rig.db.execute(END_STREAM, rig.direct.postgres.slot)


async def fail_task(rig: Rig, chance: Random) -> None:
    """The connector cannot log in any more: its task fails, is restarted, fails."""
    role = quote(rig.direct.postgres.capture_user)
    await rig.db.execute(f"ALTER ROLE {role} NOLOGIN")
    try:
        await rig.db.execute(END_STREAM, rig.direct.postgres.slot)
        async with ConnectClient(rig.direct) as client:
            with contextlib.suppress(httpx.HTTPError):
                await client._call("POST", "/tasks/0/restart")
        await asyncio.sleep(chance.uniform(1, 6))
    finally:
        await rig.db.execute(f"ALTER ROLE {role} LOGIN")


async def remove_connector(rig: Rig, chance: Random) -> None:
    """Somebody deletes the connector; the watch registers it again."""
    async with ConnectClient(rig.direct) as client:
        await client.delete()


async def repeat_records(rig: Rig, chance: Random) -> None:
    """CDC records come a second time, in another order, after what came since."""
    topics = [rig.direct.cdc_topic(table) for table in TABLES]
    found: list[tuple[str, bytes, bytes]] = []
    for topic in topics:
        records = [r async for some in read_to_end(rig.direct, topic) for r in some]
        tail = records[-REPEATED:]
        found += [(topic, r.key, r.value) for r in tail if r.value is not None]
    chance.shuffle(found)
    async with started_producer(rig.direct) as producer:
        for topic, key, value in found:
            await producer.send(topic, value, key=key, partition=0)


async def snapshot_again(rig: Rig, chance: Random) -> None:
    """Tables are read anew while changes go on."""
    tables = chance.sample(sorted(TABLES), chance.randrange(1, len(TABLES) + 1))
    name = f"matrix {chance.random()}"
    key, value = snapshot_signal(rig.direct, name, dict.fromkeys(tables))
    async with started_producer(rig.direct) as producer:
        await producer.send_and_wait(signal_topic(rig.direct), value, key=key)
    await asyncio.sleep(chance.uniform(0, 3))


async def change_schema(rig: Rig, chance: Random) -> None:
    """Columns come, get wider, and go, of tables that are changing."""
    for statement in SCHEMA_CHANGES:
        await rig.db.execute(statement)
        await asyncio.sleep(chance.uniform(0, 1))


SCHEMA_CHANGES = (
    "ALTER TABLE positions ADD COLUMN IF NOT EXISTS note text DEFAULT 'new'",
    "ALTER TABLE market_data_cache ADD COLUMN IF NOT EXISTS bid numeric(20, 6)",
    "ALTER TABLE equity_changes ALTER COLUMN amount TYPE numeric(24, 6)",
    "ALTER TABLE market_data_cache ALTER COLUMN volume TYPE numeric(30, 0)",
    "UPDATE positions SET note = 'newer' WHERE id % 3 = 0",
    "ALTER TABLE market_data_cache DROP COLUMN IF EXISTS bid",
    "ALTER TABLE positions DROP COLUMN IF EXISTS note",
    "ALTER TABLE equity_changes ALTER COLUMN amount TYPE numeric(20, 4)",
    "ALTER TABLE market_data_cache ALTER COLUMN volume TYPE bigint",
)


async def nothing(rig: Rig, chance: Random) -> None:
    """No harm: what a run costs by itself."""
    await asyncio.sleep(chance.uniform(0, 1))


def _named() -> dict[str, Disturbance]:
    found: dict[str, Disturbance] = {"nothing": nothing}
    for process in PROCESSES:
        found[f"SIGKILL {process}"] = partial(kill, process)
        found[f"SIGTERM {process}"] = partial(terminate, process)
        found[f"SIGSTOP {process}"] = partial(sleep, process)
    for service in SERVICES:
        found[f"SIGKILL {service}"] = partial(kill_service, service)
        found[f"restart {service}"] = partial(restart_service, service)
        found[f"SIGSTOP {service}"] = partial(sleep_service, service)
    found["immediate shutdown postgres"] = shut_down_at_once
    found["1→3→1 workers"] = rescale
    found["rolling restart"] = roll
    for side in ("kafka", "postgres"):
        for bad in (cut, delay, throttle, silence):
            found[f"{bad.__name__} {side}"] = partial(weather, side, bad)
    found["full disk"] = fill_disk
    found["clock jumps"] = jump
    found["stream ended"] = end_stream
    found["task fails"] = fail_task
    found["connector removed"] = remove_connector
    found["records repeated"] = repeat_records
    found["snapshot again"] = snapshot_again
    found["schema changes"] = change_schema
    return found


DISTURBANCES = _named()
