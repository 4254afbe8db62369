"""Settings as the processes of a state directory read them."""

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.settings import KafkaSettings, PostgresSettings, Settings, TopicSettings
from connectors.stack import StackInfo
from deltafolio.local_app import (
    LocalApp,
    other_servers,
    save_settings,
    stack_settings,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "state",
        postgres=PostgresSettings(
            dsn=SecretStr("postgresql://me:secret@127.0.0.1:1/x"),
            capture_password=SecretStr("other"),
        ),
        kafka=KafkaSettings(bootstrap="127.0.0.1:2"),
        topics=TopicSettings(partitions=3),
    )


def test_what_is_saved_is_loaded(settings: Settings) -> None:
    save_settings(settings)
    assert Settings.load(settings.home) == settings


def test_only_its_owner_may_read_the_passwords(settings: Settings) -> None:
    mode = stat.S_IMODE(save_settings(settings).stat().st_mode)
    assert mode == 0o600


def test_saving_again_replaces(settings: Settings) -> None:
    save_settings(settings)
    other = settings.model_copy(update={"topics": TopicSettings(partitions=5)})
    save_settings(other)
    assert Settings.load(settings.home).topics.partitions == 5


@pytest.fixture
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that works with somebody's own servers."""
    monkeypatch.setenv("DELTAFOLIO_POSTGRES__DSN", "postgresql://me@db.example/real")
    monkeypatch.setenv("DELTAFOLIO_KAFKA__BOOTSTRAP", "kafka.example:9092")
    monkeypatch.setenv("deltafolio_connect__url", "http://connect.example:8083")
    monkeypatch.setenv("DELTAFOLIO_FACTORS", '{"market": "IVV"}')
    monkeypatch.setenv("DELTAFOLIO_LOG", "DEBUG")


INFO = StackInfo(
    dsn="postgresql://postgres:x@127.0.0.1:5/postgres",
    bootstrap="127.0.0.1:6",
    connect_url="http://127.0.0.1:7",
    home=Path("here"),
)


@pytest.mark.usefixtures("_elsewhere")
def test_an_embedded_stack_is_where_it_is_whatever_the_shell_says() -> None:
    made = stack_settings(INFO)
    assert made.postgres.dsn.get_secret_value() == INFO.dsn
    assert made.kafka.bootstrap == INFO.bootstrap
    assert made.connect.url == INFO.connect_url
    assert made.factors.market == "IVV", "what is no server's address is heeded"
    assert other_servers() == [
        "DELTAFOLIO_KAFKA__BOOTSTRAP",
        "DELTAFOLIO_POSTGRES__DSN",
        "deltafolio_connect__url",
    ]


@pytest.mark.usefixtures("_elsewhere")
def test_the_processes_of_an_application_heed_its_file_alone(
    settings: Settings,
) -> None:
    names = {name.upper() for name in LocalApp(settings).supervisor.environment}
    ours = {name for name in names if name.startswith("DELTAFOLIO_")}
    assert ours == {"DELTAFOLIO_LOG"}
    assert "PATH" in names
