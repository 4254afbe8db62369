"""The Faust application: one agent, one table, and whom they tell.

Faust does what it is good at here: the group, the assignment, recovery of the
table, delivery in order. Everything that decides what is right (which record is
next, what may be published, what is acknowledged) is the handler's business.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import faust
from faust.tables import TableManager
from faust.types import TP
from mode.supervisors import CrashingSupervisor

from connectors.kafka_security import reveal, tls_context
from connectors.settings import KafkaSettings, Settings
from streams import faust_patch

TABLE = "state"
REQUEST_TIMEOUT_S = 30.0
REBALANCE_TIMEOUT_S = 30.0
BUFFERED_EVENTS = 256
"""Records of the journal are fat (a thousand rows): a few are enough."""


class FaustCrashError(RuntimeError):
    """Faust cannot go on, a commit was refused for one: start again."""


class Handler(Protocol):
    """Who is told what Faust sees. All of it happens in one event loop."""

    async def on_event(self, event: Any) -> None:
        """Take one record of the portfolios' journal; nobody acknowledged it."""

    async def on_revoked(self) -> None:
        """Give all partitions back (the protocol is eager)."""

    async def on_assigned(self, partitions: frozenset[int]) -> None:
        """Own these partitions from now on; the table is not replayed yet."""

    async def on_recovered(self) -> None:
        """Look at the table: it was replayed (this may come early, with half of it)."""


def changelog_topic(settings: Settings) -> str:
    """Topic of the table: as many partitions as the journal, compacted."""
    return f"{settings.worker.app_id}-{TABLE}-changelog"


class Tables(TableManager):
    """Faust's tables, at once: it sleeps a second until all have surely been defined.

    Ours is defined before it starts.
    """

    async def sleep(self, n: Any) -> None:
        """Let others run, no more."""
        await asyncio.sleep(0)


class FaustApp:
    """A Faust application of the pinned version, and what we ask of it.

    Attributes
    ----------
    app
        The application; the caller wires and starts it.
    """

    def __init__(self, settings: Settings) -> None:
        faust_patch.install()
        self._ending = False
        topics = settings.topics
        # Faust's interfaces do not declare all that its classes have.
        self.app: Any = faust.App(**_configuration(settings))
        self._journal = self.app.topic(
            topics.portfolios,
            key_serializer="raw",
            value_serializer="raw",
            partitions=topics.partitions,
        )
        self._table: Any = self.app.Table(
            TABLE, key_type=bytes, value_type=bytes, partitions=topics.partitions
        )

    @property
    def items(self) -> dict[bytes, bytes]:
        """The table as recovery left it; the worker writes the changelog itself."""
        data: dict[bytes, bytes] = self._table.data.data
        return data

    @property
    def generation(self) -> int:
        """Number of the group's current generation."""
        return int(self.app.consumer_generation_id)

    @property
    def flowing(self) -> bool:
        """Whether Faust delivers, that is: not rebalancing, not stopping."""
        return bool(self.app.consumer.flow_active) and not self.app.should_stop

    def confirmed_at(self) -> float:
        """When the group last confirmed that this process is a member."""
        return faust_patch.confirmed_at(self.app.consumer)

    def highwater(self, partition: int) -> int:
        """End of a partition of the journal as of the last fetch."""
        place = TP(self._journal.get_topic_name(), partition)
        return int(self.app.consumer.highwater(place) or 0)

    async def commit(self) -> None:
        """Store what is acknowledged as the group's offsets."""
        await self.app.consumer.commit()

    def raise_crash(self) -> None:
        """Raise what Faust has crashed of: it stops by itself and tells nobody.

        Raises
        ------
        FaustCrashError
            If it has, unless it is being ended.
        """
        if self.app.crashed and not self._ending:
            reason = self.app.crash_reason
            message = f"Faust crashed: {reason!r}"
            raise FaustCrashError(message) from reason

    def ending(self) -> None:
        """Take no crash for a failure from here on."""
        self._ending = True

    async def stop(self, seconds: float) -> None:
        """End Faust and leave the group, within a time."""
        self.ending()
        if self.app.started:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.app.stop(), seconds)

    def recover_again(self) -> None:
        """Replay the table again, from the last record that arrived."""
        self.app.tables.recovery.signal_recovery_start.set()

    def wire(self, handler: Handler, fail: Callable[[BaseException], None]) -> None:
        """Connect Faust's signals to a handler.

        Parameters
        ----------
        handler
            Who is told.
        fail
            Told of an exception of the handler. Faust logs some of them and goes
            on, and acknowledges the event of others.
        """
        journal = self._journal.get_topic_name()

        async def told(work: Awaitable[None]) -> None:
            try:
                await work
            except Exception as error:
                fail(error)
                raise

        async def on_revoked(_: Any, revoked: set[TP], **__: Any) -> None:
            await told(handler.on_revoked())

        async def on_assigned(_: Any, assigned: set[TP], **__: Any) -> None:
            ours = frozenset(tp.partition for tp in assigned if tp.topic == journal)
            await told(handler.on_assigned(ours))

        async def on_recovered() -> None:
            await told(handler.on_recovered())

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                await told(handler.on_event(event))

        # Signals hold weak references only.
        self._kept = (on_revoked, on_assigned)
        self.app.on_partitions_revoked.connect(on_revoked)
        self.app.on_partitions_assigned.connect(on_assigned)
        self._table.on_recover(on_recovered)
        self.app.agent(
            self._journal, name="portfolios", supervisor_strategy=CrashingSupervisor
        )(agent)


def _configuration(settings: Settings) -> dict[str, Any]:
    session = settings.worker.session_timeout_s
    process = f"{os.getpid()}-{uuid4().hex[:8]}"
    return {
        "id": settings.worker.app_id,
        "broker": _broker(settings.kafka.bootstrap),
        "broker_credentials": _credentials(settings.kafka),
        "autodiscover": False,
        "store": "memory://",
        "datadir": data_directory(settings.home),
        # Two workers with one URL are one to the assignor, also with the web off.
        "canonical_url": f"http://{socket.gethostname()}-{process}:1",
        "TableManager": Tables,
        "web_enabled": False,
        "web_tables_enabled": False,
        # Topics are made and checked by `connectors.topics`, all with N partitions.
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "topic_partitions": settings.topics.partitions,
        "topic_replication_factor": settings.kafka.replication,
        "table_standby_replicas": 0,
        "consumer_auto_offset_reset": "earliest",
        "stream_buffer_maxsize": BUFFERED_EVENTS,
        # Events wait for a checkpoint: nobody should wait for events at a revoke.
        "stream_wait_empty": False,
        "broker_session_timeout": session,
        "broker_heartbeat_interval": session / 4,
        "broker_rebalance_timeout": max(REBALANCE_TIMEOUT_S, session),
        "broker_request_timeout": max(REQUEST_TIMEOUT_S, session),
        # The default waits 20 minutes for a dead broker.
        "producer_request_timeout": REQUEST_TIMEOUT_S,
        "broker_commit_interval": 1.0,
    }


def data_directory(home: Path) -> Path:
    """Directory of this process's Faust; nothing of worth is ever in it."""
    return home / "run" / f"faust-{os.getpid()}"


def _broker(bootstrap: str) -> str:
    return ";".join(f"kafka://{server.strip()}" for server in bootstrap.split(","))


def _credentials(kafka: KafkaSettings) -> Any:
    """Faust's own form of what ``connectors.kafka`` gives to plain clients."""
    context = tls_context(kafka) if kafka.encrypts else None
    if kafka.logs_in:
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=reveal(kafka.sasl_password),
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None
