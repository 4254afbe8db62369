"""The connector's configuration, its registration, its watch; rows that arrive."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from pydantic import SecretStr

from analytics.rows import TABLES
from connectors import capture_watch
from connectors.capture import (
    HEARTBEAT_PREFIX,
    KEY_COLUMNS,
    connector_config,
    notification_topic,
    signal_topic,
    snapshot_signal,
)
from connectors.capture_status import (
    CaptureStatus,
    Connector,
    Slot,
    capture_status,
)
from connectors.capture_watch import (
    Backoff,
    CaptureError,
    Watch,
    cause_of,
    check_source,
    failures,
    read_history,
    register,
    remove,
)
from connectors.connect_client import ConnectClient
from connectors.health import Pulse
from connectors.kafka import started_admin
from connectors.postgres import apply_schema
from connectors.settings import (
    ConnectSettings,
    KafkaSettings,
    PostgresSettings,
    Settings,
    TopicSettings,
)
from connectors.stack import StackInfo
from connectors.topics import ensure_topics
from tests.worlds import world_settings

# --- the configuration: pure --------------------------------------------------------


def config(**groups: Any) -> dict[str, str]:
    return connector_config(Settings(**groups))


def test_every_table_is_captured_and_keyed() -> None:
    assert set(KEY_COLUMNS) == set(TABLES)
    found = config()
    assert set(found["table.include.list"].split(",")) == {
        f"public.{table}" for table in TABLES
    }
    keys = dict(pair.split(":") for pair in found["message.key.columns"].split(";"))
    assert keys["public.positions"] == keys["public.equity_changes"] == "portfolio_id"
    assert keys["public.portfolios"] == "id"


@pytest.mark.parametrize("prefix", ["cdc", "w1.cdc", "a-b_c.d"])
def test_each_topic_has_one_transform_that_unwraps_its_key(prefix: str) -> None:
    settings = Settings(topics=TopicSettings(cdc_prefix=prefix))
    found = connector_config(settings)
    predicates = found["predicates"].split(",")
    assert len(predicates) == len(found["transforms"].split(","))
    for table, column in KEY_COLUMNS.items():
        topic = settings.cdc_topic(table)
        matching = [
            name
            for name in predicates
            if re.fullmatch(found[f"predicates.{name}.pattern"], topic)
        ]
        assert matching == [f"by_{column}"]
        assert found[f"transforms.key_{column}.field"] == column
        assert found[f"transforms.key_{column}.predicate"] == f"by_{column}"
    for other in (settings.transaction_topic, f"x{topic}", topic.replace(".", "_")):
        assert not any(
            re.fullmatch(found[f"predicates.{name}.pattern"], other)
            for name in predicates
        )


def test_a_slot_that_survives_a_failover_is_asked_for_by_a_setting() -> None:
    """Not named otherwise: another configuration would restart the connector."""
    assert "slot.failover" not in config()
    found = config(postgres=PostgresSettings(slot_failover=True))
    assert found["slot.failover"] == "true"


def test_what_would_lose_or_hide_rows_is_set() -> None:
    assert (
        config().items()
        >= {
            "skipped.operations": "none",
            "tombstones.on.delete": "false",
            "decimal.handling.mode": "string",
            "provide.transaction.metadata": "true",
            "publication.autocreate.mode": "disabled",
            "snapshot.mode": "initial",
            "poll.interval.ms": "5",
        }.items()
    )
    assert HEARTBEAT_PREFIX in config()["heartbeat.action.query"]
    # It lets the slot overtake Connect's offset, and the next start is refused.
    assert "lsn.flush.mode" not in config()


def test_the_database_is_the_one_of_the_settings() -> None:
    dsn = "postgresql://admin:secret@db.example:6543/books%201?sslmode=verify-full"
    dsn += "&sslrootcert=/ca.pem"
    found = config(postgres=PostgresSettings(dsn=SecretStr(dsn)))
    assert found["database.hostname"] == "db.example"
    assert found["database.port"] == "6543"
    assert found["database.dbname"] == "books 1"
    assert found["database.sslmode"] == "verify-full"
    assert found["database.sslrootcert"] == "/ca.pem"
    assert found["database.user"] == "deltafolio_capture"
    assert "secret" not in json.dumps(found)


def test_a_secured_kafka_is_logged_in_to() -> None:
    kafka = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="me",
        sasl_password=SecretStr('a"b\\c'),
        ssl_cafile=Path("/ca.pem"),
        ssl_certfile=Path("/me.pem"),
        ssl_key_password=SecretStr("key"),
    )
    found = config(kafka=kafka)
    assert found["signal.consumer.ssl.keystore.location"] == "/me.pem"
    assert found["signal.consumer.ssl.key.password"] == "key"
    assert found["signal.consumer.security.protocol"] == "SASL_SSL"
    assert found["signal.consumer.ssl.truststore.location"] == "/ca.pem"
    jaas = found["signal.consumer.sasl.jaas.config"]
    assert "scram.ScramLoginModule" in jaas
    assert r'password="a\"b\\c";' in jaas


async def test_a_connect_with_a_login_is_logged_in_to() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        login = base64.b64encode(b"me:open-sesame").decode()
        assert request.headers["authorization"] == f"Basic {login}"
        return httpx.Response(200, json=RUNNING)

    connect = ConnectSettings(username="me", password=SecretStr("open-sesame"))
    transport = httpx.MockTransport(answer)
    async with ConnectClient(Settings(connect=connect), transport) as client:
        assert await client.status() == RUNNING


def test_only_captured_tables_can_be_asked_for() -> None:
    with pytest.raises(ValueError, match="not captured: passwords"):
        snapshot_signal(Settings(), "r", {"passwords": None})


# --- the watch, with a Connect that answers as told ---------------------------------

RUNNING = {"connector": {"state": "RUNNING"}, "tasks": [{"id": 0, "state": "RUNNING"}]}
FAILED = {
    "connector": {"state": "RUNNING"},
    "tasks": [
        {
            "id": 0,
            "state": "FAILED",
            "trace": "org.apache.X: outer\n\tat a\nCaused by: java.io.Y: no route\n",
        }
    ],
}


class FakeConnect:
    """Answers of Connect's REST interface, and what was asked of it."""

    def __init__(self) -> None:
        self.config: dict[str, str] | None = None
        self.status: dict[str, Any] = RUNNING
        self.refusals: list[httpx.Response] = []
        self.calls: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/connectors/deltafolio")
        if request.method != "GET":
            self.calls.append(f"{request.method} {path}")
        if self.refusals:
            return self.refusals.pop()
        if request.method == "PUT":
            self.config = json.loads(request.content)
            return httpx.Response(201, json={})
        if request.method == "POST":
            self.status = RUNNING
            return httpx.Response(202, json={})
        if self.config is None:
            return httpx.Response(404, json={"message": "no such connector"})
        return httpx.Response(
            200, json=self.config if path == "/config" else self.status
        )


