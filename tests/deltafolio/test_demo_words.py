"""What the demonstration says of its progress: never more than there is."""

import re

from deltafolio.demo_story import _teller
from deltafolio.progress import Position


class Told:
    """A stage that remembers."""

    def __init__(self) -> None:
        self.text = ""

    def say(self, text: str) -> None:
        self.text = text


def told(snapshots: int) -> str:
    stage = Told()
    position = Position(
        captured=48_148,
        journal=9,
        letters=0,
        snapshots=snapshots,
        positions=0,
        risk=0,
        symbols=0,
        sunk=0,
    )
    _teller(stage, 59_132, 438)(position)  # type: ignore[arg-type]
    return stage.text


def test_records_that_came_again_are_not_a_part_of_the_cells() -> None:
    text = told(4_197)
    assert "4,197 snapshots published" in text
    for part, whole in re.findall(r"([\d,]+) of ([\d,]+)", text):
        assert int(part.replace(",", "")) <= int(whole.replace(",", ""))


def test_nothing_yet_is_said_in_words() -> None:
    assert "no snapshots published yet" in told(0)
