"""Correlation blocks of portfolios as text of their records (section 8)."""

from collections.abc import Sequence

import numpy as np

from analytics.contents import REASONS, words
from analytics.kernels.aggregate import Holdings
from analytics.kernels.correlation import Matrices, nothing
from analytics.money import Indices, Ints
from analytics.records import encode
from analytics.texts import (
    BOOLS,
    NULL,
    Part,
    Parts,
    Table,
    joined,
    lists,
    numbers,
    objects,
    picked,
)


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
    found = [b""] * len(held.nav)
    left = np.ones(len(found), dtype=bool)
    for group in groups:
        places = group.names.portfolios
        left[places] = False
        blocks = _blocks(held, group, symbols, count)
        for place, block in zip(places.tolist(), blocks, strict=True):
            found[place] = block
    if left.any():
        places = np.flatnonzero(left)
        blocks = _none(words(nothing(held)[places]), count[places])
        for place, block in zip(places.tolist(), blocks, strict=True):
            found[place] = block
    return found


def _none(reason: Parts, held: Ints) -> list[bytes]:
    fields: dict[str, Parts] = {
        "names": [b"[]"],
        "rho": [b"[]"],
        "n": [b"[]"],
        "pair_reasons": [b"[]"],
        "mean": NULL,
        "weighted_mean": NULL,
        "mean_reason": reason,
        "effective_number": NULL,
        "effective_reason": reason,
        "included": [b"0"],
        "excluded": numbers(held),
        "null_pairs": [b"0"],
        "repaired": [b"false"],
        "incomplete": [b"false"],
        "clusters": [b"[]"],
        "reason": reason,
    }
    return joined(objects(fields), len(held))


def _blocks(
    held: Holdings, group: Matrices, symbols: Table, count: Ints
) -> list[bytes]:
    names = symbols[held.columns[group.names.entries].T].tolist()
    size = len(group.names.entries)
    fields: dict[str, Parts] = {
        "names": [[b"[%b]" % b",".join(each) for each in names]],
        "rho": lists(np.ascontiguousarray(group.rho.T)),
        "n": _counts(group),
        "pair_reasons": [_pair_reasons(group)],
        "mean": numbers(group.mean),
        "weighted_mean": numbers(group.weighted_mean),
        "mean_reason": words(group.mean_reason),
        "effective_number": numbers(group.effective),
        "effective_reason": words(group.effective_reason),
        "included": [encode(size)],
        "excluded": numbers(count[group.names.portfolios] - size),
        "null_pairs": numbers(group.null_pairs),
        "repaired": picked(group.repaired, BOOLS),
        "incomplete": picked(group.null_pairs > 0, BOOLS),
        "clusters": [_clusters(names, group.cluster.T)],
        "reason": NULL,
    }
    return joined(objects(fields), len(names))


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