@pytest.fixture
def fake() -> FakeConnect:
    return FakeConnect()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
async def client(settings: Settings, fake: FakeConnect) -> AsyncIterator[ConnectClient]:
    async with ConnectClient(settings, httpx.MockTransport(fake)) as found:
        yield found


@pytest.fixture
async def watch(settings: Settings, client: ConnectClient) -> Watch:
    await register(settings, client)
    return Watch(settings, client)


async def test_registering_twice_writes_once(
    settings: Settings, client: ConnectClient, fake: FakeConnect
) -> None:
    assert await register(settings, client)
    assert not await register(settings, client)
    assert fake.calls == ["PUT /config"]


async def test_a_changed_setting_is_registered(
    settings: Settings, client: ConnectClient, fake: FakeConnect
) -> None:
    await register(settings, client)
    changed = settings.model_copy(update={"postgres": PostgresSettings(slot="other")})
    assert await register(changed, client)
    assert fake.config is not None
    assert fake.config["slot.name"] == "other"


async def test_a_refused_configuration_says_why(
    settings: Settings, client: ConnectClient, fake: FakeConnect
) -> None:
    why = {"message": "FATAL: password authentication failed"}
    fake.refusals = [httpx.Response(400, json=why)]
    with pytest.raises(CaptureError, match="password authentication failed"):
        await register(settings, client)


async def test_a_rebalancing_connect_is_asked_again(
    settings: Settings,
    client: ConnectClient,
    fake: FakeConnect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capture_watch, "POLL_SECONDS", 0.01)
    busy = {"message": "conflicting operation: rebalance"}
    fake.refusals = [httpx.Response(409, json=busy), httpx.Response(500, json=busy)]
    assert await register(settings, client)


