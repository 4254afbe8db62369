"""Cells are laid in rectangles: each is in one, at its session and its portfolio."""

import numpy as np
import pytest

from analytics.kernels.aggregate import PORTFOLIOS_AT_ONCE
from analytics.own_returns import SPARSE, Rectangle, rectangles


def laid(slot: np.ndarray, session: np.ndarray) -> list[Rectangle]:
    """Rectangles of cells, of which each must be where it says."""
    found = list(rectangles(slot, session))
    places = np.concatenate([part.places for part in found])
    assert sorted(places.tolist()) == list(range(len(slot)))
    for part in found:
        assert part.slots[part.across].tolist() == slot[part.places].tolist()
        assert (part.start + part.down).tolist() == session[part.places].tolist()
        assert part.start <= session[part.places].min()
        assert session[part.places].max() < part.stop
    return found


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 1.0])
def test_each_cell_is_in_one_rectangle(share: float) -> None:
    chance = np.random.default_rng(5)
    session, slot = np.nonzero(chance.random((30, 300)) < share)
    for part in laid(slot, session + 700):
        assert len(part.slots) <= PORTFOLIOS_AT_ONCE


def test_few_cells_of_many_portfolios_and_sessions_are_taken_session_by_session():
    many = 2 * SPARSE
    days = np.concatenate([np.arange(many), 100 + np.arange(many)])
    found = laid(np.arange(2 * many), days)
    assert [(part.start, part.stop) for part in found] == [
        (t, t + 1) for t in days.tolist()
    ]


def test_portfolios_that_share_their_sessions_are_one_rectangle():
    (part,) = laid(np.tile(np.arange(3), 5), np.repeat(np.arange(5), 3))
    assert (part.start, part.stop, part.slots.tolist()) == (0, 5, [0, 1, 2])
