"""Same rows, same bits: every double, whatever is computed beside it.

The laws are functions that take the kernels as they are; beside them stand three
ways to add up a window that look right and are not, and each law's test shows that
it catches them.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.factors import Factors, Spread, Style, Window
from analytics.kernels import har, ols, pairs, ridge, ridge_system, volatility
from analytics.kernels.symbols import Statistics, symbol_statistics
from analytics.kernels.windows import Floats, Panel, several_sums, slides, window_sums
from tests.analytics.kernels_world import (
    FACTORS,
    PLACES,
    SESSIONS,
    SYMBOLS,
    bits,
    matrix,
    panel_of,
)

EVERY = np.arange(len(SYMBOLS))
LAST = np.arange(SESSIONS - 24, SESSIONS)


def statistics(
    panel: Panel, sessions: Floats, columns: Floats, places: dict[str, int] = PLACES
) -> Statistics:
    return symbol_statistics(
        panel, np.asarray(sessions), np.asarray(columns, np.intp), FACTORS, places
    )


def differing(one: Statistics, other: Statistics) -> list[str]:
    return [name for name in one if bits(one[name]) != bits(other[name])]


def cut(found: Statistics, rows: object, columns: object) -> Statistics:
    return {name: values[rows][:, columns] for name, values in found.items()}


# The laws


def a_symbol_alone_is_as_among_many() -> None:
    panel = panel_of(matrix())
    among = statistics(panel, LAST, EVERY)
    for column in EVERY:
        alone = statistics(panel, LAST, [column])
        assert not differing(alone, cut(among, slice(None), [column]))


def a_session_alone_is_as_in_a_range() -> None:
    panel = panel_of(matrix())
    ranged = statistics(panel, LAST, EVERY)
    for i in (0, 7, len(LAST) - 1):
        alone = statistics(panel, LAST[i : i + 1], EVERY)
        assert not differing(alone, cut(ranged, [i], slice(None)))
        for column in EVERY:
            cell = statistics(panel, LAST[i : i + 1], [column])
            assert not differing(cell, cut(ranged, [i], [column]))


def what_is_outside_the_windows_leaves_no_bit() -> None:
    """A print of a million, before the longest window or corrected within it."""
    r = matrix()
    clean = statistics(panel_of(r), LAST[-1:], EVERY)
    panel = panel_of(r)
    before = LAST[-1] - FACTORS.reach
    for session in (before, before - 1, before - 30):
        panel.values[session] *= 1e6
    assert not differing(clean, statistics(panel, LAST[-1:], EVERY))
    # The same cells as part of a range whose first windows hold the print.
    ranged = statistics(panel, np.arange(SESSIONS - 60, SESSIONS), EVERY)
    assert not differing(clean, cut(ranged, [-1], slice(None)))


LAWS: list[Callable[[], None]] = [
    a_symbol_alone_is_as_among_many,
    a_session_alone_is_as_in_a_range,
    what_is_outside_the_windows_leaves_no_bit,
]


@pytest.mark.parametrize("law", LAWS)
def test_law(law: Callable[[], None]) -> None:
    law()


# Three ways that look right


def running(series: Floats, length: int) -> Floats:
    """What enters is added, what leaves is subtracted."""
    total = np.cumsum(np.concatenate([np.zeros_like(series[:1]), series]), axis=0)
    return total[length:] - total[:-length]


def by_blas(series: Floats, length: int) -> Floats:
    """A product with ones: the association depends on the shape."""
    windows = np.ascontiguousarray(slides(series, length)).reshape(length, -1)
    return (np.ones(length) @ windows).reshape(-1, *series.shape[1:])


def pairwise(series: Floats, length: int) -> Floats:
    """numpy's sum: pairwise where the window lies along memory, else not."""
    return slides(series, length).sum(axis=0)


PLANTED = [running, by_blas, pairwise]


