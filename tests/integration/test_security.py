"""TLS and logins, with real certificates: who should gets in, nobody else does.

Here PostgreSQL and Kafka alone; ``tests/faults/test_secure_way.py`` has Debezium and
the whole way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from connectors.kafka import read_to_end, started_producer
from connectors.postgres import connect
from connectors.settings import KafkaSettings, PostgresSettings, Settings
from connectors.topics import ensure_topics
from deltafolio.cli import app
from deltafolio.local_app import save_settings
from tests.tls_stack import BUILD, MECHANISMS, SECRET, SecureStack

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(BUILD is None, reason="no PostgreSQL with TLS for this system"),
]

WRONG = "not-that-one"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureStack]:
    made = SecureStack.make(tmp_path_factory.mktemp("secure"))
    try:
        made.stack.start_service("postgres")
        made.stack.start_service("broker")
        yield made
    finally:
        made.stack.down(purge=True)


def settings_of(secure: SecureStack, home: Path, kafka: KafkaSettings) -> Settings:
    postgres = PostgresSettings(dsn=SecretStr(secure.dsn))
    return Settings(postgres=postgres, kafka=kafka).model_copy(update={"home": home})


def mutual(secure: SecureStack, **other: Any) -> KafkaSettings:
    """Kafka, by SSL and the client's certificate."""
    files = secure.certificates
    given = {
        "bootstrap": f"127.0.0.1:{secure.mutual}",
        "security_protocol": "SSL",
        "ssl_cafile": files.authority,
        "ssl_certfile": files.client,
    }
    return KafkaSettings(**{**given, **other})


async def assert_records_pass(settings: Settings, topic: str) -> None:
    await ensure_topics(settings)
    async with started_producer(settings) as producer:
        await producer.send_and_wait(topic, b"value", key=b"key")
    found = [r.value async for batch in read_to_end(settings, topic) for r in batch]
    assert found[-1] == b"value"


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_kafka_by_tls_and_password(secure, tmp_path, mechanism):
    kafka = secure.kafka(mechanism)
    settings = settings_of(secure, tmp_path, kafka)
    await assert_records_pass(settings, settings.topics.deadletters)


async def test_kafka_by_tls_and_certificate(secure, tmp_path):
    settings = settings_of(secure, tmp_path, mutual(secure))
    await assert_records_pass(settings, settings.topics.deadletters)


async def test_postgresql_by_tls(secure):
    connection = await connect(secure.dsn, "test")
    try:
        assert await connection.fetchval(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
    finally:
        await connection.close()


KAFKA_REFUSALS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "another authority": (
        {"ssl_cafile": "stranger"},
        ["certificate is not trusted", "KAFKA__SSL_CAFILE"],
    ),
    "a wrong password": (
        {"sasl_password": SecretStr(WRONG)},
        ["refuses deltafolio by SCRAM-SHA-512", "__SASL_PASSWORD"],
    ),
    "no TLS": (
        {"security_protocol": "PLAINTEXT", "ssl_cafile": None},
        ["by PLAINTEXT", "ends the connection", "KAFKA__SECURITY_PROTOCOL"],
    ),
    "a login without TLS": (
        {"security_protocol": "SASL_PLAINTEXT", "ssl_cafile": None},
        ["by SASL_PLAINTEXT", "ends the connection", "KAFKA__SECURITY_PROTOCOL"],
    ),
    "no such file": (
        {"ssl_cafile": "nowhere"},
        ["nowhere.pem: no PEM file that can be used"],
    ),
}


@pytest.mark.parametrize("case", KAFKA_REFUSALS)
def test_kafka_refuses_and_a_command_says_why(secure, tmp_path, monkeypatch, case):
    changed, words = KAFKA_REFUSALS[case]
    changed = {
        name: secure.certificates.authority.with_stem(value)
        if name == "ssl_cafile" and value
        else value
        for name, value in changed.items()
    }
    kafka = secure.kafka(**changed)
    assert_told(settings_of(secure, tmp_path, kafka), ["dlq", "list"], words)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ssl_certfile": None}, ["ends the connection", "KAFKA__SSL_CERTFILE"]),
        (
            {
                "security_protocol": "PLAINTEXT",
                "ssl_cafile": None,
                "ssl_certfile": None,
            },
            ["ends the connection", "KAFKA__SECURITY_PROTOCOL"],
        ),
    ],
    ids=["no certificate", "no TLS"],
)
def test_who_shows_no_certificate_stays_outside(secure, tmp_path, changed, words):
    settings = settings_of(secure, tmp_path, mutual(secure, **changed))
    assert_told(settings, ["dlq", "list"], words)


def assert_told(settings: Settings, command: list[str], words: list[str]) -> None:
    """A command fails with 2 and these words, and without a secret."""
    save_settings(settings)
    # Not by --home: it stays in the environment, for every test after this one.
    where = {"DELTAFOLIO_HOME": str(settings.home)}
    result = CliRunner().invoke(app, command, env=where)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    assert_no_secret(settings, result.output)


def assert_no_secret(settings: Settings, text: str) -> None:
    password = settings.postgres.dsn.get_secret_value().split("@")[0].split(":")[2]
    for secret in (SECRET, WRONG, password):
        assert secret not in text


POSTGRES_REFUSALS: dict[str, tuple[tuple[str, str], list[str]]] = {
    "another authority": (("authority.pem", "stranger.pem"), ["CERTIFICATE_VERIFY"]),
    "no such file": (("authority.pem", "nowhere.pem"), ["nowhere.pem"]),
    "no TLS": (("verify-full", "disable"), ["no encryption"]),
}


@pytest.mark.parametrize("case", POSTGRES_REFUSALS)
def test_postgresql_refuses_and_a_command_says_why(secure, tmp_path, case):
    (before, after), words = POSTGRES_REFUSALS[case]
    assert before in secure.dsn
    postgres = PostgresSettings(dsn=SecretStr(secure.dsn.replace(before, after)))
    settings = settings_of(secure, tmp_path, secure.kafka())
    assert_told(settings.model_copy(update={"postgres": postgres}), ["check"], words)


def test_postgresql_refuses_a_wrong_password(secure, tmp_path):
    right = secure.stack.layout.password()
    postgres = PostgresSettings(dsn=SecretStr(secure.dsn.replace(right, WRONG)))
    settings = settings_of(secure, tmp_path, secure.kafka())
    settings = settings.model_copy(update={"postgres": postgres})
    assert_told(settings, ["check"], ["password authentication failed"])
