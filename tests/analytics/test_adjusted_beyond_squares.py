"""Closes whose returns fit a double and whose squares do not, against the oracle.

``adj_close`` is any positive double. What a sum of squares cannot hold is null,
``overflow``, and both say so of the same numbers; the oracle warns of none.
"""

import json
from collections import Counter

import numpy as np
import pytest

from tests.analytics.test_risk_equals_batch import (
    FACTORS,
    LONGER,
    SYMBOLS,
    Desk,
    differences,
    disturb,
    fresh,
    opened,
)

KINDS = {"volatility", "har", "trend", "percentile", "market", "ridge", "spreads"}
KINDS |= {"pair_reasons"}


def adjusted(chance: np.random.Generator) -> float:
    """Mostly beyond the root of the largest double, or beside it, or next to 0."""
    kind = chance.random()
    if kind < 0.4:
        return float(10 ** chance.uniform(150, 300))
    if kind < 0.6:
        # Squares and their products leave a double one after the other here.
        return float(10 ** chance.uniform(74, 82))
    if kind < 0.75:
        return float(10 ** chance.uniform(154, 159))
    if kind < 0.85:
        return 1e-300
    return float(10 ** chance.uniform(-5, 9))


def beyond(desk: Desk, chance: np.random.Generator) -> None:
    """One to six closes in a row have an ``adj_close`` that is no price."""
    symbol, start = str(chance.choice(SYMBOLS)), int(chance.integers(0, 30))
    level = adjusted(chance)
    for session in range(start, start + int(chance.integers(1, 6))):
        value = adjusted(chance)
        if chance.random() < 0.7:
            # Beside the others: the ratio of two is a usual return.
            value = float(level * chance.uniform(0.9, 1.1))
        desk.price(symbol, session, float(chance.uniform(98, 103)), value)


def reasons(desk: Desk) -> Counter[str]:
    """Which kinds of numbers are null for it."""
    found: Counter[str] = Counter()

    def walk(path: tuple[str, ...], value: object) -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                walk((*path, name), each)
        elif isinstance(value, list):
            for each in value:
                walk(path, each)
        elif value == "overflow":
            found.update(KINDS & set(path))

    for content in desk.records.values():
        walk((), json.loads(content))
    return found


@pytest.mark.parametrize("factors", [FACTORS, LONGER], ids=["short", "longer"])
@pytest.mark.parametrize("seed", [8, 9, 15, 18, 23, 30, 315])
def test_squares_that_do_not_fit(seed, factors):
    chance = np.random.default_rng(seed)
    desk = opened(chance, factors=factors)
    for _ in range(chance.integers(1, 9)):
        beyond(desk, chance)
    desk.derive()
    for _ in range(4):
        beyond(desk, chance)
        disturb(desk, chance)
        desk.derive()
    assert fresh(desk) == desk.records
    assert reasons(desk)
    found = differences(desk)
    assert found.cells > 10_000
    assert found.differ == 0, str(found.first)
