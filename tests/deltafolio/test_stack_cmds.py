"""`up`, `setup` and `status` on a running stack, and what `status` says of trouble."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connectors.capture_status import CaptureStatus, Connector, Slot
from connectors.capture_watch import History
from connectors.settings import Settings
from connectors.stack import ServiceStatus, StackInfo
from deltafolio.cli import app
from deltafolio.status import Status, capture_lines, lines_of
from deltafolio.supervisor import AppStatus

WELL = CaptureStatus(
    Connector("RUNNING", "RUNNING"), Slot(True, "reserved", 152, 4_100_000), History()
)


def service(name: str, *, healthy: bool) -> ServiceStatus:
    return ServiceStatus(name, healthy, healthy, 7 if healthy else None, 1, Path("log"))


def test_all_is_well_only_if_every_part_is() -> None:
    process = AppStatus("intake", 8, 1.0, Path("log"))
    well = [service("broker", healthy=True)]
    assert Status(well, [process], WELL).is_well
    ended = AppStatus("intake", None, None, Path("log"))
    assert not Status(well, [ended], WELL).is_well
    assert not Status([service("broker", healthy=False)], [], WELL).is_well
    lost = CaptureStatus(WELL.connector, Slot(True, "lost", 0, 0), History())
    assert not Status(well, [], lost).is_well


def test_each_thing_has_its_line() -> None:
    process = AppStatus("intake", None, None, Path("a.log"))
    text = "\n".join(
        lines_of(Status([service("broker", healthy=True)], [process], WELL))
    )
    assert "broker      healthy            7      1  log" in text
    assert "intake      ended              -      -  a.log" in text
    assert "connector   running, task running" in text
    assert "active, 152 B of WAL behind, 4.1 MB kept, reserved" in text


def test_a_slot_that_nobody_reads_is_shouted() -> None:
    slot = Slot(False, "extended", 3_000_000_000, 3_000_000_000)
    text = "\n".join(capture_lines(CaptureStatus(WELL.connector, slot, History())))
    assert "NOT READ BY ANYBODY, 3.0 GB of WAL behind" in text
    assert "kept until it is read, or the slot dropped" in text


def test_failures_and_restarts_are_told() -> None:
    connector = Connector("RUNNING", "FAILED", ("java.io.Y: no route",))
    history = History(3, "java.io.Y: no route", failed_at=0.0)
    text = "\n".join(capture_lines(CaptureStatus(connector, WELL.slot, history)))
    assert "task failed" in text
    assert "3 restarts; last failure" in text
    assert text.count("java.io.Y: no route") == 2


@pytest.mark.integration
def test_up_is_idempotent_and_leaves_settings(
    stack: StackInfo, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.config.getoption("--stack") == "docker":
        pytest.skip("up is of the embedded stack")
    monkeypatch.setenv("DELTAFOLIO_HOME", str(stack.home))
    run = CliRunner().invoke
    first = run(app, ["up"])
    assert first.exit_code == 0, first.output
    assert stack.dsn in first.output
    saved = json.loads((stack.home / "settings.json").read_text())
    assert saved["kafka"]["bootstrap"] == stack.bootstrap

    assert run(app, ["up"]).exit_code == 0
    again = json.loads((stack.home / "settings.json").read_text())
    assert again == saved, "the capture role keeps its password"
    assert Settings.load(stack.home).postgres.dsn.get_secret_value() == stack.dsn
    assert run(app, ["setup"]).exit_code == 0

    told = run(app, ["status"])
    assert told.exit_code == 1
    assert "postgres    healthy" in told.output
    assert "connector   missing" in told.output
    (stack.home / "settings.json").unlink()


def test_setup_says_what_it_cannot_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELTAFOLIO_HOME", str(tmp_path))
    monkeypatch.setenv("DELTAFOLIO_POSTGRES__DSN", "postgresql://a@127.0.0.1:9/b")
    result = CliRunner().invoke(app, ["setup"])
    assert result.exit_code == 1
    assert "setup failed:" in result.output
    assert "Traceback" not in result.output


def test_down_of_nothing_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELTAFOLIO_HOME", str(tmp_path / "none"))
    result = CliRunner().invoke(app, ["down", "--purge"])
    assert result.exit_code == 0
    assert not (tmp_path / "none").exists()