def plant(monkeypatch: pytest.MonkeyPatch, sums: Callable[..., Floats]) -> None:
    for module in (har, ols, pairs, ridge, ridge_system, volatility):
        monkeypatch.setattr(module, "window_sums", sums)
    monkeypatch.setattr(
        har, "several_sums", lambda series, lengths: [sums(series, n) for n in lengths]
    )
    monkeypatch.setattr(har, "_one_window", har._windows)
    monkeypatch.setattr(
        volatility, "sums_and_squares", lambda r, n: (sums(r, n), sums(r * r, n))
    )


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_kernel_is_caught(
    planted: Callable[..., Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = window_sums(np.random.default_rng(0).normal(size=(120, 3)), 90)
    wrong = planted(np.random.default_rng(0).normal(size=(120, 3)), 90)
    np.testing.assert_allclose(wrong, right, rtol=1e-11)  # no test of values sees it
    plant(monkeypatch, planted)
    broken = 0
    for law in LAWS:
        try:
            law()
        except AssertionError:
            broken += 1
    assert broken


def test_a_running_sum_keeps_what_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, running)
    with pytest.raises(AssertionError):
        what_is_outside_the_windows_leaves_no_bit()


# More of the same


def test_the_tree_is_that_of_the_text() -> None:
    """Neighbours, pairs of neighbours, …; what does not pair from the right."""

    def tree(values: list[float]) -> float:
        nodes, tail = values, None
        while nodes:
            if len(nodes) % 2:
                piece = nodes.pop()
                tail = piece if tail is None else piece + tail
            nodes = [a + b for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
        assert tail is not None
        return tail

    rng = np.random.default_rng(3)
    series = rng.normal(size=(300, 2)) * 10.0 ** rng.integers(-9, 9, (300, 2))
    for length in (1, 2, 3, 5, 21, 22, 63, 90, 180, 210, 232, 252):
        sums = window_sums(series, length)
        for t in (0, 1, len(sums) - 1):
            window = series[t : t + length]
            expected = [tree(window[:, j].tolist()) for j in range(2)]
            assert sums[t].tolist() == expected
            assert window_sums(window, length)[0].tolist() == expected
        both = several_sums(series, (length, 21))
        assert bits(both[0]) == bits(sums)


def test_residuals_are_added_in_one_order_by_both_ways(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    y, x = rng.normal(size=(2, 120, 6))
    common = (rng.random((120, 6)) > 0.1).astype(float)
    alpha, beta = rng.normal(size=(2, 31, 6))
    for rows in (None, common):
        few = ols.residual_squares(y, x, rows, alpha, beta)
        monkeypatch.setattr(ols, "FEW_CELLS", 0)
        many = ols.residual_squares(y, x, rows, alpha, beta)
        monkeypatch.undo()
        assert bits(few) == bits(many)


def test_the_order_of_columns_changes_no_bit() -> None:
    r = matrix()
    plain = statistics(panel_of(r), LAST[-5:], EVERY)
    order = np.random.default_rng(1).permutation(len(SYMBOLS))
    places = {SYMBOLS[column]: place for place, column in enumerate(order.tolist())}
    mixed = statistics(panel_of(r[:, order]), LAST[-5:], EVERY, places)
    assert not differing(mixed, cut(plain, slice(None), order))


def test_a_symbol_among_ten_thousand() -> None:
    r = matrix()
    many = np.tile(r, (1, 1 + 10_000 // len(SYMBOLS)))
    columns = np.arange(many.shape[1])
    among = statistics(panel_of(many), LAST[-1:], columns)
    few = statistics(panel_of(r), LAST[-1:], EVERY)
    for start in range(0, many.shape[1], len(SYMBOLS)):
        chosen = slice(start, start + len(SYMBOLS))
        assert not differing(few, cut(among, slice(None), chosen))


def test_three_hundred_sessions_at_once() -> None:
    r = np.concatenate([matrix(1), matrix(2)])
    panel = panel_of(r)
    sessions = np.arange(len(r) - 300, len(r))
    columns = np.array([PLACES[s] for s in ("S0", "GAPPY", "CALM", "QUAL")])
    ranged = statistics(panel, sessions, columns)
    for i in (0, 127, 128, 299):
        alone = statistics(panel, sessions[i : i + 1], columns)
        assert not differing(alone, cut(ranged, [i], slice(None)))


def test_sessions_with_holes_between_them() -> None:
    panel = panel_of(matrix())
    ranged = statistics(panel, LAST, EVERY)
    chosen = [0, 1, 2, 9, 11, 12, 23]
    found = statistics(panel, LAST[chosen], EVERY)
    assert not differing(found, cut(ranged, chosen, slice(None)))


def test_two_threads() -> None:
    panel = panel_of(matrix())
    one = statistics(panel, LAST, EVERY)
    halves = [LAST[:12], LAST[12:]]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            jobs = [pool.submit(statistics, panel, half, EVERY) for half in halves]
            parts = [job.result() for job in jobs]
            both = {k: np.concatenate([part[k] for part in parts]) for k in one}
            assert not differing(one, both)


def test_a_panel_that_begins_later() -> None:
    """Rows before the panel's first session are missing, and are the same as that."""
    r = matrix()
    r[:100] = np.nan
    whole = panel_of(r)
    later = Panel(whole.values[100:], whole.present[100:], first=100)
    assert not differing(
        statistics(whole, LAST[-3:], EVERY), statistics(later, LAST[-3:], EVERY)
    )


TINY = Factors(
    market="M",
    interest_rate="I",
    styles=(Style("One", "A"), Style("Two", "B")),
    spreads=(Spread("A", "M"),),
    history=3,
    beta=Window(7, 3),
    spread=Window(9, 4),
    ridge=Window(7, 3),
    volatility=(Window.thirds(3), Window.thirds(5)),
    har_window=14,
    har_week=2,
    har_month=3,
    har_horizon=3,
    har_minimum=5,
    trend=Window(4, 3),
    percentile=Window.thirds(6),
    correlation=Window(7, 3),
)
RETURN = st.sampled_from([0.0, 0.01, -0.01, 0.02, 0.005, 0.003, 1e-9, 999_999.0, None])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_rectangle_has_the_bits_of_its_cells(data: st.DataObject) -> None:
    symbols = 6
    rows = data.draw(
        st.lists(
            st.lists(RETURN, min_size=symbols, max_size=symbols),
            min_size=18,
            max_size=26,
        )
    )
    panel = panel_of(np.array(rows, float))
    places = dict(zip("MIABXY", range(symbols), strict=True))
    start = data.draw(st.integers(0, len(rows) - 1))
    columns = data.draw(st.permutations(range(symbols)))
    sessions = np.arange(start, len(rows))
    found = symbol_statistics(panel, sessions, np.array(columns), TINY, places)
    row = data.draw(st.integers(0, len(sessions) - 1))
    for place, column in enumerate(columns[:3]):
        cell = symbol_statistics(
            panel, sessions[row : row + 1], np.array([column]), TINY, places
        )
        assert not differing(cell, cut(found, [row], [place]))
    for name, values in found.items():
        if values.dtype == np.float64:
            assert not np.isinf(values).any()
            assert not (np.signbit(values) & (values == 0)).any(), name


def test_elementwise_operations_have_one_result_on_any_shape() -> None:
    """What all else rests on: Python's floats are the reference, element by element."""
    rng = np.random.default_rng(11)
    size = 1031
    a = rng.normal(size=size) * 10.0 ** rng.integers(-300, 300, size)
    b = rng.normal(size=size) * 10.0 ** rng.integers(-8, 8, size)
    pairs_ = list(zip(a.tolist(), b.tolist(), strict=True))
    with np.errstate(all="ignore"):
        expected = {
            np.add: [x + y for x, y in pairs_],
            np.subtract: [x - y for x, y in pairs_],
            np.multiply: [x * y for x, y in pairs_],
            np.divide: [x / y for x, y in pairs_],
        }
        for operation, values in expected.items():
            for offset in range(9):  # alignment, and where vectors end
                for step in (1, 2, 3):
                    cut_ = slice(offset, size - offset, step)
                    found = operation(a[cut_], b[cut_])
                    assert bits(found) == bits(np.array(values)[cut_])
        roots = np.array([math.sqrt(abs(x)) for x, _ in pairs_])
        for offset in range(9):
            assert bits(np.sqrt(np.abs(a[offset:]))) == bits(roots[offset:])
