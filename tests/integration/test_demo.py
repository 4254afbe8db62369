"""The demonstration, as a newcomer runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_demonstration_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deltafolio", "demo"],
        env=os.environ | {"DELTAFOLIO_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    one_line = " ".join(said.split())
    assert re.search(r"[1-9][\d,]+ cells compared, 0 differ", said)
    # The correction moves the holders' two sessions, and nothing else.
    assert (
        "4 of 438 snapshots, 4 records of lots, 82 of risk and 41 of symbols"
        in one_line
    )
    assert "146 of 438 snapshots" in said
    assert "close 230.396 → 240.5" in said
    assert "ended (" not in said, "a process died"
    assert not (tmp_path / "demo").exists()
