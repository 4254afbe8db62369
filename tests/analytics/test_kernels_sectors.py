"""Sectors by hand."""

import numpy as np
import pytest

from analytics.kernels.reasons import Reason
from analytics.kernels.sectors import (
    active_weights,
    benchmarks_at,
    sector_of,
    sector_weights,
)
from analytics.rows import Weight

NAMES = ("Energy", "ETFs", "Information Technology")
UNIT = 10_000


def row(
    id_: int, sector: str, weight: float, date: int = 100, code: str = "B"
) -> Weight:
    return Weight(id_, code, sector, weight, date)


def test_sector_names() -> None:
    assert sector_of("Consumer Cyclical", is_etf=False) == "Consumer Discretionary"
    assert sector_of("Energy", is_etf=False) == "Energy"
    assert sector_of(None, is_etf=False) == "Unclassified"
    assert sector_of("", is_etf=False) == "Unclassified"
    assert sector_of("Technology", is_etf=True) == "ETFs"


def test_the_newest_set_counts_from_its_date_on() -> None:
    rows = [row(1, "Energy", 1.0, 100), row(2, "Energy", 0.9, 110)]
    assert benchmarks_at(rows, 99)[0].date is None
    assert benchmarks_at(rows, 100)[0].weights == {"Energy": 1.0}
    found = benchmarks_at(rows, 110)[0]
    assert found.weights == {"Energy": 0.9}
    assert found.off
    assert not benchmarks_at(rows, 109)[0].off


def test_equal_sectors_are_added_in_any_order_to_the_same_bits() -> None:
    tenths = [row(i, name, 0.1) for i, name in enumerate(["Technology"] * 9)]
    tenths.append(row(9, "Information Technology", 0.1))
    one = benchmarks_at(tenths, 100)[0]
    other = benchmarks_at(tenths[::-1], 100)[0]
    assert one == other
    assert one.weights == {"Information Technology": 1.0}


def test_weights_are_by_lot_and_on_nav() -> None:
    owner = np.array([0, 0, 0, 1, 2])
    sector = np.array([0, 0, 2, 1, 0])
    value = np.array([300, -100, 50, 70, 40]) * UNIT
    nav = np.array([1000, -5, 100]) * UNIT
    overflow = np.array([False, False, True])
    found = sector_weights(owner, sector, value, nav, overflow, 3)
    assert found.long[0].tolist() == [0.3, 0.0, 0.05]
    assert found.short[0].tolist() == [-0.1, 0.0, 0.0]
    assert found.net[0].tolist() == [0.2, 0.0, 0.05]
    assert found.held[0].tolist() == [True, False, True]
    reasons = [Reason.NONE, Reason.NAV_NOT_POSITIVE, Reason.OVERFLOW]
    assert found.reason.tolist() == reasons
    assert np.isnan(found.net[1:]).all()
    benchmark = benchmarks_at([row(1, "Energy", 0.6), row(2, "Utilities", 0.4)], 100)
    active, reason = active_weights(found, benchmark[0], (*NAMES[:2], "Utilities"))
    assert active[0].tolist() == pytest.approx([-0.4, 0.0, -0.35])
    assert reason.tolist() == reasons
    none, reason = active_weights(found, benchmarks_at([row(1, "E", 1)], 9)[0], NAMES)
    assert np.isnan(none).all()
    assert reason[0] == Reason.NO_BENCHMARK
