"""What ``deltafolio status`` says of capture."""

from __future__ import annotations

from datetime import UTC, date, datetime

import asyncpg
import pytest

from connectors.capture_status import (
    LAG_WARNING,
    CaptureStatus,
    Connector,
    Slot,
)
from connectors.capture_watch import History
from connectors.prices import Prices
from connectors.refused import Refusal, Refusals
from connectors.settings import Settings
from deltafolio.lag import Lag
from deltafolio.status import Status, _refused, capture_lines, lines_of

MUCH = LAG_WARNING + 1


@pytest.mark.parametrize(
    ("slot", "warning", "well"),
    [
        (Slot(True, "reserved", 10, LAG_WARNING), None, True),
        (Slot(True, "reserved", 10, MUCH), "WAL piles up", True),
        (Slot(False, "reserved", 10, 10), "NOT READ BY ANYBODY", False),
        (Slot(False, "extended", MUCH, MUCH), "kept until it is read", False),
        (Slot(True, "lost", 10, 10), "its WAL is gone", False),
    ],
)
def test_a_slot_that_needs_somebody_is_warned_of(slot, warning, well):
    found = CaptureStatus(Connector("RUNNING", "RUNNING"), slot, History())
    said = "\n".join(capture_lines(found))
    words = ("WAL piles up", "NOT READ", "kept until", "WAL is gone")
    assert warning in said if warning else not any(word in said for word in words)
    assert found.is_well == well


WELL = CaptureStatus(
    Connector("RUNNING", "RUNNING"), Slot(True, "reserved", 1, 1), History()
)


@pytest.mark.parametrize(
    ("lags", "warned", "well"),
    [
        ([Lag("intake", 900_000, 59.0, 60.0)], False, True),
        ([Lag("intake", 1, 61.0, 60.0)], True, False),
        ([Lag("workers", 1, None, 60.0)], False, True),
        ("Kafka does not answer", False, False),
    ],
)
def test_who_is_late_is_warned_of_and_who_has_much_is_not(lags, warned, well):
    found = Status([], [], WELL, lags)
    assert found.is_well == well
    assert ("DOES NOT KEEP UP" in "\n".join(lines_of(found))) == warned


def test_prices_that_did_not_come_are_told_and_no_fault():
    days = {f"S{n}": date(2024, 3, 1) for n in range(7)} | {"S3": None}
    found = Status([], [], WELL, [], Prices(date(2024, 3, 4), 9, days))
    said = "\n".join(lines_of(found))
    assert "STALE: 7 of 9 held symbols have no close of 2024-03-04" in said
    assert "S0 (last 2024-03-01)" in said
    assert "S3 (last never)" in said
    assert "S5" not in said
    assert found.is_well
    fresh = Status([], [], WELL, [], Prices(date(2024, 3, 4), 9, {}))
    assert "2024-03-04 for all 9 held symbols" in "\n".join(lines_of(fresh))


def test_results_that_postgresql_refused_are_told_and_not_well():
    at = datetime(2024, 3, 4, 12, tzinfo=UTC)
    newest = Refusal("results.positions/0@7", "1|2024-03-04", "overflow", at)
    found = Status([], [], WELL, [], refused=Refusals(63, newest))
    said = "\n".join(lines_of(found))
    assert "63 RESULTS ARE LEFT OUT" in said
    assert "analytics.sink_refused" in said
    assert "newest: 1|2024-03-04 (results.positions/0@7) at 2024-03-04 12:00:00" in said
    assert not found.is_well
    assert Status([], [], WELL, []).is_well
    assert not Status([], [], WELL, [], refused="no table").is_well


async def test_a_schema_of_before_is_said_with_what_mends_it():
    class Before:
        async def fetch(self, query: str, *values: object) -> list[object]:
            message = "column rev_p does not exist"
            raise asyncpg.UndefinedColumnError(message)

    said = await _refused(Settings(), Before())
    assert said == "column rev_p does not exist: deltafolio setup mends the schema"
