"""What the engine says of risk, where there are numbers, read by the models."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from analytics.results import Result
from connectors.models import read_record
from streams.record import Record
from tests.connectors.risk_world import NEWEST, risk_records
from tests.connectors.test_models_engine import unknown


@pytest.fixture(scope="module")
def said() -> list[tuple[Result, Record]]:
    """Records of risk and symbols."""
    return [one for one in risk_records() if one[0].family in ("risk", "symbols")]


def newest(said: list[tuple[Result, Record]], owner: int | str) -> Any:
    return next(
        read_record(result.family, record.value)
        for result, record in said
        if (result.owner, result.session) == (owner, NEWEST)
    )


def test_every_record_is_read_and_no_field_is_unknown(said):
    assert len(said) > 300
    for result, record in said:
        model = read_record(result.family, record.value)
        assert list(unknown(json.loads(record.value), model)) == []


REASONS = {
    "condition": "condition_reason",
    "strength": "strength_reason",
    "money": "money_reason",
    "coverage": "coverage_reason",
    "weighted_mean": "mean_reason",
    "mean": "mean_reason",
    "effective_number": "effective_reason",
}
FREE = {"cause", "previous", "benchmark", "date", "direction", "tilt"}


def unexplained(value: Any, path: str = "") -> Iterator[str]:
    """Nulls without a reason, and reasons without a null."""
    if isinstance(value, list):
        for n, item in enumerate(value):
            yield from unexplained(item, f"{path}[{n}]")
    if isinstance(value, dict):
        for name, item in value.items():
            yield from unexplained(item, f"{path}.{name}")
            reason = value.get(REASONS.get(name, "reason"))
            is_number = item is None or isinstance(item, float)
            free = name in FREE or name.endswith("reason") or not is_number
            if not free and (item is None) != (reason is not None):
                yield f"{path}.{name}"


def test_a_null_has_its_reason_and_a_number_has_none(said):
    for result, record in said:
        found = list(unexplained(json.loads(record.value)))
        assert found == [], (result.family, result.owner, result.session)


def test_there_are_numbers_of_every_kind(said):
    """Else the tests above prove little."""
    risk, symbol = newest(said, 1), newest(said, "A")
    assert risk.betas.market.value is not None
    assert risk.styles["Momentum"].value is not None
    assert risk.styles["Value"].reason == "no_coverage"
    assert risk.spreads["IWM-SPY"].tilt is not None
    assert risk.volatility.model_extra["252"].value is not None
    assert risk.volatility.har.value is not None
    assert risk.correlation.names == ["A", "B", "C", "LATE"]
    assert [block.active_reason for block in risk.sectors] == ["no_benchmark", None]
    assert symbol.ridge.loadings["Quality"].loading is not None
    assert symbol.ridge.loadings["Value"].reason == "no_factor_history"
    assert symbol.trend.direction is not None
    assert newest(said, "LATE").volatility["252"].reason == "too_few"
    assert newest(said, 2).betas.market.reason == "no_positions"
    assert newest(said, 3).betas.market.reason == "nav_not_positive"
