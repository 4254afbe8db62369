"""`docker-compose.yml`, written from the settings of the embedded stack.

``python -m connectors.stack.compose`` writes it anew; a test holds the file in the
repository equal to what this module makes of the settings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from connectors.stack import settings
from connectors.stack.versions import DEBEZIUM, KAFKA, POSTGRES

IMAGES = {
    "postgres": f"postgres:{POSTGRES}",
    "broker": f"apache/kafka:{KAFKA}",
    "connect": f"quay.io/debezium/connect:{DEBEZIUM}",
}
"""Official images, of the versions that the embedded stack runs."""

PORTS = {"postgres": 5432, "broker": 9092, "connect": 8083}
"""Ports on the host's loopback."""

INSIDE = "broker:19092"
"""The broker as the other containers reach it."""

PASSED_ON = ("DELTAFOLIO_WORKER__FAMILIES", "DELTAFOLIO_FACTORS")
"""What is derived, and against what: as the environment of `docker compose` says, else
the default. A variable without a value is passed on."""

_UNPREFIXED = (
    *("GROUP_ID", "CONFIG_STORAGE_TOPIC", "OFFSET_STORAGE_TOPIC"),
    *("STATUS_STORAGE_TOPIC", "KEY_CONVERTER", "VALUE_CONVERTER"),
    "OFFSET_FLUSH_INTERVAL_MS",
)
"""What Debezium's image takes by these names, and would set over ours otherwise."""

_PASSWORD = "${DELTAFOLIO_PASSWORD:-deltafolio}"  # noqa: S105 - a variable's name
_CAPTURE_PASSWORD = "${DELTAFOLIO_CAPTURE_PASSWORD:-capture}"  # noqa: S105


def postgres_command(**options: str) -> list[str]:
    """Command of the PostgreSQL image: our server parameters, and more."""
    command = ["postgres"]
    for name, value in {**settings.POSTGRES, **options}.items():
        command += ["-c", f"{name}={value}"]
    return command


def broker_environment(properties: dict[str, str]) -> dict[str, str]:
    """Environment of the Kafka image: our properties, and where it listens.

    >>> broker_environment({"log.dirs": "/data"})["KAFKA_LOG_DIRS"]
    '/data'
    """
    found = {
        "CLUSTER_ID": settings.CLUSTER_ID,
        "KAFKA_HEAP_OPTS": f"-Xmx{settings.HEAP['broker']}",
        "KAFKA_JVM_PERFORMANCE_OPTS": " ".join(settings.JVM),
    }
    for name, value in {**settings.BROKER, **properties}.items():
        found[f"KAFKA_{variable(name)}"] = value
    return found


def connect_environment(bootstrap: str, **properties: str) -> dict[str, str]:
    """Environment of Debezium's Connect image: our properties, and the broker.

    >>> connect_environment("b:1")["CONNECT_EXACTLY_ONCE_SOURCE_SUPPORT"]
    'disabled'
    """
    found = {
        "BOOTSTRAP_SERVERS": bootstrap,
        "HEAP_OPTS": f"-Xmx{settings.HEAP['connect']}",
        "KAFKA_JVM_PERFORMANCE_OPTS": " ".join(settings.JVM),
    }
    for name, value in {**settings.CONNECT, **properties}.items():
        key = variable(name)
        found[key if key in _UNPREFIXED else f"CONNECT_{key}"] = value
    return found


def variable(name: str) -> str:
    """Name of a property in an image's environment.

    >>> variable("group.id")
    'GROUP_ID'
    """
    return name.upper().replace(".", "_")


def services() -> dict[str, Any]:
    """Services of the file, by name."""
    return {
        "postgres": _postgres(),
        "broker": _broker(),
        "connect": _connect(),
        "setup": _application(["setup"], _healthy("postgres", "broker")),
        "app": {
            **_application(
                ["run", "all", "--workers", "2"],
                {
                    "setup": {"condition": "service_completed_successfully"},
                    **_healthy("connect"),
                },
            ),
            "restart": "unless-stopped",
            "volumes": ["state:/state"],
            "healthcheck": _check(["CMD", "deltafolio", "status"], 60, "30s"),
        },
    }


