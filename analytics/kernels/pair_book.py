"""Correlations of the pairs that some portfolios need, computed once for all of them.

Those of several sessions side by side share the sums of their windows; those of one
session somebody may keep between two calls.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from analytics.factors import Factors
from analytics.kernels.aggregate import Holdings, used_columns
from analytics.kernels.correlation import Matrices, Names, matrices, upper
from analytics.kernels.pairs import correlations
from analytics.kernels.reasons import Codes, Reason
from analytics.kernels.windows import (
    Bools,
    Floats,
    Indices,
    Ints,
    Panel,
    window_sums,
)

TABLE = 4_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """Pairs in one session, and where those are that were asked for.

    ``whole``: none that was asked for lacks a row or has a reason.
    """

    rho: Floats
    n: NDArray[np.int32]
    reason: Codes
    whole: bool


class KeptPairs(Protocol):
    """Correlations that somebody keeps between two calls."""

    def keeps(self, session: int) -> bool:
        """Whether pairs of that session are kept."""

    def of(self, panel: Panel, keys: Ints) -> Found:
        """Give every pair of columns, by ``pair_keys``; those of ``keys`` are right."""


def pair_keys(one: Indices, other: Indices, width: int) -> Ints:
    """One number for each pair of columns, whichever comes first.

    Examples
    --------
    >>> pair_keys(np.array([1, 2]), np.array([2, 1]), 10).tolist()
    [12, 12]
    """
    return np.minimum(one, other) * width + np.maximum(one, other)


class PairBook:
    """Correlations of every pair that some portfolios need in some sessions."""

    @np.errstate(all="ignore")
    def __init__(
        self,
        panel: Panel,
        holdings: Sequence[Holdings],
        groups: Sequence[Sequence[Names]],
        factors: Factors,
        kept: KeptPairs | None,
    ) -> None:
        self._panel = panel
        self._factors = factors
        self._plain = np.int32(factors.correlation.sessions)
        self._sessions = [held.session for held in holdings]
        self._ranks: Ranks | None = None
        width = panel.values.shape[1]
        if len(holdings) == 1 and kept is not None and kept.keeps(self._sessions[0]):
            self._used = self._place = np.arange(width)
            self._keys = self._keyed(holdings, groups)
            every = [keys.ravel() for keys in self._keys[0]]
            needed = np.concatenate(every) if every else np.zeros(0, np.int64)
            self._found = [kept.of(panel, needed)]
            return
        columns = [held.columns for held in holdings]
        self._used, self._place = used_columns(width, *columns)
        self._keys = self._keyed(holdings, groups)
        wanted = np.zeros(len(self._used) ** 2, bool)
        for of_held in self._keys:
            for keys in of_held:
                wanted[keys] = True
        self._ranks = Ranks(wanted)
        left, right = np.divmod(np.flatnonzero(wanted), len(self._used))
        self._found = []
        for low, high in _neighbours(self._sessions):
            run = self._sessions[low], self._sessions[high - 1] + 1
            self._found += self._run(run, left, right)

    def _keyed(
        self, holdings: Sequence[Holdings], groups: Sequence[Sequence[Names]]
    ) -> list[list[Ints]]:
        """Pairs of each group of each of the holdings: [pairs, portfolios]."""
        found = []
        for held, of_held in zip(holdings, groups, strict=True):
            place = self._place[held.columns]
            keys = []
            for group in of_held:
                places = place[group.entries]
                row, column = upper(len(places))
                keys.append(pair_keys(places[row], places[column], len(self._used)))
            found.append(keys)
        return found

    def _run(
        self, run: tuple[int, int], left: Indices, right: Indices
    ) -> Iterator[Found]:
        """Correlate pairs in the sessions ``start <= t < stop``."""
        window = self._factors.correlation
        block = self._panel.block(*run, window.sessions, self._used)
        found = correlations(block, left, right, window)
        for i in range(block.sessions):
            whole = bool((found.n[i] == window.sessions).all())
            whole &= not found.reason[i].any()
            yield Found(found.rho[i], found.n[i], found.reason[i], whole)

    def _own(self, i: int) -> Ints:
        """Count the returns of each column by itself in the window."""
        session, length = self._sessions[i], self._factors.correlation.sessions
        block = self._panel.block(session, session + 1, length, self._used)
        counts = window_sums(block.present.astype(float), length)[0]
        found: Ints = counts.astype(np.int64)
        return found

    @np.errstate(all="ignore")
    def matrices(
        self, i: int, held: Holdings, groups: Sequence[Names]
    ) -> list[Matrices]:
        """Matrices of every group of the i-th holdings."""
        found = self._found[i]
        counts = None if found.whole else self._own(i)
        results = []
        for keys, group in zip(self._keys[i], groups, strict=True):
            at = keys if self._ranks is None else self._ranks.of(keys)
            own: Ints | None = None
            n: NDArray[np.int32] = np.broadcast_to(self._plain, at.shape)
            reason: Codes = np.broadcast_to(np.uint8(Reason.NONE), at.shape)
            if counts is not None:
                n, reason = found.n[at], found.reason[at]
                own = counts[self._place[held.columns[group.entries]]]
            pairs = found.rho[at], n, reason
            results.append(matrices(held, group, pairs, own, self._factors))
        return results


class Ranks:
    """Places of the wanted among all.

    Up to 2 000 symbols a table says it; beyond, a bit each: 10 000 need 19 MB.
    """

    def __init__(self, wanted: Bools) -> None:
        self._table: NDArray[np.int32] | None = None
        if len(wanted) <= TABLE:
            self._table = np.cumsum(wanted, dtype=np.int32) - np.int32(1)
            return
        bits = np.packbits(wanted, bitorder="little")
        padded = np.zeros(-(-len(bits) // 8) * 8, np.uint8)
        padded[: len(bits)] = bits
        self._words = padded.view("<u8")
        counts = np.bitwise_count(self._words).astype(np.int64)
        self._before = np.concatenate([[0], np.cumsum(counts)])

    def of(self, keys: Ints) -> Ints:
        """How many of the wanted are below each key, which is one of them."""
        if self._table is not None:
            return self._table[keys].astype(np.intp)
        word, bit = keys >> 6, (keys & 63).astype(np.uint64)
        below = self._words[word] & ((np.uint64(1) << bit) - np.uint64(1))
        rank: Ints = self._before[word] + np.bitwise_count(below)
        return rank


def _neighbours(sessions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Places of runs of sessions that follow one another."""
    breaks = np.flatnonzero(np.diff(sessions) != 1) + 1
    bounds = [0, *breaks.tolist(), len(sessions)]
    yield from pairwise(bounds)
