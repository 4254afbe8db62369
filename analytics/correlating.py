"""Correlation blocks of portfolios as fields of their records (section 8)."""

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np

from analytics.contents import Content, numbers, words
from analytics.kernels.aggregate import Holdings
from analytics.kernels.correlation import Matrices, nothing
from analytics.money import Indices, Ints

EMPTY = ("mean", "weighted_mean", "effective_number")


def correlations(
    held: Holdings, groups: Sequence[Matrices], symbols: Sequence[str], count: Ints
) -> list[Content]:
    """Block of each portfolio; ``count`` is how many symbols each holds."""
    found = [
        _none(reason, held_symbols)
        for reason, held_symbols in zip(
            words(nothing(held)), count.tolist(), strict=True
        )
    ]
    for group in groups:
        blocks = _blocks(held, group, symbols, count)
        for place, block in zip(group.names.portfolios.tolist(), blocks, strict=True):
            found[place] = block
    return found


def _none(reason: str | None, held: int) -> Content:
    return {
        "names": [],
        "rho": [],
        "n": [],
        "pair_reasons": [],
        "mean": None,
        "weighted_mean": None,
        "mean_reason": reason,
        "effective_number": None,
        "effective_reason": reason,
        "included": 0,
        "excluded": held,
        "null_pairs": 0,
        "repaired": False,
        "incomplete": False,
        "clusters": [],
        "reason": reason,
    }


def _blocks(
    held: Holdings, group: Matrices, symbols: Sequence[str], count: Ints
) -> list[Content]:
    columns = held.columns[group.names.entries]
    size = len(columns)
    mean_reason, effective_reason = group.mean_reason, group.effective_reason
    names = [[symbols[column] for column in one] for one in columns.T.tolist()]
    incomplete = group.null_pairs > 0
    fields: dict[str, Iterable[object]] = {
        "names": names,
        "rho": _triangles(group),
        "n": group.n.T.tolist(),
        "pair_reasons": _pair_reasons(group),
        "mean": numbers(group.mean, mean_reason),
        "weighted_mean": numbers(group.weighted_mean, mean_reason),
        "mean_reason": words(mean_reason),
        "effective_number": numbers(group.effective, effective_reason),
        "effective_reason": words(effective_reason),
        "included": repeat(size, len(names)),
        "excluded": (count[group.names.portfolios] - size).tolist(),
        "null_pairs": group.null_pairs.tolist(),
        "repaired": group.repaired.tolist(),
        "incomplete": incomplete.tolist(),
        "clusters": list(map(_clusters, names, group.cluster.T)),
        "reason": repeat(None, len(names)),
    }
    return [
        dict(zip(fields, values, strict=True))
        for values in zip(*fields.values(), strict=True)
    ]


def _triangles(group: Matrices) -> list[list[float | None]]:
    found: list[list[float | None]] = group.rho.T.tolist()
    for pair, portfolio in np.argwhere(group.pair_reason != 0).tolist():
        found[portfolio][pair] = None
    return found


def _pair_reasons(group: Matrices) -> list[list[str | None]]:
    some = (group.pair_reason != 0).any(axis=0)
    return [
        words(codes) if any_null else []
        for codes, any_null in zip(group.pair_reason.T, some.tolist(), strict=True)
    ]


def _clusters(names: list[str], labels: Indices) -> list[list[str]]:
    if not labels.any():
        return []
    found: dict[int, list[str]] = {}
    for name, label in zip(names, labels.tolist(), strict=True):
        if label:
            found.setdefault(label, []).append(name)
    return [found[label] for label in sorted(found)]
