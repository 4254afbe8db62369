"""What a setting may be, and what is said of what it may not be."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

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
