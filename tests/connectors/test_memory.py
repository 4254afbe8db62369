"""Freed memory is kept; what is held for long is not looked through."""

import subprocess
import sys

import pytest

from connectors.memory import keep_freed

FAULTS = """
import resource
import numpy as np
from connectors.memory import keep_freed

if {kept}:
    keep_freed()
for _ in range(3):
    several = [np.ones(1 << 17) for _ in range(4)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    del several
    several = [np.ones(1 << 17) for _ in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, kept: bool) -> int:
    script = FAULTS.format(kept=kept)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    return int(done.stdout)


def test_pages_are_not_asked_for_again_and_again():
    if not keep_freed():
        pytest.skip("the C library is not glibc")
    assert faults(kept=True) < 500 < faults(kept=False)


SPARED = """
import gc
from connectors.memory import spare_the_collector

def looks():
    return sum(each["collections"] for each in gc.get_stats())

held = [[] for _ in range(20_000)]
spare_the_collector()
before = looks()
made = [[] for _ in range(20_000)]
print(looks() - before, gc.get_freeze_count() > len(held))
more = [[] for _ in range(60_000)]
print(looks() - before)
"""


def test_the_collector_looks_seldom_and_not_at_what_is_held():
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", SPARED], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == ["0", "True", "1"]
