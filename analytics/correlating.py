"""Correlation blocks of portfolios as text of their records (section 8)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.contents import REASONS, words
from analytics.kernels.aggregate import Holdings
from analytics.kernels.correlation import Matrices, nothing
from analytics.kernels.reasons import Codes
from analytics.money import Indices, Ints
from analytics.records import encode
from analytics.texts import (
    BOOLS,
    Part,
    Parts,
    Table,
    joined,
    lists,
    numbers,
    objects,
    picked,
)

LISTS = ("names", "rho", "n", "pair_reasons", "clusters")


def correlations(
    held: Holdings, groups: Sequence[Matrices], symbols: Table, count: Ints
) -> list[bytes]:
    """Block of each portfolio.

    Parameters
    ----------
    held
        Weights.
    groups
        What ``kernels.risk`` says.
    symbols
        Text of each column's symbol.
    count
        How many symbols each portfolio holds.
    """
    total = len(held.nav)
    texts = {name: [b"[]"] * total for name in LISTS}
    reason = nothing(held)
    said: dict[str, NDArray[Any]] = {
        "mean": np.full(total, np.nan),
        "weighted_mean": np.full(total, np.nan),
        "mean_reason": reason.copy(),
        "effective": np.full(total, np.nan),
        "effective_reason": reason.copy(),
        "null_pairs": np.zeros(total, np.int64),
        "repaired": np.zeros(total, bool),
    }
    included = np.zeros(total, np.int64)
    for group in groups:
        places = group.names.portfolios
        reason[places], included[places] = 0, len(group.names.entries)
        for name, values in said.items():
            values[places] = getattr(group, name)
        for name, made in _lists(held, group, symbols).items():
            for place, text in zip(places.tolist(), made, strict=True):
                texts[name][place] = text
    return _joined(texts, said, reason, included, count - included)


def _joined(
    texts: Mapping[str, list[bytes]],
    said: Mapping[str, NDArray[Any]],
    reason: Codes,
    included: Ints,
    excluded: Ints,
) -> list[bytes]:
    """Put the fields of all portfolios together."""
    fields: dict[str, Parts] = {
        **{name: [texts[name]] for name in LISTS if name != "clusters"},
        "mean": numbers(said["mean"]),
        "weighted_mean": numbers(said["weighted_mean"]),
        "mean_reason": words(said["mean_reason"]),
        "effective_number": numbers(said["effective"]),
        "effective_reason": words(said["effective_reason"]),
        "included": numbers(included),
        "excluded": numbers(excluded),
        "null_pairs": numbers(said["null_pairs"]),
        "repaired": picked(said["repaired"], BOOLS),
        "incomplete": picked(said["null_pairs"] > 0, BOOLS),
        "clusters": [texts["clusters"]],
        "reason": words(reason),
    }
    return joined(objects(fields), len(reason))


def _lists(held: Holdings, group: Matrices, symbols: Table) -> dict[str, list[bytes]]:
    """Write the lists of the portfolios of one group, by field."""
    names = symbols[held.columns[group.names.entries].T].tolist()
    rho = lists(np.ascontiguousarray(group.rho.T))
    made: dict[str, Parts] = {
        "names": [[b"[%b]" % b",".join(each) for each in names]],
        "rho": rho,
        "n": _counts(group),
        "pair_reasons": [_pair_reasons(group)],
        "clusters": [_clusters(names, group.cluster.T)],
    }
    return {name: joined(parts, len(names)) for name, parts in made.items()}


def _counts(group: Matrices) -> Parts:
    """Rows of each pair; mostly all have the whole window."""
    n = group.n
    if n.size and n.min() == n.max():
        return [encode([int(n[0, 0])] * len(n))]
    return lists(np.ascontiguousarray(n.T))


def _pair_reasons(group: Matrices) -> Part:
    """Reasons of each pair; an empty list where every pair has rho."""
    some = (group.pair_reason != 0).any(axis=0)
    if not some.any():
        return b"[]"
    rows: list[list[bytes]] = REASONS[group.pair_reason.T].tolist()
    return [
        b"[%b]" % b",".join(row) if any_null else b"[]"
        for row, any_null in zip(rows, some.tolist(), strict=True)
    ]


def _clusters(names: list[list[bytes]], labels: Indices) -> Part:
    """Names of each cluster, by its first one."""
    some = labels.any(axis=1)
    if not some.any():
        return b"[]"
    found = [b"[]"] * len(names)
    for place in np.flatnonzero(some).tolist():
        clusters: dict[int, list[bytes]] = {}
        for name, label in zip(names[place], labels[place].tolist(), strict=True):
            if label:
                clusters.setdefault(label, []).append(name)
        each = [b"[%b]" % b",".join(clusters[label]) for label in sorted(clusters)]
        found[place] = b"[%b]" % b",".join(each)
    return found
