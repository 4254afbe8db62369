"""Correlations among the names of a portfolio at a session (section 8)."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from analytics.batch import statistics
from analytics.batch.content import Content, near
from analytics.batch.returns import Returns
from analytics.batch.unsure import Unsure
from analytics.factors import BASIS, Factors

Pair = tuple[float | None, int, str | None]
UNIT = 10_000
NO_RISK = 1e-12
IN_ORDER = ("overflow", "too_few", "constant", "not_converged")


@dataclass
class Correlations:
    """Correlations of pairs of symbols, kept by (symbol, symbol, session)."""

    returns: Returns
    factors: Factors
    _kept: dict[tuple[str, str, int], Pair] = field(default_factory=dict)

    def pair(self, one: str, other: str, session: int) -> Pair:
        """(rho, n, reason); the names in code-point order."""
        key = (one, other, session)
        if key not in self._kept:
            rule = self.factors.correlation
            self._kept[key] = statistics.correlate(
                self.returns.window(one, session, rule.sessions),
                self.returns.window(other, session, rule.sessions),
                rule.minimum,
            )
        return self._kept[key]

    def block(self, values: dict[str, int], gross: int, session: int) -> "Block":
        """Correlate the names that are large enough.

        ``values``: netted market values (1/10 000) of PUBLIC lots that are neither
        options nor unpriced.
        """
        names = [
            name
            for name in sorted(values)
            if values[name] != 0
            and abs(values[name]) >= self.factors.name_value * UNIT
            and BASIS * abs(values[name]) >= self.factors.name_share * gross
        ]
        pairs = [
            self.pair(one, other, session)
            for place, one in enumerate(names)
            for other in names[place + 1 :]
        ]
        sizes = [abs(values[name]) for name in names]
        weights = np.array([size / sum(sizes) for size in sizes])
        return Block(names, weights, pairs, self.factors)


@dataclass
class Block:
    """What is said of some names; pairs are the upper triangle, row by row."""

    names: list[str]
    weights: statistics.Series
    pairs: list[Pair]
    factors: Factors

    @cached_property
    def raw(self) -> statistics.Series:
        """Correlations as they are; NaN where a pair has none."""
        return np.array([np.nan if p[0] is None else p[0] for p in self.pairs])

    @property
    def incomplete(self) -> bool:
        """Whether a pair has no correlation."""
        return bool(np.isnan(self.raw).any())

    def square(self, triangle: statistics.Series) -> statistics.Series:
        """Full matrix of an upper triangle."""
        matrix = np.eye(len(self.names))
        row, column = np.triu_indices(len(self.names), 1)
        matrix[row, column] = triangle
        matrix[column, row] = triangle
        return matrix

    @cached_property
    def smallest(self) -> float:
        """Smallest eigenvalue of a complete matrix; 1 where there is none."""
        if self.incomplete or not self.pairs:
            return 1.0
        return float(np.linalg.eigvalsh(self.square(self.raw))[0])

    @property
    def indefinite(self) -> bool:
        """Whether no data could have this matrix."""
        return self.smallest < -self.factors.psd_tolerance

    @cached_property
    def rho(self) -> statistics.Series:
        """Correlations as they are used, all NaN where a repair failed."""
        if not self.indefinite:
            return self.raw
        found, converged = statistics.nearest_correlation(
            self.square(self.raw),
            self.factors.nearest_tolerance,
            self.factors.nearest_rounds,
        )
        used = found[np.triu_indices(len(self.names), 1)]
        return used if converged else np.full(len(used), np.nan)

    def reasons(self) -> list[str | None]:
        """Why each pair has none."""
        if self.indefinite and np.isnan(self.rho).any():
            return ["not_converged"] * len(self.pairs)
        return [reason for _, _, reason in self.pairs]

    def first_reason(self) -> str | None:
        """Which reason of the pairs' goes before all others."""
        found = set(self.reasons())
        return next((word for word in IN_ORDER if word in found), None)

    def means(self) -> Content:
        """Signed mean, plain and by the product of the weights."""
        row, column = np.triu_indices(len(self.names), 1)
        known = ~np.isnan(self.rho)
        if not known.any():
            reason = "too_few" if len(self.names) == 1 else self.first_reason()
            return {"mean": None, "weighted_mean": None, "mean_reason": reason}
        products = (self.weights[row] * self.weights[column])[known]
        rho = self.rho[known]
        return {
            "mean": float(rho.mean()),
            "weighted_mean": float((products * rho).sum() / products.sum()),
            "mean_reason": None,
        }

    def effective(self) -> Content:
        """Effective number of names, 1/(wᵀCw)."""
        reason = self.first_reason()
        number = None
        if reason is None:
            w = self.weights
            risk = float(w @ self.square(self.rho) @ w)
            reason = "collinear" if risk <= NO_RISK else None
            number = None if reason else 1 / risk
        return {"effective_number": number, "effective_reason": reason}

    def clusters(self) -> Any:
        """Names joined by |rho| of at least ``cluster``, two or more of them."""
        least = self.factors.cluster
        group = list(range(len(self.names)))
        row, column = np.triu_indices(len(self.names), 1)
        for place in np.flatnonzero(np.abs(self.rho) >= least):
            joined, left = group[row[place]], group[column[place]]
            group = [joined if g == left else g for g in group]
        found: dict[int, list[str]] = {}
        for name, g in zip(self.names, group, strict=True):
            found.setdefault(g, []).append(name)
        clusters = sorted(names for names in found.values() if len(names) > 1)
        doubtful = any(near(abs(rho), least) for rho in self.rho)
        return Unsure(clusters) if doubtful else clusters

    def content(self, reason: str | None, symbols: int) -> Content:
        """Fields of the block; ``symbols`` are all that the portfolio holds."""
        if reason is not None:
            numbers = ("mean", "weighted_mean", "effective_number")
            empty: Content = {
                **dict.fromkeys(numbers),
                "mean_reason": reason,
                "effective_reason": reason,
            }
        else:
            empty = {**self.means(), **self.effective()}
        reasons = self.reasons()
        return {
            "names": self.names,
            "rho": [None if np.isnan(rho) else float(rho) for rho in self.rho],
            "n": [n for _, n, _ in self.pairs],
            "pair_reasons": reasons if any(reasons) else [],
            **empty,
            "included": len(self.names),
            "excluded": symbols - len(self.names),
            "null_pairs": int(np.isnan(self.raw).sum()),
            "repaired": self.indefinite and not any(reasons),
            "incomplete": self.incomplete,
            "clusters": self.clusters(),
            "reason": reason,
        }
