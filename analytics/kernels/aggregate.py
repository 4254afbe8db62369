"""From symbols to portfolios: exposures, coverage, and the series of today's weights.

Only lots that are priced, PUBLIC and no options take part. A portfolio's names are
added one after the other in code-point order of their symbols, which the holdings
must have: the order of columns, and which portfolios are computed together, change
no bit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from analytics.factors import BASIS
from analytics.kernels.reasons import Codes, Reason, finite, first, nulled
from analytics.kernels.windows import Block, Bools, Floats, Indices, Ints

MONEY_UNIT = 1e4
PORTFOLIOS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class Holdings:
    """What some portfolios hold in one session. Money in 1e-4 of the unit.

    Attributes
    ----------
    session
        Whose weights these are.
    nav, gross
        [portfolios]; gross is Σ|MV| of all lots.
    held
        [portfolios]; a lot with q ≠ 0 exists, covered or not.
    overflow
        [portfolios]; money is null, and so is all that follows from it.
    starts
        [portfolios + 1]; the names of portfolio p are the entries
        ``starts[p] <= e < starts[p + 1]``.
    columns
        [entries]; columns of the panel. Within a portfolio ordered by symbol.
    net, size
        [entries]; ΣMV and Σ|MV| of the symbol's eligible lots.
    """

    session: int
    nav: Ints
    gross: Ints
    held: Bools
    overflow: Bools
    starts: Ints
    columns: Indices
    net: Ints
    size: Ints

    @property
    def owner(self) -> Indices:
        """Portfolio of each entry."""
        counts = np.diff(self.starts)
        return np.repeat(np.arange(len(counts)), counts)


@dataclass(frozen=True, slots=True)
class Exposure:
    """Of one factor, [portfolios].

    Attributes
    ----------
    value
        Σ MV/NAV·beta.
    money
        Σ MV·beta, in currency units: not divided by NAV, so it exists without one.
    coverage
        Σ|MV| of the lots whose symbol has a beta, on gross.
    """

    value: Floats
    money: Floats
    coverage: Floats
    reason: Codes
    money_reason: Codes
    coverage_reason: Codes


def used_columns(width: int, *columns: Indices) -> tuple[Indices, Indices]:
    """Columns that occur, ascending, and the place of each among them.

    Examples
    --------
    >>> used, place = used_columns(9, np.array([7, 2, 7]))
    >>> used.tolist(), place[np.array([7, 2])].tolist()
    ([2, 7], [1, 0])
    """
    occurs = np.zeros(width, bool)
    for some in columns:
        occurs[some] = True
    return np.flatnonzero(occurs), np.cumsum(occurs) - 1


def beside(parts: Sequence[Holdings], width: int) -> Holdings:
    """Put the portfolios of several sessions side by side, for ``exposures``.

    ``session`` is that of the first; columns of the i-th are moved by ``i * width``, so
    that betas are those of all sessions, one after the other.
    """
    if len(parts) == 1:
        return parts[0]
    counts = np.concatenate([np.diff(part.starts) for part in parts])
    columns = [part.columns + i * width for i, part in enumerate(parts)]
    return Holdings(
        session=parts[0].session,
        nav=np.concatenate([part.nav for part in parts]),
        gross=np.concatenate([part.gross for part in parts]),
        held=np.concatenate([part.held for part in parts]),
        overflow=np.concatenate([part.overflow for part in parts]),
        starts=np.concatenate([[0], np.cumsum(counts)]),
        columns=np.concatenate(columns),
        net=np.concatenate([part.net for part in parts]),
        size=np.concatenate([part.size for part in parts]),
    )


def gathered(
    parts: Iterable[tuple[Indices, Block]],
) -> Iterator[tuple[Indices, Block]]:
    """Put few series side by side: of few, calls cost more than numbers.

    Parts are of one session each, as those of ``weighted_series``.
    """
    waiting: list[tuple[Indices, Block]] = []
    for part in parts:
        columns = sum(len(chosen) for chosen, _ in (*waiting, part))
        if waiting and columns > PORTFOLIOS_AT_ONCE:
            yield _side_by_side(waiting)
            waiting = []
        waiting.append(part)
    if waiting:
        yield _side_by_side(waiting)


def _side_by_side(parts: list[tuple[Indices, Block]]) -> tuple[Indices, Block]:
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([block.values for _, block in parts], axis=1)
    present = np.concatenate([block.present for _, block in parts], axis=1)
    chosen = np.concatenate([chosen for chosen, _ in parts])
    return chosen, Block(values, present, 1)


def share(amounts: Ints, basis_points: int) -> Ints:
    """Least integer that is at least so many basis points of each amount.

    Exact, also where the product would not fit 64 bits.

    Examples
    --------
    >>> share(np.array([10_000, 10_001, 2**62]), 9_500).tolist()
    [9500, 9501, 4381101717506018509]
    """
    whole, rest = np.divmod(amounts, BASIS)
    least: Ints = whole * basis_points - (-rest * basis_points) // BASIS
    return least


def ragged(starts: Ints) -> tuple[Indices, list[Indices]]:
    """How to add what portfolios of different length hold, an entry at a time.

    Returns
    -------
    order
        Portfolios, the longest first.
    steps
        Entry j of every portfolio that has one: the first so many of ``order``.

    Examples
    --------
    >>> order, steps = ragged(np.array([0, 1, 3]))
    >>> order.tolist(), [step.tolist() for step in steps]
    ([1, 0], [[1, 0], [2]])
    """
    counts = np.diff(starts)
    order = np.argsort(-counts, kind="stable")
    longest, begin = counts[order], starts[:-1][order]
    steps = []
    for j in range(int(longest[0]) if len(longest) else 0):
        active = int(np.searchsorted(-longest, -j, side="left"))
        steps.append(begin[:active] + j)
    return order, steps


def totals(starts: Ints, amounts: Ints) -> Ints:
    """Add up what each portfolio has: integers, any order.

    Examples
    --------
    >>> totals(np.array([0, 2, 2, 3]), np.array([5, 6, 7])).tolist()
    [11, 0, 7]
    """
    before = np.concatenate([[0], np.cumsum(amounts)])
    found: Ints = before[starts[1:]] - before[starts[:-1]]
    return found


def coverage_of(holdings: Holdings, covered: Ints) -> tuple[Floats, Codes]:
    """Covered money on gross; null only where there is no gross."""
    reason = first(
        covered.shape,
        (Reason.OVERFLOW, holdings.overflow),
        (Reason.NO_POSITIONS, ~holdings.held),
        (Reason.NO_COVERAGE, holdings.gross == 0),
    )
    return nulled(covered / np.maximum(holdings.gross, 1), reason), reason


def exposures(
    holdings: Holdings, betas: list[Floats], reasons: list[Codes]
) -> list[Exposure]:
    """Aggregate betas of several factors.

    Parameters
    ----------
    holdings
        Weights.
    betas, reasons
        For each factor its betas (clipped) in the session and their reasons, by
        column of the panel.

    Returns
    -------
    list of Exposure
        ``no_positions`` (nothing held), ``no_coverage`` (no eligible lot has a
        beta), ``nav_not_positive``, ``overflow``.
    """
    if not betas:
        return []
    owner, columns, starts = holdings.owner, holdings.columns, holdings.starts
    net, portfolios = holdings.net / MONEY_UNIT, len(holdings.nav)
    known = np.stack(reasons) == 0
    loads = np.where(known, np.stack(betas), 0.0)
    # One by one in the order of its input, as ``np.bincount`` adds.
    money = [np.bincount(owner, load[columns] * net, portfolios) for load in loads]
    shape = (len(betas), portfolios)
    covered, count = totals(starts, holdings.size), np.diff(starts)
    if not np.logical_and.reduce(known, axis=0)[columns].all():
        there = [some[columns] for some in known]
        covered = np.stack([totals(starts, holdings.size * some) for some in there])
        count = np.stack([totals(starts, some.astype(np.int64)) for some in there])
    covered, count = np.broadcast_to(covered, shape), np.broadcast_to(count, shape)
    found = _exposures(holdings, np.stack(money), covered, count)
    names = [field.name for field in fields(Exposure)]
    return [
        Exposure(**{name: getattr(found, name)[f] for name in names})
        for f in range(len(betas))
    ]


def _exposures(
    holdings: Holdings, money: Floats, covered: Ints, count: Ints
) -> Exposure:
    """Give all factors' with their reasons, [factors, portfolios]."""
    coverage, coverage_reason = coverage_of(holdings, covered)
    money_reason = finite(
        first(
            money.shape,
            (Reason.OVERFLOW, holdings.overflow),
            (Reason.NO_POSITIONS, ~holdings.held),
            (Reason.NO_COVERAGE, count == 0),
        ),
        money,
    )
    reason = np.where(
        (money_reason == 0) & (holdings.nav <= 0),
        np.uint8(Reason.NAV_NOT_POSITIVE),
        money_reason,
    )
    nav = np.where(holdings.nav > 0, holdings.nav, 1) / MONEY_UNIT
    return Exposure(
        value=nulled(money / nav, reason),
        money=nulled(money, money_reason),
        coverage=coverage,
        reason=reason,
        money_reason=money_reason,
        coverage_reason=coverage_reason,
    )


