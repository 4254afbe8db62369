"""The nearest correlation matrix, by alternating projections.

Pairwise complete rows can give correlations that no data could have. They are
replaced by the matrix nearest to them (Frobenius) that is positive semidefinite and
has a unit diagonal: projections on the two sets in turn, the first with Dykstra's
correction.

Source: Higham (2002), Computing the nearest correlation matrix, IMA Journal of
Numerical Analysis 22, algorithm 3.3.
"""

import numpy as np

from analytics.kernels.linear import cholesky, eigen
from analytics.kernels.windows import Bools, Floats


def indefinite(matrices: Floats, tolerance: float) -> Bools:
    """Whether the smallest eigenvalue is below ``-tolerance``.

    A + tolerance·I has a Cholesky factor if and only if it is not.

    Parameters
    ----------
    matrices
        [n, n, matrices], symmetric.
    """
    raised = matrices.copy()
    each = np.arange(len(matrices))
    raised[each, each] += tolerance
    return ~cholesky(raised)[1]


def nearest_correlations(
    matrices: Floats, tolerance: float, rounds: int
) -> tuple[Floats, Bools]:
    """Nearest correlation matrices.

    Parameters
    ----------
    matrices
        [n, n, matrices], symmetric, unit diagonal.
    tolerance
        The largest of the relative changes of both projections and of their
        distance, at which a matrix is done.
    rounds
        At most so many.

    Returns
    -------
    nearest
        The same shape.
    converged
        [matrices]; where False the matrix is not to be used.

    Examples
    --------
    >>> c = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])[:, :, None]
    >>> nearest_correlations(c, 1e-12, 10_000)[0][:, :, 0].round(9)
    array([[ 1. ,  0.5, -0.5],
           [ 0.5,  1. ,  0.5],
           [-0.5,  0.5,  1. ]])
    """
    result = matrices.copy()
    converged = np.zeros(matrices.shape[2], bool)
    left = np.arange(matrices.shape[2])
    unit = matrices
    correction = np.zeros_like(matrices)
    psd = matrices
    for _ in range(rounds):
        if not len(left):
            break
        shifted = unit - correction
        before = psd, unit
        psd = _semidefinite(shifted)
        correction = psd - shifted
        unit = _unit_diagonal(psd)
        done = _change((psd, unit), before) <= tolerance
        result[:, :, left[done]] = unit[:, :, done]
        converged[left[done]] = True
        left, going = left[~done], ~done
        unit, psd = unit[:, :, going], psd[:, :, going]
        correction = correction[:, :, going]
    return result, converged


def _semidefinite(matrices: Floats) -> Floats:
    """Take the negative eigenvalues out."""
    values, vectors = eigen(matrices)
    negative = np.minimum(values, 0.0)
    result = matrices
    for value, vector in zip(negative, vectors.swapaxes(0, 1), strict=True):
        if value.any():
            result = result - vector[:, None] * (vector[None, :] * value)
    return (result + result.swapaxes(0, 1)) * 0.5


def _unit_diagonal(matrices: Floats) -> Floats:
    result = matrices.copy()
    each = np.arange(len(matrices))
    result[each, each] = 1.0
    return result


def _change(now: tuple[Floats, Floats], before: tuple[Floats, Floats]) -> Floats:
    """Largest of the relative changes, and of the distance of the two."""
    size = [_largest_row(matrix) for matrix in now]
    steps = [
        _largest_row(new - old) / scale
        for new, old, scale in zip(now, before, size, strict=True)
    ]
    return np.maximum(
        np.maximum(steps[0], steps[1]), _largest_row(now[1] - now[0]) / size[1]
    )


def _largest_row(matrices: Floats) -> Floats:
    """Infinity norm, rows summed in their order."""
    total = np.zeros(matrices.shape[1:])
    for column in np.abs(matrices):
        total = total + column
    largest: Floats = total.max(axis=0)
    return largest