def _postgres() -> dict[str, Any]:
    probe = f"pg_isready -q -U {settings.SUPERUSER} -d {settings.DATABASE}"
    return {
        "image": IMAGES["postgres"],
        "command": postgres_command(),
        "environment": {
            "POSTGRES_USER": settings.SUPERUSER,
            "POSTGRES_DB": settings.DATABASE,
            "POSTGRES_PASSWORD": _PASSWORD,
        },
        "ports": [_on_loopback("postgres", 5432)],
        "volumes": ["postgres:/var/lib/postgresql"],
        "healthcheck": _check(["CMD-SHELL", probe], 30),
    }


def _broker() -> dict[str, Any]:
    protocols = settings.BROKER["listener.security.protocol.map"]
    environment = broker_environment(
        {
            "listeners": f"PLAINTEXT://:{INSIDE.rpartition(':')[2]},"
            "CONTROLLER://:9093,HOST://:9092",
            "advertised.listeners": f"PLAINTEXT://{INSIDE},"
            f"HOST://127.0.0.1:{PORTS['broker']}",
            "listener.security.protocol.map": f"{protocols},HOST:PLAINTEXT",
            "controller.quorum.voters": "1@broker:9093",
            "log.dirs": "/var/lib/kafka/data",
        }
    )
    tool = "/opt/kafka/bin/kafka-broker-api-versions.sh"
    probe = ["CMD", tool, "--bootstrap-server", INSIDE]
    return {
        "image": IMAGES["broker"],
        "hostname": "broker",
        "environment": environment,
        "ports": [_on_loopback("broker", 9092)],
        "volumes": ["broker:/var/lib/kafka/data"],
        "healthcheck": _check(probe, 30),
    }


def _connect() -> dict[str, Any]:
    probe = ["CMD", "curl", "-fsS", "http://localhost:8083/health"]
    return {
        "image": IMAGES["connect"],
        "depends_on": _healthy("broker"),
        "environment": connect_environment(INSIDE),
        "ports": [_on_loopback("connect", 8083)],
        "healthcheck": _check(probe, 60),
    }


def _application(command: list[str], needs: dict[str, Any]) -> dict[str, Any]:
    user = f"{settings.SUPERUSER}:{_PASSWORD}"
    return {
        "build": ".",
        "image": "deltafolio",
        "command": command,
        "depends_on": needs,
        "environment": {
            "DELTAFOLIO_HOME": "/state",
            "DELTAFOLIO_POSTGRES__DSN": (
                f"postgresql://{user}@postgres:5432/{settings.DATABASE}"
            ),
            "DELTAFOLIO_POSTGRES__CAPTURE_PASSWORD": _CAPTURE_PASSWORD,
            "DELTAFOLIO_KAFKA__BOOTSTRAP": INSIDE,
            "DELTAFOLIO_CONNECT__URL": "http://connect:8083",
            **dict.fromkeys(PASSED_ON),
        },
    }


def _on_loopback(service: str, port: int) -> str:
    return f"127.0.0.1:{PORTS[service]}:{port}"


def _healthy(*names: str) -> dict[str, Any]:
    return {name: {"condition": "service_healthy"} for name in names}


def _check(test: list[str], start_seconds: int, interval: str = "5s") -> dict[str, Any]:
    return {
        "test": test,
        "interval": interval,
        "timeout": "10s",
        "retries": 12,
        "start_period": f"{start_seconds}s",
        "start_interval": "1s",
    }


def render() -> str:
    """Write the whole file."""
    head = (
        "# Written by `python -m connectors.stack.compose` from the settings of the\n"
        "# embedded stack (connectors/stack/settings.py, versions.py); do not edit.\n"
    )
    volumes: dict[str, Any] = {"postgres": {}, "broker": {}, "state": {}}
    body = {"name": "deltafolio", "services": services(), "volumes": volumes}
    return head + "\n".join(_yaml(body, "")) + "\n"


def _yaml(value: dict[str, Any], indent: str) -> Iterator[str]:
    """Write mappings as blocks, all else as JSON (which YAML includes)."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield f"{indent}{key}:"
            yield from _yaml(item, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(item)}"


if __name__ == "__main__":
    sys.stdout.write(render())