def weighted_series(
    holdings: Holdings, block: Block, places: Indices, covered: int
) -> Iterator[tuple[Indices, Block]]:
    """Form the returns that today's weights would have had in the sessions before.

    Parameters
    ----------
    holdings
        Weights MV/NAV; where NAV <= 0 the answer is of no use.
    block
        Returns up to the holdings' session (``sessions`` is 1).
    places
        Column of the block for each entry.
    covered
        Basis points of Σ|MV| that must have a return for a session to count; a
        missing return of another name adds 0.

    Yields
    ------
    tuple
        Some portfolios, and their series as a block [rows, portfolios].
    """
    by_symbol = np.ascontiguousarray(block.values.T)
    missing = None if block.complete else np.ascontiguousarray(~block.present.T)
    nav = np.where(holdings.nav > 0, holdings.nav, 1)
    weights = holdings.net / nav[holdings.owner]
    sizes = np.abs(holdings.net)
    order, steps = ragged(holdings.starts)
    room = np.empty((min(len(order), PORTFOLIOS_AT_ONCE), len(block.values)))
    for low in range(0, len(order), PORTFOLIOS_AT_ONCE):
        chosen = order[low : low + PORTFOLIOS_AT_ONCE]
        parts = [step[low : low + PORTFOLIOS_AT_ONCE] for step in steps]
        series = np.zeros((len(chosen), len(block.values)))
        for part in parts:
            returns = room[: len(part)]
            # Places are valid; "raise" would make a copy to be sure of it.
            by_symbol.take(places[part], axis=0, out=returns, mode="clip")
            returns *= weights[part][:, None]
            series[: len(part)] += returns
        counts = np.ones(series.shape, bool)
        if missing is not None:
            counts = _enough(parts, places, missing, sizes, covered, len(chosen))
            series = np.where(counts, series, 0.0)
        yield (
            chosen,
            Block(np.ascontiguousarray(series.T), np.ascontiguousarray(counts.T), 1),
        )


def _enough(
    parts: list[Indices],
    places: Indices,
    missing: Bools,
    sizes: Ints,
    covered: int,
    portfolios: int,
) -> Bools:
    """Sessions in which names with enough of Σ|MV| have a return, in integers."""
    total = np.zeros(portfolios, np.int64)
    lacking = np.zeros((portfolios, missing.shape[1]), np.int64)
    gappy: Bools = np.logical_or.reduce(missing, axis=1)
    for part in parts:
        total[: len(part)] += sizes[part]
        some = np.flatnonzero(gappy[places[part]])
        lacking[some] += missing[places[part[some]]] * sizes[part[some]][:, None]
    enough: Bools = total[:, None] - lacking >= share(total, covered)[:, None]
    return enough
