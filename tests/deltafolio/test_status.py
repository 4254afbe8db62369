"""What ``deltafolio status`` says of capture."""

from __future__ import annotations

import pytest

from connectors.capture_status import (
    LAG_WARNING,
    CaptureStatus,
    Connector,
    Slot,
)
from connectors.capture_watch import History
from deltafolio.status import capture_lines

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
