"""A narrower scope derives fewer cells, and each of them as it is without one."""

from __future__ import annotations

import pytest

from analytics.engine import Engine
from analytics.results import ALL_FAMILIES, SYMBOLS
from analytics.scope import EVERYTHING, Scope
from tests.analytics.engine_desk import CALENDAR, SESSIONS
from tests.replay.small_journal import market, owners

MIDDLE = Scope(first=4, last=7)


def derived(scope: Scope, families=ALL_FAMILIES) -> dict:
    engine = Engine(
        CALENDAR, families=families, scope=scope, symbol_partition=lambda _: 0
    )
    engine.add_partition(0)
    engine.fold_market(market(), next_offset=1)
    engine.fold_partition(0, owners(), next_offset=1)
    found = {(r.family, r.owner, r.session): r.content for r in engine.derive()}
    assert not engine.touched()
    return found


@pytest.mark.parametrize(
    "scope",
    [MIDDLE, Scope(portfolios=frozenset({2})), Scope(3, 3, frozenset({1}))],
    ids=["sessions", "portfolios", "both"],
)
def test_what_is_in_scope_is_what_it_is_without_one(scope: Scope) -> None:
    every = derived(EVERYTHING)
    assert {key[0] for key in every} == set(ALL_FAMILIES)
    expected = {
        key: content
        for key, content in every.items()
        if scope.has(key[2]) and (key[0] == SYMBOLS or scope.holds(int(key[1])))
    }
    assert 0 < len(expected) < len(every)
    assert derived(scope) == expected


def test_a_portfolio_out_of_scope_still_tells_the_time() -> None:
    """Whether a session is final depends on the newest commit, whoever made it."""
    late = [c for c in owners() if c.portfolio == 2]
    assert max(c.ts for c in late) > max(c.ts for c in owners() if c.portfolio == 1)
    only = derived(Scope(portfolios=frozenset({1})))
    every = derived(EVERYTHING)
    last = ("snapshots", 1, SESSIONS - 2)
    assert b'"final"' in every[last]
    assert only[last] == every[last]
