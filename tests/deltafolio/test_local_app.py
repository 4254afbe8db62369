"""Settings as the processes of a state directory read them."""

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.settings import KafkaSettings, PostgresSettings, Settings, TopicSettings
from deltafolio.local_app import save_settings


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
