"""Cells that were touched are taken: newest sessions first, and in turn."""

import numpy as np
import pytest

from analytics.touch import Pending

SLOTS = 10


def pending(*sessions: int, whole: bool = False) -> Pending:
    """All slots of some sessions, touched."""
    made = Pending(whole=whole)
    for session in sessions:
        touch(made, session, range(SLOTS))
    return made


def touch(made: Pending, session: int, slots: range | list[int]) -> None:
    made.add(session, np.array(slots), 1, 0, SLOTS)


def taken(made: Pending, limit: int | None, closed=None) -> list[tuple[int, int]]:
    slot, session, _ = made.take(closed, limit)
    return list(zip(session.tolist(), slot.tolist(), strict=True))


def test_a_session_that_exceeds_the_limit_is_taken_in_parts():
    made, found = pending(7, 8), []
    while made:
        part = taken(made, 4)
        assert 0 < len(part) <= 4
        found += part
    assert sorted(found) == [(t, s) for t in (7, 8) for s in range(SLOTS)]
    assert {session for session, _ in found[:SLOTS]} == {8}


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
    assert taken(made, 3, closed) == [(7, 1), (7, 2), (7, 3)]
    assert made.ready(None) == SLOTS + 1 - 3


def test_whole_sessions_are_whole():
    made = pending(7, 8, whole=True)
    assert len(taken(made, 3)) == SLOTS
    assert len(taken(made, 2 * SLOTS)) == SLOTS
