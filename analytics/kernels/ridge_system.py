"""The factors of a ridge over complete rows: ZᵀZ + aI, solved and judged.

``System`` is made of raw sums. Where ZᵀZ is so thin that it has lost digits of its
smallest eigenvalue, the condition number is that of Z itself, by singular values.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analytics.factors import Window
from analytics.kernels.linear import cholesky, eigen, singular
from analytics.kernels.ols import ILL_CENTRED
from analytics.kernels.reasons import flat
from analytics.kernels.windows import (
    Block,
    Bools,
    Cells,
    Floats,
    cells_of,
    gathered,
    window_sums,
)

COLLINEAR = 1e-12
"""λmin of at most this part of λmax: the factors say the same."""

THIN = 1e-6
"""λmin below this part of λmax: ZᵀZ has lost digits of it that Z itself has."""

CENTRED_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Rule:
    """Window, returns a factor needs, penalty, cap of a loading."""

    window: Window
    history: int
    alpha: float
    cap: float


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
        self.flat = any_factor(flat(variation, sums.zz))
        self.ill = any_factor(variation < sums.zz * ILL_CENTRED)
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
        every = correlation.reshape(*shape[:2], -1)
        values = eigen(every, vectors=False)[0].reshape(shape[1:])
        low, high = values.min(axis=0), values.max(axis=0)
        self.thin: Bools = low <= THIN * high
        self.collinear: Bools = low <= COLLINEAR * high
        self.condition = np.sqrt(high / np.where(self.collinear, 1.0, low))

    def sharpen(self, cells: Cells, offsets: Floats) -> None:
        """Do the condition of some cells again, from centred returns.

        Parameters
        ----------
        cells
            Sessions and symbols of K cells.
        offsets
            [factors, rows, K], centred, 0 in rows that are not complete.
        """
        size = np.sqrt(
            window_sums((offsets * offsets).swapaxes(0, 1), offsets.shape[1])
        )
        values = singular(offsets / np.where(size > 0, size, 1.0).swapaxes(0, 1))
        low, high = values.min(axis=0), values.max(axis=0)
        collinear = low * low <= COLLINEAR * (high * high)
        self.collinear[cells] = collinear
        self.condition[cells] = high / np.where(collinear, 1.0, low)


def factor_sums(z: Floats, common: Floats, length: int) -> Sums:
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


def build(z: Block, common: Floats, rule: Rule) -> System:
    """Build a system over the rows where ``common`` [rows, symbols] is 1."""
    system = System(factor_sums(z.values, common, rule.window.sessions), rule.alpha)
    thin = cells_of(system.thin & (system.sums.n >= rule.window.minimum))
    for cells in chunks(thin):
        there, columns = gathered_factors(z, common, cells, rule)
        system.sharpen(cells, np.stack([centred(c, there) for c in columns]))
    return system


def chunks(cells: Cells) -> Iterator[Cells]:
    """Take some cells at a time."""
    for start in range(0, len(cells[0]), CENTRED_AT_ONCE):
        yield cells[0][start:][:CENTRED_AT_ONCE], cells[1][start:][:CENTRED_AT_ONCE]


def gathered_factors(
    z: Block, common: Floats, cells: Cells, rule: Rule
) -> tuple[Floats, list[Floats]]:
    """Which rows of some cells are complete, and the factors in them: [rows, K]."""
    length = rule.window.sessions
    rows = cells[0] + np.arange(length)[:, None]
    return gathered(common, length, cells), [column[rows] for column in z.values.T]


def centred(column: Floats, there: Floats) -> Floats:
    """Subtract the mean over the complete rows, and what that left."""
    n = window_sums(there, len(there))
    for _ in range(2):
        mean = window_sums(column * there, len(there)) / n
        column = (column - mean) * there
    return column


def any_factor(where: Bools) -> Bools:
    """Whether it holds for one of the first axis."""
    found: Bools = np.logical_or.reduce(where, axis=0)
    return found
