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

from analytics.factors import Window
from analytics.kernels.linear import cholesky, eigen, solve
from analytics.kernels.ols import ILL_CENTRED, NO_VARIANCE, Target
from analytics.kernels.reasons import Codes, Reason, finite, first, nulled
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

COLLINEAR = 1e-12
"""λmin of at most this part of λmax: the factors say the same."""

CENTRED_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Rule:
    """Window, returns a factor needs, penalty, cap of a loading."""

    window: Window
    history: int
    alpha: float
    cap: float


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
class Sums:
    """Of the factors over complete rows.

    Attributes
    ----------
    n
        Rows, [sessions, symbols].
    z, zz
        Raw Σz and Σz² of each factor, [factors, sessions, symbols].
    szz
        Centred Σzz of each pair, [factors, factors, sessions, symbols].
    """

    n: Floats
    z: Floats
    zz: Floats
    szz: Floats


class System:
    """ZᵀZ + aI of every window, ready to be solved; one symbol may stand for all."""

    def __init__(self, sums: Sums, alpha: float) -> None:
        self.sums = sums
        self.alpha = alpha
        each = np.arange(len(sums.zz))
        variation = sums.szz[each, each]
        self.flat = _any(variation <= sums.zz * NO_VARIANCE)
        self.ill = _any(variation < sums.zz * ILL_CENTRED)
        solid = np.where(variation > 0, variation, 1.0)
        self.sigma = np.sqrt(solid / np.maximum(sums.n, 1.0))
        root = np.sqrt(solid)
        # Correlations: ZᵀZ is n times them, and both have one condition number.
        correlation = sums.szz / (root[:, None] * root[None, :])
        correlation[each, each] = 1.0
        known = np.isfinite(correlation).all(axis=(0, 1))
        correlation = np.where(known, correlation, 0.0)
        normal = correlation * sums.n
        normal[each, each] += alpha
        self.factors, self.positive = cholesky(normal)
        self._condition(correlation)

    def _condition(self, correlation: Floats) -> None:
        shape = correlation.shape
        flat = correlation.reshape(*shape[:2], -1)
        values = eigen(flat, vectors=False)[0].reshape(shape[1:])
        low, high = values.min(axis=0), values.max(axis=0)
        self.collinear: Bools = low <= COLLINEAR * high
        self.condition = np.sqrt(high / np.where(self.collinear, 1.0, low))


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
            rows = ~_any(~part.present.T)
            values = np.where(rows[:, None], part.values, 0.0)
            z = Block(values, part.present, part.sessions)
            system = self._shared(z, rows) if len(chosen) else None
            yield Run(start, stop, chosen, z, rows, system)

    def _shared(self, z: Block, rows: Bools) -> System:
        """Build the system of a symbol that has every row the factors have."""
        all_rows = rows[:, None].astype(float)
        sums = _factor_sums(z.values, all_rows, self.rule.window.sessions)
        return System(sums, self.rule.alpha)


def _any(where: Bools) -> Bools:
    """Whether it holds for one of the first axis."""
    found: Bools = np.logical_or.reduce(where, axis=0)
    return found


def _present(block: Block, rule: Rule) -> Bools:
    """Factors with enough returns and with variance: [sessions, factors]."""
    length = rule.window.sessions
    n = window_sums(block.present.astype(float), length)
    sums = window_sums(block.values, length)
    raw = window_sums(block.values * block.values, length)
    centred = raw - sums * (sums / np.maximum(n, 1.0))
    doubtful = cells_of((centred < raw * ILL_CENTRED) & (n > 0))
    if len(doubtful[0]):
        there = gathered(block.present, length, doubtful)
        values = gathered(block.values, length, doubtful)
        mean = window_sums(values, length)[0] / n[doubtful]
        offset = (values - mean) * there
        centred[doubtful] = window_sums(offset * offset, length)[0]
    # A sum beyond a double is not "no variance": the ridge is then an overflow.
    flat = centred <= raw * NO_VARIANCE
    present: Bools = (n >= rule.history) & ~flat
    return present


def _factor_sums(z: Floats, common: Floats, length: int) -> Sums:
    """Sum z [rows, factors] over the rows where ``common`` [rows, symbols] is 1."""
    n = window_sums(common, length)
    each = [z[:, j, None] * common for j in range(z.shape[1])]
    sums = np.stack([window_sums(column, length) for column in each])
    means = sums / np.maximum(n, 1.0)
    q = len(each)
    szz = np.empty((q, q, *n.shape))
    zz = np.empty((q, *n.shape))
    for j in range(q):
        for k in range(j + 1):
            raw = window_sums(each[j] * z[:, k, None], length)
            szz[j, k] = szz[k, j] = raw - sums[j] * means[k]
            if j == k:
                zz[j] = raw
    return Sums(n, sums, zz, szz)


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
        system = System(_factor_sums(run.z.values, common, length), rule.alpha)
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
    for start in range(0, len(ill[0]), CENTRED_AT_ONCE):
        cells = (ill[0][start:][:CENTRED_AT_ONCE], ill[1][start:][:CENTRED_AT_ONCE])
        better = _results(*_centred_first(y, run, common, cells, rule), rule)
        for field in fields(Ridge):
            whole, part = getattr(found, field.name), getattr(better, field.name)
            whole[..., cells[0], cells[1]] = part[..., 0, :]


def _centred_first(
    y: Block, run: Run, common: Floats, cells: Cells, rule: Rule
) -> tuple[System, Right]:
    """Form the sums of some cells from centred returns; one session, K symbols."""
    length = rule.window.sessions
    there = gathered(common, length, cells)
    n = window_sums(there, length)
    rows = cells[0] + np.arange(length)[:, None]
    columns = [gathered(y.values, length, cells)]
    columns += [z[rows] for z in run.z.values.T]
    offsets = []
    for column in columns:
        mean = window_sums(column * there, length) / n
        offsets.append((column - mean) * there)
    dy, *dz = offsets
    q = len(dz)
    szz = np.empty((q, q, *n.shape))
    for j in range(q):
        for k in range(j + 1):
            szz[j, k] = szz[k, j] = window_sums(dz[j] * dz[k], length)
    raw = [window_sums(column * column * there, length) for column in columns]
    sums = Sums(n, np.zeros((q, *n.shape)), np.stack(raw[1:]), szz)
    szy = np.stack([window_sums(each * dy, length) for each in dz])
    right = Right(szy, raw[0], window_sums(dy * dy, length))
    return System(sums, rule.alpha), right


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
        (Reason.CONSTANT, system.flat | (right.syy <= right.yy * NO_VARIANCE)),
    )
    reason = finite(reason, explained, *system.sums.zz, *b)
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
