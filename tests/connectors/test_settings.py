"""What a setting may be, and what is said of what it may not be."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError

from analytics.factors import SAMPLE_FACTORS, Factors, Spread, Window
from connectors.journal import partition_of
from connectors.settings import Settings
from deltafolio.local_app import save_settings

OTHER = Factors(
    market="IDX",
    beta=Window(60, 20),
    styles=(),
    spreads=(Spread("A", "B"),),
    volatility=(Window(10, 7),),
)


def test_factors_are_those_of_the_definitions_unless_set():
    assert Settings().factors == Factors()


@pytest.mark.parametrize("factors", [Factors(), SAMPLE_FACTORS, OTHER])
def test_factors_are_saved_and_loaded(tmp_path: Path, factors: Factors):
    settings = Settings().model_copy(update={"home": tmp_path, "factors": factors})
    save_settings(settings)
    assert Settings.load(tmp_path).factors == factors


def test_the_samples_factors_are_saved_as_a_word(tmp_path: Path):
    settings = Settings(home=tmp_path, factors="sample")
    saved = json.loads(save_settings(settings).read_text())
    assert saved["factors"] == "sample"


@pytest.mark.parametrize("text", ["sample", '{"market": "SP500"}'])
def test_factors_come_from_the_environment(monkeypatch, text):
    monkeypatch.setenv("DELTAFOLIO_FACTORS", text)
    assert Settings().factors.market == "SP500"


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ("simple", "neither JSON nor 'sample'"),
        ("[]", "Expected `object`"),
        ({"mraket": "SPY"}, "no mraket"),
        ({"beta": {"sessions": 90, "minimum": 30, "max": 1}}, "no beta.max"),
        ({"beta": {"sessions": 10, "minimum": 30}}, "beta: minimum 30 of 10"),
        ({"beta_cap": "five"}, "Expected `float`"),
        ({"market": ""}, "a factor without a symbol"),
    ],
)
def test_what_is_no_set_of_factors_is_told(factors, words):
    with pytest.raises(ValidationError, match=words):
        Settings(factors=factors)


def test_a_symbol_lies_where_its_text_falls():
    assert partition_of("7", 8) == partition_of(7, 8)
    assert {partition_of(f"S{n}", 8) for n in range(100)} == set(range(8))


@pytest.mark.parametrize(
    ("group", "given"),
    [
        ("postgres", {"source_schema": "Public"}),
        ("postgres", {"source_schema": 'x"; DROP TABLE y'}),
        ("postgres", {"source_schema": "analytics"}),
        ("postgres", {"slot": "a-slot"}),
        ("postgres", {"publication": "p'; --"}),
        ("postgres", {"capture_user": ""}),
        ("postgres", {"dsn": "mysql://me@db/x"}),
        ("kafka", {"bootstrap": "kafka.example"}),
        ("kafka", {"bootstrap": "PLAINTEXT://kafka.example:9092"}),
        ("kafka", {"security_protocol": "TLS"}),
        ("kafka", {"sasl_mechanism": "SCRAM"}),
        ("kafka", {"security_protocol": "SASL_SSL", "sasl_username": "me"}),
        ("kafka", {"ssl_cafile": "ca.pem"}),
        ("connect", {"url": "connect.example:8083"}),
        ("connect", {"url": "http://me:secret@connect.example:8083"}),
        ("topics", {"market": "journal market"}),
        ("topics", {"market": ".."}),
        ("topics", {"market": "journal/market"}),
        ("topics", {"market": "journal.portfolios"}),
        ("topics", {"cdc_prefix": ""}),
        ("worker", {"app_id": "x" * 181}),
    ],
    ids=str,
)
def test_what_is_no_name_and_no_address_is_refused(group, given):
    with pytest.raises(ValidationError, match=group) as caught:
        Settings(**{group: given})
    assert "secret" not in str(caught.value)


def test_names_that_are_not_the_usual_ones_are_taken():
    settings = Settings(
        postgres={"source_schema": "_books2", "dsn": "postgres://me@[::1]:5432/x"},
        kafka={"bootstrap": "a.example:9092,b.example:9093"},
        topics={"market": "prod_journal-market.1"},
    )
    assert settings.cdc_topic("positions") == "cdc._books2.positions"


def test_secrets_come_from_files_named_like_the_variables(monkeypatch, tmp_path: Path):
    (tmp_path / "DELTAFOLIO_KAFKA__SASL_PASSWORD").write_text("from a file\n")
    (tmp_path / "deltafolio_postgres__capture_password").write_text("a file's too")
    monkeypatch.setenv("DELTAFOLIO_SECRETS", str(tmp_path))
    monkeypatch.setenv("DELTAFOLIO_POSTGRES__CAPTURE_PASSWORD", "of the environment")
    stored = {"kafka": {"sasl_password": "stored"}, "postgres": {"slot": "kept"}}
    (tmp_path / "settings.json").write_text(json.dumps(stored))
    settings = Settings.load(tmp_path)
    password = settings.kafka.sasl_password
    assert password is not None
    assert password.get_secret_value() == "from a file"
    capture = settings.postgres.capture_password.get_secret_value()
    assert capture == "of the environment"
    assert settings.postgres.slot == "kept"


def test_a_directory_of_secrets_that_is_not_there_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("DELTAFOLIO_SECRETS", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match="absent"):
        Settings()


def test_a_misspelt_group_is_told(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("DELTAFOLIO_KAFA__BOOTSTRAP", "kafka:9092")
    for load in (Settings, lambda: Settings.load(tmp_path)):
        with pytest.raises(SettingsError, match="KAFA__BOOTSTRAP: there is no group"):
            load()


@pytest.mark.parametrize("text", ['{"postgres": "secret', '["secret"]', "\xff"])
def test_a_file_that_is_no_json_is_told_and_not_shown(tmp_path: Path, text: str):
    (tmp_path / "settings.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"settings\.json") as caught:
        Settings.load(tmp_path)
    assert "secret" not in str(caught.value)


def test_a_worker_of_no_family_cannot_be(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("DELTAFOLIO_WORKER__FAMILIES", "[]")
    with pytest.raises(ValidationError, match="at least 1"):
        Settings.load(tmp_path)
