"""The three services of the stack, by name."""

from connectors.stack.kafka import Broker, Connect, render_properties
from connectors.stack.postgresql import PG_BIN, Postgres, drop_dead_lock
from connectors.stack.service import Context, Service

KINDS: dict[str, type[Service]] = {
    "postgres": Postgres,
    "broker": Broker,
    "connect": Connect,
}
"""In the order of starting; stopping goes the other way."""

__all__ = [
    "KINDS",
    "PG_BIN",
    "Broker",
    "Connect",
    "Context",
    "Postgres",
    "Service",
    "drop_dead_lock",
    "render_properties",
]
