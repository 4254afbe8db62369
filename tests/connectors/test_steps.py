"""Steps: the document's, the code's and the tests' are the same."""

import re
from pathlib import Path

import pytest

from connectors.steps import Step, steps_of
from tests.faults import test_steps as crashes

ROOT = Path(__file__).parents[2]
DELIVERY = (ROOT / "docs" / "delivery.md").read_text("utf-8")
ROW = re.compile(r"^\| ([A-Z]\d) \| .+? \| `([a-z-]+)` \|", re.MULTILINE)


def test_the_document_lists_the_steps_of_the_code():
    assert ROW.findall(DELIVERY) == sorted(
        ((step.name, step.value) for step in Step),
        key=lambda row: ("IETRZS".index(row[0][0]), row[0]),
    )


@pytest.mark.parametrize("step", list(Step))
def test_each_step_is_done_somewhere_in_the_code(step):
    pattern = re.compile(rf"(crash\.|self\._)done\(Step\.{step.name}\)")
    rooms = [*(ROOT / "streams").glob("*.py"), *(ROOT / "connectors").glob("*.py")]
    assert any(pattern.search(path.read_text("utf-8")) for path in rooms)


def test_a_test_crashes_after_each_of_them():
    assert set(Step) == crashes.TESTED


def test_steps_are_found_by_letter():
    assert steps_of("T")[0] is Step.T1
    assert len(steps_of("TS")) == 14
