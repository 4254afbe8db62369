"""Passwords are in no output: not in a repr, not in an error, not in a command's."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from connectors.settings import Settings
from deltafolio.cli import app

SECRET = "open-sesame"  # noqa: S105 - of nothing
FIELDS = [
    "POSTGRES__CAPTURE_PASSWORD",
    "KAFKA__SASL_PASSWORD",
    "KAFKA__SSL_KEY_PASSWORD",
    "CONNECT__PASSWORD",
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings with secrets, of servers that are not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {
        "HOME": str(tmp_path),
        "POSTGRES__DSN": f"postgresql://me:{SECRET}@127.0.0.1:{port}/db",
        "KAFKA__BOOTSTRAP": f"127.0.0.1:{port}",
        "CONNECT__URL": f"http://127.0.0.1:{port}",
        **dict.fromkeys(FIELDS, SECRET),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"DELTAFOLIO_{name}", value)
    return tmp_path


def test_settings_do_not_show_them(home):
    settings = Settings.load()
    assert settings.kafka.sasl_password is not None
    shown = [repr(settings), str(settings), settings.model_dump_json()]
    assert not [text for text in shown if SECRET in text]
    assert SECRET in settings.postgres.dsn.get_secret_value()


@pytest.mark.parametrize(
    "name",
    [
        "KAFKA__SASL_PASSWROD",
        "POSTGRES__CAPTURE_PASSWORT",
        "KAFKA__REPLICATION",
        "KAFKA__SECURITY_PROTOCOL",
        "POSTGRES__DSN",
    ],
)
def test_an_error_of_the_settings_names_the_setting_and_not_the_value(
    home, monkeypatch, name
):
    monkeypatch.setenv(f"DELTAFOLIO_{name}", SECRET)
    with pytest.raises(ValidationError) as caught:
        Settings.load()
    assert SECRET not in str(caught.value)
    assert name.rpartition("__")[2].lower() in str(caught.value)


def test_a_password_that_spoils_the_address_is_not_shown(home, monkeypatch):
    dsn = f"postgresql://me:{SECRET}/7@db.example:5432/x"  # a slash ends the host
    monkeypatch.setenv("DELTAFOLIO_POSTGRES__DSN", dsn)
    with pytest.raises(ValidationError, match="percent-encoded") as caught:
        Settings.load()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [["check"], ["status"], ["reconcile"], ["doctor"], ["why", "1", "newest", "nav"]],
    ids=" ".join,
)
def test_a_command_that_fails_does_not_show_them(home, words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code != 0
    assert SECRET not in result.output
    assert SECRET not in repr(result.exception)