async def test_a_connect_that_starts_and_knows_nothing_is_asked_again(
    settings: Settings,
    client: ConnectClient,
    fake: FakeConnect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It listens before it has read what it runs: everything is not found then."""
    monkeypatch.setattr(capture_watch, "POLL_SECONDS", 0.01)
    fake.refusals = [httpx.Response(404) for _ in range(4)]
    assert await register(settings, client)
    assert fake.calls == ["PUT /config"] * 3


async def test_a_restart_that_finds_nothing_is_tried_again(
    watch: Watch, fake: FakeConnect
) -> None:
    fake.status = FAILED
    fake.refusals = [httpx.Response(404), httpx.Response(200, json=FAILED)]
    await watch.look(1.0)
    assert fake.status == FAILED
    await watch.look(2.0)
    await watch.look(3.0)
    assert fake.status == RUNNING


async def test_a_failed_task_is_restarted_and_told_of(
    settings: Settings, watch: Watch, fake: FakeConnect
) -> None:
    fake.calls.clear()
    fake.status = FAILED
    await watch.look(1000.0)
    assert fake.calls == ["POST /restart"]
    history = read_history(settings)
    assert (history.restarts, history.failed_at) == (1, 1000.0)
    assert history.last_failure == "java.io.Y: no route"


async def test_one_that_keeps_failing_is_restarted_ever_more_slowly(
    watch: Watch, fake: FakeConnect
) -> None:
    restarted = []
    for second in range(200):
        fake.calls.clear()
        fake.status = FAILED
        await watch.look(float(second))
        if fake.calls:
            restarted.append(second)
    gaps = [b - a for a, b in pairwise(restarted)]
    assert gaps[:5] == [2, 3, 5, 9, 17]
    assert max(gaps) <= 61


async def test_a_connector_that_is_gone_is_registered_again(
    watch: Watch, fake: FakeConnect
) -> None:
    fake.config = None
    await watch.look(1.0)
    assert fake.config is not None


async def test_a_look_tries_to_register_once_and_no_longer(
    watch: Watch, fake: FakeConnect
) -> None:
    """Who retries within a look for a minute does not beat, and is ended for it."""
    fake.calls.clear()
    fake.config = None
    fake.refusals = [httpx.Response(n, json={}) for n in (500, 404, 404)]
    await watch.look(1.0)
    assert (fake.calls, watch.trouble) == (["PUT /config"], "Connect does not answer")
    await watch.look(2.0)
    assert (fake.config is not None, watch.trouble) == (True, "")


async def test_capture_stops_while_connect_says_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, stop = asyncio.Event(), asyncio.Event()

    async def silence(_: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def fine(_: Settings) -> None:
        pass

    monkeypatch.setattr(capture_watch, "ensure_topics", fine)
    monkeypatch.setattr(capture_watch, "check_source", fine)
    client = ConnectClient(settings, httpx.MockTransport(silence))
    monkeypatch.setattr(capture_watch, "ConnectClient", lambda _: client)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(capture_watch.keep(settings, Pulse(), stop))
        await asked.wait()
        stop.set()


async def test_a_connect_that_is_away_is_waited_for(
    watch: Watch, fake: FakeConnect
) -> None:
    fake.refusals = [httpx.Response(503, json={})]
    await watch.look(1.0)
    fake.status = FAILED
    await watch.look(2.0)
    assert fake.calls[-1] == "POST /restart"


def test_what_ran_for_a_minute_is_restarted_at_once() -> None:
    backoff = Backoff()
    times = [backoff.failed(float(now)) for now in (0, 1, 10, 200)]
    assert times == [0.0, 2.0, 12.0, 200.0]


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        ("a.B: c\n at d", "a.B: c"),
        ("a.B: c\n at d\nCaused by: e.F: g\nCaused by: h.I: j\n at k", "h.I: j"),
        ("", ""),
    ],
)
def test_a_trace_comes_down_to_a_line(trace: str, cause: str) -> None:
    assert cause_of(trace) == cause


def test_a_failed_connector_without_trace_has_failed() -> None:
    assert failures({"connector": {"state": "FAILED"}, "tasks": []}) == ["no trace"]


def test_a_damaged_history_is_none(settings: Settings) -> None:
    capture_watch.history_path(settings).parent.mkdir()
    capture_watch.history_path(settings).write_text("{")
    assert read_history(settings).restarts == 0


# --- the source ---------------------------------------------------------------------


async def damaged(postgres: PostgresSettings, statement: str = "SELECT 1") -> Settings:
    await apply_schema(postgres)
    connection = await asyncpg.connect(postgres.dsn.get_secret_value())
    await connection.execute(statement)
    await connection.close()
    return Settings(postgres=postgres)


async def test_our_schema_can_be_captured(postgres: PostgresSettings) -> None:
    await check_source(await damaged(postgres))


@pytest.mark.parametrize(
    ("damage", "cure"),
    [
        (
            "ALTER TABLE positions REPLICA IDENTITY DEFAULT",
            'ALTER TABLE "public"."positions" REPLICA IDENTITY FULL',
        ),
        ("DROP PUBLICATION deltafolio", 'CREATE PUBLICATION "deltafolio" FOR TABLE'),
        (
            "ALTER PUBLICATION deltafolio SET (publish = 'insert, update, delete')",
            "SET (publish = 'insert, update, delete, truncate')",
        ),
    ],
)
async def test_what_cannot_be_captured_faithfully_is_refused_with_its_cure(
    postgres: PostgresSettings, damage: str, cure: str
) -> None:
    settings = await damaged(postgres, damage)
    with pytest.raises(CaptureError, match=re.escape(cure)):
        await check_source(settings)


# --- on the stack ---------------------------------------------------------------------

Record = tuple[bytes | None, dict[str, Any]]


class Captured:
    """A running capture, a connection to its source, and what reached Kafka."""

    def __init__(
        self, settings: Settings, source: asyncpg.Connection, consumer: AIOKafkaConsumer
    ) -> None:
        self.settings = settings
        self.source = source
        self._consumer = consumer

    async def records(
        self, done: Callable[[list[Record]], bool], seconds: float = 60.0
    ) -> list[Record]:
        """Collect rows' records until there are enough of them."""
        found: list[Record] = []
        end = time.monotonic() + seconds
        while not done(found):
            assert time.monotonic() < end, f"only {found}"
            for batch in (await self._consumer.getmany(timeout_ms=200)).values():
                found += [(one.key, json.loads(one.value)) for one in batch]
        return found

    async def next(self, count: int = 1) -> list[Record]:
        found = await self.records(lambda so_far: len(so_far) >= count)
        assert len(found) == count
        return found


@asynccontextmanager
async def capturing(info: StackInfo, home: Path) -> AsyncIterator[Captured]:
    """A database and topics of its own, captured for as long as the block lasts."""
    settings = world_settings(info, home)
    async with AsyncExitStack() as exits:
        admin = await asyncpg.connect(info.dsn)
        exits.push_async_callback(admin.close)
        name = settings.postgres.slot
        await admin.execute(f"CREATE DATABASE {name}")
        exits.push_async_callback(admin.execute, f"DROP DATABASE {name} WITH (FORCE)")
        await apply_schema(settings.postgres)
        await ensure_topics(settings)
        source = await asyncpg.connect(settings.postgres.dsn.get_secret_value())
        exits.push_async_callback(source.close)
        consumer = AIOKafkaConsumer(
            *(settings.cdc_topic(table) for table in TABLES),
            bootstrap_servers=info.bootstrap,
            auto_offset_reset="earliest",
        )
        await exits.enter_async_context(consumer)
        exits.push_async_callback(remove, settings)
        async with _running(settings):
            yield Captured(settings, source, consumer)
        await remove(settings)
        slots = await admin.fetch(
            "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", name
        )
        assert slots == [], "a slot that nobody reads keeps WAL for ever"


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(capture_watch.main(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await task


@pytest.fixture
async def captured(stack: StackInfo, tmp_path: Path) -> AsyncIterator[Captured]:
    async with capturing(stack, tmp_path) as found:
        yield found


LOT = (
    "INSERT INTO positions (id, portfolio_id, symbol, position_type, quantity, "
    "entry_price, entry_date) VALUES ({id}, {portfolio}, 'A', 'LONG', 1.5, 2, "
    "'2024-01-02')"
)


@pytest.mark.integration
async def test_rows_arrive_keyed_by_their_portfolio(captured: Captured) -> None:
    await captured.source.execute(LOT.format(id=1, portfolio=42))
    [(key, value)] = await captured.next()
    assert key == b"42"
    assert value["after"]["quantity"] == "1.5000"

    await captured.source.execute("UPDATE positions SET portfolio_id = 7")
    moved = await captured.next(2)
    assert [(key, value["op"]) for key, value in moved] == [(b"42", "d"), (b"7", "c")]

    await captured.source.execute("DELETE FROM positions")
    [(key, value)] = await captured.next()
    assert (key, value["op"], value["after"]) == (b"7", "d", None)

    await captured.source.execute("TRUNCATE positions")
    [(key, value)] = await captured.next()
    assert (key, value["op"]) == (None, "t")


@pytest.mark.integration
async def test_a_failed_task_is_mended_and_no_row_is_lost(captured: Captured) -> None:
    source, settings = captured.source, captured.settings
    await source.execute(LOT.format(id=1, portfolio=1))
    await captured.next()
    # A topic that takes nothing: the task fails, and would stay so by itself.
    await _limit_records(settings, 100)
    await source.execute(LOT.format(id=2, portfolio=1))
    await _until(lambda: read_history(settings).restarts >= 1)
    failure = read_history(settings).last_failure
    assert "RecordTooLargeException" in str(failure)
    await _limit_records(settings, 1_000_000)
    found = await captured.records(lambda rows: len(rows) > 0)
    assert found[0][1]["after"]["id"] == 2
    await _well(settings)


async def _limit_records(settings: Settings, size: int) -> None:
    topic = ConfigResource(
        ConfigResourceType.TOPIC,
        settings.cdc_topic("positions"),
        {"max.message.bytes": str(size)},
    )
    async with started_admin(settings) as admin:
        await admin.alter_configs([topic])


@pytest.mark.integration
async def test_status_tells_of_connector_and_slot(captured: Captured) -> None:
    await captured.source.execute(LOT.format(id=1, portfolio=1))
    await captured.next()
    status = await _well(captured.settings)
    assert isinstance(status.connector, Connector)
    assert status.connector.task == "RUNNING"
    assert isinstance(status.slot, Slot)
    assert status.slot.active
    assert status.slot.lag < 1_000_000


async def _well(settings: Settings, seconds: float = 60.0) -> CaptureStatus:
    """Wait until rows are captured (after a snapshot the slot is not read at once)."""
    end = time.monotonic() + seconds
    while not (status := await capture_status(settings)).is_well:
        assert time.monotonic() < end, status
        await asyncio.sleep(0.1)
    return status


async def test_what_is_away_is_said_by_status(settings: Settings) -> None:
    nowhere = settings.model_copy(
        update={
            "connect": ConnectSettings(url="http://127.0.0.1:9"),
            "postgres": PostgresSettings(
                dsn=SecretStr("postgresql://nobody@127.0.0.1:9/none")
            ),
        }
    )
    status = await capture_status(nowhere)
    assert not status.is_well
    assert "Connect does not answer" in str(status.connector)
    assert "PostgreSQL does not answer" in str(status.slot)


@pytest.mark.integration
async def test_the_slot_moves_on_while_only_other_tables_change(
    captured: Captured,
) -> None:
    source, settings = captured.source, captured.settings
    await source.execute(LOT.format(id=1, portfolio=1))
    await captured.next()
    await source.execute("CREATE TABLE other AS SELECT generate_series(1, 50000) AS n")
    lsn = await source.fetchval("SELECT pg_current_wal_lsn()::text")

    async def confirmed() -> bool:
        return bool(
            await source.fetchval(
                "SELECT confirmed_flush_lsn >= $1::text::pg_lsn "
                "FROM pg_replication_slots WHERE slot_name = $2",
                lsn,
                settings.postgres.slot,
            )
        )

    end = time.monotonic() + 30
    while not await confirmed():
        assert time.monotonic() < end, "WAL is held back"
        await asyncio.sleep(0.2)


@pytest.mark.integration
async def test_a_snapshot_that_is_asked_for_has_every_row(captured: Captured) -> None:
    source, settings = captured.source, captured.settings
    for number in range(5):
        await source.execute(LOT.format(id=number, portfolio=1))
    await captured.next(5)
    options = {"bootstrap_servers": settings.kafka.bootstrap}
    async with AIOKafkaProducer(**options) as producer:
        key, value = snapshot_signal(settings, "repair", {"positions": "id < 4"})
        await producer.send_and_wait(signal_topic(settings), value, key)
    found = await captured.next(4)
    assert sorted(value["after"]["id"] for _, value in found) == [0, 1, 2, 3]
    assert {value["op"] for _, value in found} == {"r"}
    consumer = AIOKafkaConsumer(
        notification_topic(settings), auto_offset_reset="earliest", **options
    )
    async with consumer:
        while json.loads((await consumer.getone()).value)["type"] != "COMPLETED":
            pass


@pytest.mark.integration
async def test_a_registration_again_restarts_nothing(captured: Captured) -> None:
    await captured.source.execute(LOT.format(id=1, portfolio=1))
    await captured.next()
    async with ConnectClient(captured.settings) as client:
        assert not await register(captured.settings, client)


async def _until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
