"""Small symmetric matrices, many at once, without LAPACK.

LAPACK's bits depend on its build, its threads and the size of what it is given.
Here every step is an elementwise operation on arrays whose last axis counts the
matrices, so a matrix has the same bits alone and among thousands.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analytics.kernels.windows import Bools, Floats, Indices, window_sums

SWEEPS = 40
NEGLIGIBLE = 1e-18
ORTHOGONAL = 1e-14
ELEMENTS_AT_ONCE = 16_000


def cholesky(matrices: Floats) -> tuple[Floats, Bools]:
    """Lower factors L of A = L·Lᵀ.

    Parameters
    ----------
    matrices
        [n, n, matrices], symmetric.

    Returns
    -------
    factors
        The same shape; of no use where the second is False.
    positive
        [matrices]: every pivot is positive.
    """
    rest = matrices.copy()
    factors = np.zeros_like(rest)
    positive = np.ones(rest.shape[2:], bool)
    for k in range(len(rest)):
        positive &= rest[k, k] > 0
        factors[k, k] = np.sqrt(np.where(rest[k, k] > 0, rest[k, k], 1.0))
        column = rest[k + 1 :, k] / factors[k, k]
        factors[k + 1 :, k] = column
        rest[k + 1 :, k + 1 :] -= column[:, None] * column[None, :]
    return factors, positive


def solve(factors: Floats, right: Floats) -> Floats:
    """Solve L·Lᵀ·b = right.

    Parameters
    ----------
    factors
        [n, n, ...], from ``cholesky``.
    right
        [n, ...]; the trailing axes broadcast.
    """
    n = len(right)
    b = list(right)
    for i in range(n):
        for j in range(i):
            b[i] = b[i] - factors[i, j] * b[j]
        b[i] = b[i] / factors[i, i]
    for i in reversed(range(n)):
        for j in range(i + 1, n):
            b[i] = b[i] - factors[j, i] * b[j]
        b[i] = b[i] / factors[i, i]
    return np.stack(b)


def eigen(matrices: Floats, *, vectors: bool = True) -> tuple[Floats, Floats]:
    """Eigenvalues and eigenvectors by Jacobi's rotations.

    Disjoint pairs are rotated together, in the fixed order of a round-robin. An
    element that is negligible beside the matrix is not rotated; a matrix whose
    elements all are is left as it is, to the last bit, while others go on.

    Parameters
    ----------
    matrices
        [n, n, matrices], symmetric and finite.
    vectors
        Whether eigenvectors are wanted too.

    Returns
    -------
    values
        [n, matrices], in no particular order.
    vectors
        [n, n, matrices]: column j belongs to value j. Empty if not wanted.

    Notes
    -----
    Source: Golub and Van Loan, Matrix Computations, section 8.5. Absolute error
    about 1e-16 of the largest eigenvalue. Converges quadratically: 5 to 9 sweeps.
    """
    n, count = len(matrices), matrices.shape[2]
    values = np.empty((n, count))
    turned = np.empty((n if vectors else 0, n, count))
    chunk = max(ELEMENTS_AT_ONCE // (n * n), 1)
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        values[:, part], turned[:, :, part] = _diagonal(matrices[:, :, part], vectors)
    return values, turned


def _diagonal(matrices: Floats, vectors: bool) -> tuple[Floats, Floats]:
    """Rotate some matrices until nothing is left beside their diagonals."""
    n = len(matrices)
    a = matrices.copy()
    turned = np.zeros((n if vectors else 0, *a.shape[1:]))
    if vectors:
        turned[np.arange(n), np.arange(n)] = 1.0
    least = NEGLIGIBLE * np.abs(a).max(axis=(0, 1))
    for _ in range(SWEEPS):
        moved = [_rotate(a, turned, p, q, least) for p, q in _rounds(n)]
        if not any(moved):
            break
    return a[np.arange(n), np.arange(n)], turned


def singular(columns: Floats) -> Floats:
    """Singular values of tall matrices by one-sided rotations of their columns.

    The squares of the columns are never formed into a matrix, so a small value has as
    many digits as the columns allow: eigenvalues of AᵀA lose twice as many.

    Parameters
    ----------
    columns
        [n, rows, matrices], finite; changed in place.

    Returns
    -------
    ndarray
        [n, matrices], in no particular order.

    Notes
    -----
    Source: Golub and Van Loan, section 8.6.3 (Hestenes). Absolute error about 1e-16
    of the largest value.
    """
    length = columns.shape[1]
    for _ in range(SWEEPS):
        moved = [_straighten(columns, p, q) for p, q in _rounds(len(columns))]
        if not any(moved):
            break
    squares = window_sums((columns * columns).swapaxes(0, 1), length)[0]
    found: Floats = np.sqrt(squares)
    return found


def _straighten(a: Floats, p: Indices, q: Indices) -> bool:
    """Turn columns p and q until they are orthogonal, in place."""
    first, second = a[p].swapaxes(0, 1), a[q].swapaxes(0, 1)
    app, aqq, apq = (
        window_sums(product, len(product))[0]
        for product in (first * first, second * second, first * second)
    )
    wanted = np.abs(apq) > ORTHOGONAL * np.sqrt(app * aqq)
    if not wanted.any():
        return False
    _turn(a, p, q, *_angles(app, aqq, apq, wanted))
    return True


@lru_cache(maxsize=256)
def _rounds(n: int) -> list[tuple[Indices, Indices]]:
    """Pair everybody with everybody, disjoint pairs at a time."""
    players = list(range(n)) + [-1] * (n % 2)
    half = len(players) // 2
    rounds = []
    for _ in range(len(players) - 1):
        pairs = list(zip(players[:half], reversed(players[half:]), strict=True))
        real = np.array([sorted(pair) for pair in pairs if -1 not in pair])
        real = real.astype(np.intp).reshape(-1, 2)
        rounds.append((real[:, 0], real[:, 1]))
        players = [players[0], players[-1], *players[1:-1]]
    return rounds


def _rotate(a: Floats, turned: Floats, p: Indices, q: Indices, least: Floats) -> bool:
    """Annihilate the elements (p, q), in place; False when none had to be."""
    element = a[p, q]
    wanted = np.abs(element) > least
    if not wanted.any():
        return False
    cosine, sine = _angles(a[p, p], a[q, q], element, wanted)
    _turn(a, p, q, cosine, sine)
    _turn(a.swapaxes(0, 1), p, q, cosine, sine)
    zero = np.where(wanted, 0.0, a[p, q])
    a[p, q] = zero
    a[q, p] = zero
    if len(turned):
        _turn(turned.swapaxes(0, 1), p, q, cosine, sine)
    return True


def _angles(
    app: Floats, aqq: Floats, apq: Floats, wanted: Bools
) -> tuple[Floats, Floats]:
    """Cosine and sine of the smaller rotation; 1 and 0 where none is wanted."""
    ratio = (aqq - app) / np.where(wanted, 2.0 * apq, 1.0)
    tangent = 1.0 / (np.abs(ratio) + np.sqrt(ratio * ratio + 1.0))
    tangent = np.where(wanted, np.where(ratio < 0, -tangent, tangent), 0.0)
    cosine = 1.0 / np.sqrt(tangent * tangent + 1.0)
    return cosine, cosine * tangent


def _turn(
    a: NDArray[np.float64], p: Indices, q: Indices, cosine: Floats, sine: Floats
) -> None:
    """Turn the rows p and q of a matrix, in place."""
    first, second = a[p], a[q]
    c, s = cosine[:, None], sine[:, None]
    a[p] = c * first - s * second
    a[q] = s * first + c * second
