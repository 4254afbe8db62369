"""``why`` finds a sector in whatever benchmark names it."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.why import WhyError, find


def block(benchmark: str | None, **active: float | None) -> dict[str, Any]:
    """Sectors of one benchmark; of these the portfolio holds Energy alone."""
    net = [0.25 if name == "Energy" else 0.0 for name in active]
    return {
        "benchmark": benchmark,
        "sectors": list(active),
        "long": net,
        "short": [0.0 for _ in active],
        "net": net,
        "active": list(active.values()),
        "reason": None,
        "active_reason": None if benchmark else "no_benchmark",
    }


BLOCKS = {
    "sectors": [
        block("ONE", Energy=0.05),
        block("B.TWO", Energy=0.15, Utilities=-0.5),
    ]
}


def test_a_sector_of_the_second_benchmark_only_is_there():
    assert find(BLOCKS, "sectors.Utilities").value == 0
    assert find(BLOCKS, "sectors.Energy").value == 0.25
    assert find(BLOCKS, "sectors.Energy.long").value == 0.25
    with pytest.raises(WhyError, match="which has: Energy, Utilities"):
        find(BLOCKS, "sectors.Materials")


def test_active_is_said_by_benchmark():
    assert find(BLOCKS, "sectors.Energy.active.ONE").value == 0.05
    assert find(BLOCKS, "sectors.Energy.active.B.TWO").value == 0.15
    assert find(BLOCKS, "sectors.Utilities.active.B.TWO").value == -0.5
    with pytest.raises(WhyError, match=r"sectors.Energy.active has: ONE, B.TWO"):
        find(BLOCKS, "sectors.Energy.active")
    with pytest.raises(WhyError, match=r"no 'ONE' in .* which has: B.TWO"):
        find(BLOCKS, "sectors.Utilities.active.ONE")


def test_without_a_benchmark_active_is_null_and_says_why():
    found = find({"sectors": [block(None, Energy=None)]}, "sectors.Energy.active")
    assert (found.value, found.reason) == (None, "no_benchmark")


def test_without_net_asset_value_the_reason_is_the_sectors():
    none = {**block("ONE", Energy=None), "net": [None], "reason": "nav_not_positive"}
    found = find({"sectors": [none]}, "sectors.Energy")
    assert (found.value, found.reason) == (None, "nav_not_positive")
