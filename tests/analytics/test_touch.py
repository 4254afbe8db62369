"""Cells that were touched are taken: newest sessions first, and in turn."""

import numpy as np
import pytest

from analytics.touch import Pending

SLOTS = 10


def pending(*sessions: int) -> Pending:
    """All slots of some sessions, touched."""
    made = Pending()
    for session in sessions:
        touch(made, session, range(SLOTS))
    return made


def touch(made: Pending, session: int, slots: range | list[int]) -> None:
    made.add(session, np.array(slots), 1, 0, SLOTS)


def taken(made: Pending, limit: int, closed=None) -> list[tuple[int, int]]:
    slot, session, _ = made.take(closed, limit, parted=8)
    return list(zip(session.tolist(), slot.tolist(), strict=True))


def test_of_the_newest_session_a_part_is_taken_and_others_are_whole():
    made, found = pending(6, 7, 8), []
    while made:
        found.append(taken(made, 4))
    assert [len(part) for part in found] == [4, 4, 2, SLOTS, SLOTS]
    cells = [cell for part in found for cell in part]
    assert [session for session, _ in cells] == [8] * 10 + [7] * 10 + [6] * 10
    assert sorted(cells) == [(t, s) for t in (6, 7, 8) for s in range(SLOTS)]


def test_sessions_that_fit_are_taken_together():
    made = pending(6, 7, 8)
    assert len(taken(made, 2 * SLOTS)) == 2 * SLOTS
    assert len(taken(made, 2 * SLOTS)) == SLOTS


@pytest.mark.parametrize("limit", [1, 3, 4])
def test_what_is_touched_again_and_again_keeps_nobody_waiting(limit):
    made, seen = pending(8), set()
    for _ in range(-(-SLOTS // limit) * 2):
        part = {slot for _, slot in taken(made, limit)}
        seen |= part
        touch(made, 8, sorted(part))
    assert seen == set(range(SLOTS))


def test_a_session_of_which_all_must_wait_keeps_no_other_waiting():
    made = pending(7)
    touch(made, 8, [0])
    closed = np.arange(SLOTS) == 0
    assert made.ready(closed) == SLOTS - 1
    assert taken(made, 3, closed) == [(7, slot) for slot in range(1, SLOTS)]
    assert made.ready(None) == 2
