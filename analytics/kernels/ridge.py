"""Loadings of a return on several style factors at once (section 6).

Over the rows of a window where the symbol and every present factor have a return,
the factors are standardised with their population sigma to Z, and with the penalty a
‖(y - ȳ) - Zb‖² + a·‖b‖² is minimised: (ZᵀZ + aI)·b = Zᵀ(y - ȳ). A loading is b/sigma,
in the units of a beta. R² is in-sample, 1 - ‖(y - ȳ) - Zb‖²/Syy; as the solution
makes that (bᵀZᵀy + a·bᵀb)/Syy, sums that do not cancel, it is formed so.

Source: Hoerl and Kennard (1970); Hastie, Tibshirani and Friedman, section 3.4.1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np

from analytics.kernels.linear import solve
from analytics.kernels.ols import ILL_CENTRED, Target
from analytics.kernels.reasons import Codes, Reason, finite, first, flat, nulled
from analytics.kernels.ridge_system import (
    Rule,
    Sums,
    System,
    any_factor,
    build,
    centred,
    chunks,
    gathered_factors,
)
from analytics.kernels.windows import (
    Block,
    Bools,
    Cells,
    Floats,
    Indices,
    Ints,
    cells_of,
    gathered,
    window_sums,
)


@dataclass(frozen=True, slots=True)
class Ridge:
    """Results, [sessions, symbols]; those of a factor [factors, sessions, symbols].

    NaN where the reason beside it is not 0: ``reason`` for ``r2``, a factor's own
    for its loading, ``condition_reason`` for ``condition``, the condition number
    √(λmax/λmin) of ZᵀZ.
    """

    loading: Floats
    clipped: Bools
    loading_reason: Codes
    r2: Floats
    condition: Floats
    condition_reason: Codes
    n: Ints
    reason: Codes


@dataclass(frozen=True, slots=True)
class Run:
    """Sessions in a row that have the same factors, and what all symbols share."""

    start: int
    stop: int
    chosen: Indices
    z: Block
    rows: Bools
    system: System | None


@dataclass(frozen=True, slots=True)
class Right:
    """Of the symbol over complete rows: Szy [factors, …], Σy² and Syy."""

    szy: Floats
    yy: Floats
    syy: Floats


class Styles:
    """Returns of the style factors, prepared for any number of symbols."""

    def __init__(self, block: Block, rule: Rule) -> None:
        self.rule = rule
        self.factors = block.values.shape[1]
        self.runs = tuple(self._runs(block.over(rule.window.sessions)))

    def _runs(self, block: Block) -> Iterator[Run]:
        present = _present(block, self.rule)
        changes = np.flatnonzero((present[1:] != present[:-1]).any(axis=1)) + 1
        bounds = [0, *changes.tolist(), block.sessions]
        length = self.rule.window.sessions
        for start, stop in pairwise(bounds):
            chosen = np.flatnonzero(present[start])
            part = block.runs(start, stop).over(length).columns(chosen)
            rows = ~any_factor(~part.present.T)
            values = np.where(rows[:, None], part.values, 0.0)
            z = Block(values, part.present, part.sessions)
            # That of every symbol which has all the rows the factors have.
            every = rows[:, None].astype(float)
            system = build(z, every, self.rule) if len(chosen) else None
            yield Run(start, stop, chosen, z, rows, system)


def _present(block: Block, rule: Rule) -> Bools:
    """Factors with enough returns and with variance: [sessions, factors]."""
    length = rule.window.sessions
    n = window_sums(block.present.astype(float), length)
    sums = window_sums(block.values, length)
    raw = window_sums(block.values * block.values, length)
    spread = raw - sums * (sums / np.maximum(n, 1.0))
    doubtful = cells_of((spread < raw * ILL_CENTRED) & (n > 0))
    if len(doubtful[0]):
        there = gathered(block.present, length, doubtful)
        values = gathered(block.values, length, doubtful)
        mean = window_sums(values, length)[0] / n[doubtful]
        offset = (values - mean) * there
        spread[doubtful] = window_sums(offset * offset, length)[0]
    # A sum beyond a double is not "no variance": the ridge is then an overflow.
    present: Bools = (n >= rule.history) & ~flat(spread, raw)
    return present


def ridge(target: Target, styles: Styles) -> Ridge:
    """Regress every symbol on the style factors, in every session.

    Parameters
    ----------
    target
        Returns of the symbols.
    styles
        The factors, rows as in the target.

    Returns
    -------
    Ridge
        A factor that is absent (fewer than ``history`` returns in the window, or
        no variance): its loading is ``no_factor_history``; all of them absent: all
        is. ``too_few`` complete rows, ``constant`` symbol or factor on them:
        everything is null. λmin <= 1e-12·λmax: the condition number alone is null,
        ``collinear``; the loadings too if there is no penalty and no solution.
    """
    parts = [_run(target, styles, run) for run in styles.runs]
    if len(parts) == 1:
        return parts[0]
    joined = {
        field.name: np.concatenate([getattr(p, field.name) for p in parts], axis=-2)
        for field in fields(Ridge)
    }
    return Ridge(**joined)


def _run(target: Target, styles: Styles, run: Run) -> Ridge:
    """Results of the sessions of one run."""
    rule, length = styles.rule, styles.rule.window.sessions
    y = target.block.runs(run.start, run.stop).over(length)
    shape = (run.stop - run.start, y.values.shape[1])
    if run.system is None:
        return _absent(styles.factors, shape)
    common = (y.present & run.rows[:, None]).astype(float)
    system = run.system
    if not (y.present | ~run.rows[:, None]).all():
        system = build(run.z, common, rule)
    of_y = y.values * common
    sum_y = window_sums(of_y, length)
    mean_y = sum_y / np.maximum(system.sums.n, 1.0)
    yy = window_sums(of_y * y.values, length)
    szy = np.stack(
        [
            window_sums(z[:, None] * of_y, length) - total * mean_y
            for z, total in zip(run.z.values.T, system.sums.z, strict=True)
        ]
    )
    right = Right(szy, yy, yy - sum_y * mean_y)
    found = _results(system, right, rule)
    ill = cells_of(
        (system.ill | (right.syy < yy * ILL_CENTRED))
        & (system.sums.n >= rule.window.minimum)
    )
    _replace_ill(found, y, run, common, ill, rule)
    return _spread(found, run.chosen, styles.factors)


def _replace_ill(
    found: Ridge, y: Block, run: Run, common: Floats, ill: Cells, rule: Rule
) -> None:
    """Do the cells again whose sums lost digits, from centred returns, in place."""
    for cells in chunks(ill):
        better = _results(*_centred_first(y, run, common, cells, rule), rule)
        for field in fields(Ridge):
            whole, part = getattr(found, field.name), getattr(better, field.name)
            whole[..., cells[0], cells[1]] = part[..., 0, :]


def _centred_first(
    y: Block, run: Run, common: Floats, cells: Cells, rule: Rule
) -> tuple[System, Right]:
    """Form the sums of some cells from centred returns; one session, K symbols."""
    length = rule.window.sessions
    there, columns = gathered_factors(run.z, common, cells, rule)
    columns.insert(0, gathered(y.values, length, cells))
    dy, *dz = (centred(column, there) for column in columns)
    q = len(dz)
    n = window_sums(there, length)
    szz = np.empty((q, q, *n.shape))
    for j in range(q):
        for k in range(j + 1):
            szz[j, k] = szz[k, j] = window_sums(dz[j] * dz[k], length)
    raw = [window_sums(column * column * there, length) for column in columns]
    sums = Sums(n, np.zeros((q, *n.shape)), np.stack(raw[1:]), szz)
    szy = np.stack([window_sums(each * dy, length) for each in dz])
    system = System(sums, rule.alpha)
    thin = cells_of(system.thin)
    if len(thin[0]):
        system.sharpen(thin, np.stack(dz)[:, :, thin[1]])
    return system, Right(szy, raw[0], window_sums(dy * dy, length))


def _results(system: System, right: Right, rule: Rule) -> Ridge:
    """Solve, and say what is null; only the factors that are present."""
    shape = right.yy.shape
    n = np.broadcast_to(system.sums.n, shape)
    moment = right.szy / system.sigma
    b = solve(system.factors, moment)
    explained = np.zeros(shape)
    for each, own in zip(b, moment, strict=True):
        explained = explained + (each * own + system.alpha * (each * each))
    r2 = np.clip(explained / right.syy, 0.0, 1.0)
    reason = first(
        shape,
        (Reason.TOO_FEW, n < rule.window.minimum),
        (Reason.CONSTANT, system.flat | flat(right.syy, right.yy)),
    )
    reason = finite(reason, explained, right.yy, *system.sums.zz, *b)
    solved = np.where(
        (reason == 0) & ~system.positive, np.uint8(Reason.COLLINEAR), reason
    )
    loading = b / system.sigma
    each_reason = np.broadcast_to(solved, loading.shape).copy()
    condition_reason = np.where(
        (reason == 0) & system.collinear, np.uint8(Reason.COLLINEAR), reason
    )
    return Ridge(
        loading=nulled(np.clip(loading, -rule.cap, rule.cap), each_reason),
        clipped=(np.abs(loading) > rule.cap) & (each_reason == 0),
        loading_reason=each_reason,
        r2=nulled(r2, solved),
        condition=nulled(np.broadcast_to(system.condition, shape), condition_reason),
        condition_reason=condition_reason,
        n=n.astype(np.int64),
        reason=solved,
    )


def _spread(found: Ridge, chosen: Indices, factors: int) -> Ridge:
    """Put the present factors in their places among all."""
    if len(chosen) == factors:
        return found
    whole = _absent(factors, found.reason.shape)
    for name in ("loading", "clipped", "loading_reason"):
        getattr(whole, name)[chosen] = getattr(found, name)
    return replace(
        found,
        loading=whole.loading,
        clipped=whole.clipped,
        loading_reason=whole.loading_reason,
    )


def _absent(factors: int, shape: tuple[int, int]) -> Ridge:
    """No factor has a history."""
    reason = np.full(shape, np.uint8(Reason.NO_FACTOR_HISTORY))
    each = np.full((factors, *shape), np.uint8(Reason.NO_FACTOR_HISTORY))
    return Ridge(
        loading=np.full(each.shape, np.nan),
        clipped=np.zeros(each.shape, bool),
        loading_reason=each,
        r2=np.full(shape, np.nan),
        condition=np.full(shape, np.nan),
        condition_reason=reason,
        n=np.zeros(shape, np.int64),
        reason=reason,
    )
