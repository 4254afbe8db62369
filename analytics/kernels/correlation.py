"""Correlations within a portfolio: its names, their matrix, and what it says.

Section 8. Names are the symbols that weigh enough; the correlations of pairs come
from ``pairs`` and are shared by all holders. A matrix that no data could have is
replaced by the nearest one; it can only arise where names have different rows, for
a matrix over common rows is positive semidefinite by construction.

Source: effective number of bets as in Choueifaty and Coignard (2008) for equal
volatilities; Higham (2002) for the repair.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.factors import Factors
from analytics.kernels.aggregate import MONEY_UNIT, Holdings, share
from analytics.kernels.nearest import indefinite, nearest_correlations
from analytics.kernels.reasons import Codes, Reason, first, nulled
from analytics.kernels.windows import (
    Bools,
    Floats,
    Indices,
    Ints,
    fold,
    folding,
    window_sums,
)

Counts = NDArray[np.int32]

NO_RISK = 1e-12
"""wᵀCw of at most this has no reciprocal worth saying."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names of some portfolios that have equally many, in the holdings' order.

    Attributes
    ----------
    portfolios
        [portfolios].
    entries
        Entries of the holdings, [names, portfolios].
    """

    portfolios: Indices
    entries: Indices


@dataclass(frozen=True, slots=True)
class Matrices:
    """Correlations of some portfolios that have equally many names.

    Attributes
    ----------
    names
        Whose they are.
    rho, n, pair_reason
        Upper triangle row by row, [pairs, portfolios]; rho NaN where null.
    repaired
        rho is that of the nearest correlation matrix, [portfolios].
    null_pairs
        Pairs without rho, [portfolios]; more than none is ``incomplete``.
    mean, weighted_mean
        Signed, over the pairs that have rho; weighted by w_i·w_j with
        w = |MV|/Σ|MV|. [portfolios].
    effective
        1/(wᵀCw), [portfolios].
    mean_reason, effective_reason
        Of both means, and of the effective number.
    cluster
        [names, portfolios]: names with one number are connected by |rho| >= 0.7; 0
        is none.
    """

    names: Names
    rho: Floats
    n: Counts
    pair_reason: Codes
    repaired: Bools
    null_pairs: Ints
    mean: Floats
    weighted_mean: Floats
    mean_reason: Codes
    effective: Floats
    effective_reason: Codes
    cluster: Ints


def names_of(holdings: Holdings, factors: Factors) -> list[Names]:
    """Choose the names of every portfolio, grouped by how many there are.

    A name has |MV| of at least ``name_value`` and ``name_share`` of gross, in exact
    integers. Portfolios without a name, or in overflow, are in no group.
    """
    owner, size = holdings.owner, np.abs(holdings.net)
    least = np.maximum(
        share(holdings.gross, factors.name_share), factors.name_value * int(MONEY_UNIT)
    )
    chosen = (size >= least[owner]) & ~holdings.overflow[owner] & (size > 0)
    entries = np.flatnonzero(chosen)
    counts = np.bincount(owner[entries], minlength=len(holdings.nav))
    begin = np.concatenate([[0], np.cumsum(counts)[:-1]])
    groups = []
    for k in np.unique(counts[counts > 0]).tolist():
        portfolios = np.flatnonzero(counts == k)
        places = begin[portfolios] + np.arange(k)[:, None]
        groups.append(Names(portfolios, entries[places]))
    return groups


@lru_cache(maxsize=256)
def upper(k: int) -> tuple[Indices, Indices]:
    """Rows and columns of the upper triangle, row by row."""
    row, column = np.triu_indices(k, 1)
    return row, column


def matrices(
    holdings: Holdings,
    names: Names,
    pairs: tuple[Floats, Counts, Codes],
    own: Ints | None,
    factors: Factors,
) -> Matrices:
    """Say what the correlations of equally many names mean.

    Parameters
    ----------
    holdings
        Weights.
    names
        One group of ``names_of``.
    pairs
        rho, n and reason of each pair, [pairs, portfolios], row by row.
    own
        Returns in the window of each name by itself, [names, portfolios]; None where
        no pair lacks a row or has a reason.
    factors
        Thresholds.

    Returns
    -------
    Matrices
        Means: ``too_few`` (a single name), else the first reason of the pairs when
        none has rho. Effective number: the first reason of a null pair,
        ``collinear`` when wᵀCw <= 1e-12. ``not_converged``: everything is null.
    """
    rho, n, pair_reason = pairs
    k, count = names.entries.shape
    null: Bools | None = None
    missing, repaired = np.zeros(count, np.int64), np.zeros(count, bool)
    known = rho
    if own is not None:
        null = pair_reason != 0
        missing = null.sum(axis=0)
        doubtful = np.flatnonzero((missing == 0) & ~_same_rows(n, own))
        if len(doubtful):
            failed = np.zeros(count, bool)
            rho, changed, lost = _repaired(rho, k, doubtful, factors)
            repaired[changed], failed[lost] = True, True
            pair_reason = np.where(failed, np.uint8(Reason.NOT_CONVERGED), pair_reason)
            null = null | failed
        known = np.where(null, 0.0, rho)
        rho = nulled(rho, pair_reason)
    said = _said(known, null, pair_reason, _weights(holdings, names))
    return Matrices(
        names=names,
        rho=rho,
        n=n,
        pair_reason=pair_reason,
        repaired=repaired,
        null_pairs=missing,
        cluster=_clusters(known, k, factors.cluster),
        **said,
    )


def _weights(holdings: Holdings, names: Names) -> Floats:
    """Share of each name in Σ|MV| of the names."""
    size = np.abs(holdings.net[names.entries]) / MONEY_UNIT
    weights: Floats = size / window_sums(size, len(size))[0]
    return weights


def _same_rows(n: Counts, own: Ints) -> Bools:
    """Whether every pair has all the rows that either of its names has."""
    if not len(n):
        return np.ones(n.shape[1], bool)
    same: Bools = n.min(axis=0) == own.max(axis=0)
    return same


def _square(rho: Floats, k: int) -> Floats:
    """Full matrices [k, k, portfolios] of upper triangles."""
    row, column = upper(k)
    whole = np.ones((k, k, rho.shape[1]))
    whole[row, column] = rho
    whole[column, row] = rho
    return whole


def _repaired(
    rho: Floats, k: int, doubtful: Indices, factors: Factors
) -> tuple[Floats, Indices, Indices]:
    """Replace what no data could have; also say where, and where it failed."""
    whole = _square(rho[:, doubtful], k)
    bad = indefinite(whole, factors.psd_tolerance)
    places = doubtful[bad]
    near, converged = nearest_correlations(
        whole[:, :, bad], factors.nearest_tolerance, factors.nearest_rounds
    )
    result = rho.copy()
    result[:, places] = np.clip(near[upper(k)], -1.0, 1.0)
    return result, places[converged], places[~converged]


def _said(
    rho: Floats, null: Bools | None, reason: Codes, weights: Floats
) -> dict[str, Any]:
    """Means over the pairs that have rho, and the effective number.

    ``null`` is None where no pair is.
    """
    k, count = weights.shape
    if k == 1:
        none = np.full(count, np.nan)
        return {
            "mean": none,
            "weighted_mean": none,
            "mean_reason": np.full(count, np.uint8(Reason.TOO_FEW)),
            "effective": np.ones(count),
            "effective_reason": np.zeros(count, np.uint8),
        }
    order = folding(len(rho))
    row, column = (place[order] for place in upper(k))
    products, known = weights[row] * weights[column], rho.take(order, axis=0)
    cross = fold(products * known)[0]
    total = fold(known)[0]
    number, why = np.full(count, len(rho)), np.zeros(count, np.uint8)
    if null is not None:
        number, why = number - null.sum(axis=0), _first_reason(reason)
        products = np.where(null.take(order, axis=0), 0.0, products)
    weighed = fold(products)[0]
    risk = window_sums(weights * weights, k)[0] + 2.0 * cross
    none_left = np.where(number == 0, why, np.uint8(0))
    effective_reason = np.where(
        (why == 0) & (risk <= NO_RISK), np.uint8(Reason.COLLINEAR), why
    )
    some = np.maximum(number, 1)
    return {
        "mean": nulled(total / some, none_left),
        "weighted_mean": nulled(cross / np.where(number > 0, weighed, 1.0), none_left),
        "mean_reason": none_left,
        "effective": nulled(
            1.0 / np.where(risk > NO_RISK, risk, 1.0), effective_reason
        ),
        "effective_reason": effective_reason,
    }


def _first_reason(reason: Codes) -> Codes:
    """Smallest code of a null pair; 0 where there is none."""
    if not reason.any():
        return np.zeros(reason.shape[1], np.uint8)
    worst = np.where(reason == 0, np.uint8(255), reason).min(axis=0)
    return np.where(worst == 255, np.uint8(0), worst)


def _clusters(rho: Floats, k: int, least: float) -> Ints:
    """Give the components of |rho| >= ``least`` a number: 1 + their first name."""
    labels = np.zeros((k, rho.shape[1]), np.int64)
    if k == 1:
        return labels
    joined = (rho >= least) | (rho <= -least)
    some = np.flatnonzero(joined.any(axis=0))
    if not len(some):
        return labels
    near = _square(joined[:, some].astype(float), k) > 0
    own = np.broadcast_to(np.arange(1, k + 1)[:, None], (k, len(some)))
    while True:
        # A name takes the smallest number among its neighbours and itself.
        least_near = np.where(near, own[None], k + 1).min(axis=1)
        if (least_near == own).all():
            break
        own = least_near
    alone = near.sum(axis=1) == 1
    labels[:, some] = np.where(alone, 0, own)
    return labels


def nothing(holdings: Holdings) -> Codes:
    """Why a portfolio without names has no correlations."""
    return first(
        holdings.nav.shape,
        (Reason.OVERFLOW, holdings.overflow),
        (Reason.NO_POSITIONS, ~holdings.held),
        (Reason.NO_COVERAGE, np.ones(holdings.nav.shape, bool)),
    )
