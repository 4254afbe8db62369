"""Prices that changed since they were last looked at."""

import numpy as np
from msgspec import Struct

from analytics.money import Floats, Indices, Ints


class Touches(Struct, frozen=True):
    """Prices that changed: one entry a cell, with what it was before."""

    column: Indices
    session: Ints
    ts: Ints
    close: Ints
    adj: Floats

    def __len__(self) -> int:
        return len(self.column)


def merge(parts: list[Touches]) -> Touches:
    """One entry a cell: its oldest values and its newest commit time."""
    columns = [np.concatenate([getattr(p, name) for p in parts]) for name in ORDER]
    column, session, ts, close, adj = columns
    order = np.lexsort((np.arange(len(column)), column, session))
    column, session, ts = column[order], session[order], ts[order]
    new = np.empty(len(column), dtype=bool)
    new[:1] = True
    new[1:] = (column[1:] != column[:-1]) | (session[1:] != session[:-1])
    first = np.flatnonzero(new)
    newest = np.maximum.reduceat(ts, first)
    old = order[first]
    return Touches(column[first], session[first], newest, close[old], adj[old])


ORDER = ("column", "session", "ts", "close", "adj")
