"""Compose and the embedded stack are one thing: versions, settings, addresses."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from analytics.factors import SAMPLE_FACTORS
from connectors.settings import Settings
from connectors.stack import compose, settings, versions
from connectors.stack.compose import (
    IMAGES,
    PASSED_ON,
    PORTS,
    render,
    services,
    variable,
)
from connectors.stack.jars import read_lock
from connectors.stack.layout import Layout
from connectors.stack.services import PG_BIN, Broker, Connect, Context

ROOT = Path(__file__).parents[2]
PORTS_OF_A_TEST = {"postgres": 1, "broker": 2, "controller": 3, "connect": 4}


def test_the_file_is_what_the_settings_make_of_it() -> None:
    assert (ROOT / "docker-compose.yml").read_text() == render(), (
        "run: python -m connectors.stack.compose > docker-compose.yml"
    )


def test_images_are_of_the_versions_that_run_embedded() -> None:
    locked = {jar.artifact: jar.version for jar in read_lock()}
    assert IMAGES["broker"].endswith(f":{locked['kafka_2.13']}")
    assert IMAGES["connect"].endswith(f":{locked['debezium-connector-postgres']}")
    assert IMAGES["postgres"].endswith(f":{versions.POSTGRES}")
    assert PG_BIN.parent.name == f"pginstall{versions.POSTGRES}"


def properties(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def embedded(tmp_path: Path) -> Context:
    """An embedded stack whose files are written and that was never started."""
    layout = Layout.at(tmp_path)
    layout.make()
    for name in ("broker", "connect"):
        (tmp_path / name).mkdir()
    data = layout.data("broker")
    data.mkdir()
    (data / "meta.properties").touch()  # formatted already
    return Context(layout, PORTS_OF_A_TEST, {})


WHERE = {
    *("listeners", "advertised.listeners", "listener.security.protocol.map"),
    *("controller.quorum.voters", "log.dirs"),
    *("bootstrap.servers", "plugin.path"),
}
"""What says where things are; all else must be the same."""


def test_the_broker_is_configured_as_the_embedded_one(embedded: Context) -> None:
    Broker(embedded).prepare()
    mine = properties(embedded.layout.config("broker"))
    theirs = services()["broker"]["environment"]
    for name in mine.keys() - WHERE:
        assert theirs[f"KAFKA_{variable(name)}"] == mine[name]
    assert theirs["CLUSTER_ID"] == settings.CLUSTER_ID
    extra = {f"KAFKA_{variable(name)}" for name in mine}
    assert theirs.keys() - extra == {
        *("CLUSTER_ID", "KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS"),
    }


def test_connect_is_configured_as_the_embedded_one(embedded: Context) -> None:
    Connect(embedded).prepare()
    mine = properties(embedded.layout.config("connect"))
    theirs = services()["connect"]["environment"]
    for name in mine.keys() - WHERE:
        key = variable(name)
        assert theirs.get(key, theirs.get(f"CONNECT_{key}")) == mine[name]


def test_what_the_image_would_override_has_the_image_s_own_name() -> None:
    theirs = services()["connect"]["environment"]
    for name in ("GROUP_ID", "KEY_CONVERTER", "OFFSET_FLUSH_INTERVAL_MS"):
        assert name in theirs
        assert f"CONNECT_{name}" not in theirs


def test_postgres_has_the_embedded_one_s_parameters() -> None:
    command = services()["postgres"]["command"]
    assert command[0] == "postgres"
    given = dict(option.split("=", 1) for option in command[2::2])
    assert given == settings.POSTGRES


def test_every_port_is_on_loopback_only() -> None:
    published = [port for one in services().values() for port in one.get("ports", [])]
    assert len(published) == len(PORTS)
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_service_is_checked_and_keeps_its_data() -> None:
    found = services()
    assert {n for n, one in found.items() if "healthcheck" not in one} == {"setup"}
    assert {n for n, one in found.items() if "volumes" in one} == {
        *("postgres", "broker", "app"),
    }


ON_THE_HOST = {
    "DELTAFOLIO_WORKER__FAMILIES": '["risk", "symbols"]',
    "DELTAFOLIO_FACTORS": "sample",
}


def test_the_application_s_environment_is_valid_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in services()["app"]["environment"].items():
        if value is None:  # passed on from the host
            assert name in PASSED_ON
            value = ON_THE_HOST[name]
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value))
    found = Settings()
    assert found.postgres.dsn.get_secret_value() == (
        "postgresql://postgres:deltafolio@postgres:5432/deltafolio"
    )
    assert found.kafka.bootstrap == compose.INSIDE
    assert found.connect.url == "http://connect:8083"
    assert found.home == Path("/state")
    assert found.worker.families == ("risk", "symbols")
    assert found.factors == SAMPLE_FACTORS


def test_the_dockerfile_installs_what_is_locked_and_not_as_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.lock" in text
    assert "--no-deps --no-build-isolation ." in text
    assert re.search(r"^USER deltafolio$", text, re.MULTILINE)
    assert "://" not in text


def test_the_image_is_built_from_every_package_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packed = project["tool"]["setuptools"]["packages"]["find"]["include"]
    sent = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {f"!{name.removesuffix('*')}" for name in packed} <= set(sent)


def test_the_yaml_is_read_back_as_it_was_meant() -> None:
    """Mappings are blocks and all else is JSON: a reader of ten lines will do."""
    body = [line for line in render().splitlines() if not line.startswith("#")]
    assert read(body)["services"] == services()


def read(lines: list[str]) -> dict[str, Any]:
    stack: list[tuple[int, dict[str, Any]]] = [(-1, {})]
    for line in lines:
        indent = len(line) - len(line.lstrip())
        key, _, value = line.strip().partition(":")
        while stack[-1][0] >= indent:
            stack.pop()
        item = json.loads(value) if value else {}
        stack[-1][1][key] = item
        if not value:
            stack.append((indent, item))
    return stack[0][1]
