"""As of a time: what the engine says of what was known then is what was live then.

In the tiny world, where every kind of row collides: after each commit what is live is
kept, and in the end each commit's time is asked again of the whole journal, of which
records hold the changes of many commits.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from analytics.rows import Change
from connectors.journal import decode, encode
from replay import feed
from replay.logs import Head, Then
from tests.analytics.tiny_live import Key, Live, drawn, whole
from tests.analytics.tiny_world import LAST, Transaction, World, histories

Journal = dict[int | None, list[bytes]]
Moments = dict[int, dict[Key, bytes]]


def live(history: list[Transaction], random: Random) -> tuple[Journal, Moments]:
    """Play a history; the journal of it, and what was live at each commit's time."""
    world, now = World(), Live(whole())
    moments: Moments = {}
    logs: dict[int | None, list[list[Change]]] = {}
    for step in history:
        changes = world.commit(step)
        now.fold(changes)
        now.derive()
        if changes:
            moments[changes[0].ts] = dict(now.said.records)
        for log, some in now.logs(changes).items():
            records = logs.setdefault(log, [[]])
            if random.random() < 0.5:
                records.append([])
            records[-1] += some
    return {log: [encode(r) for r in records] for log, records in logs.items()}, moments


def as_of(journal: Journal, ts: int) -> dict[Key, bytes]:
    """What an engine says that is fed what was known at a time."""
    then, again = Then(ts, LAST.toordinal()), Live(whole())
    for log, values in journal.items():
        for value in values:
            again.append(log, decode(feed.known_by(value, then) or b"").changes)
    again.derive()
    return again.said.records


def check(history: list[Transaction], seed: int) -> None:
    journal, moments = live(history, Random(seed))  # noqa: S311 - seeded, not secret
    for ts, records in moments.items():
        assert as_of(journal, ts) == records, ts


@given(history=histories(), seed=st.integers(0, 9))
@drawn
def test_as_of_every_commit_it_says_what_was_live_then(
    history: list[Transaction], seed: int
) -> None:
    check(history, seed)


def excluded(then: Then, change: Head) -> bool:
    """The commit of the very moment was not known yet."""
    return change.ts < then.ts


def absent_at_once(then: Then, change: Head) -> bool:
    """A deletion was known before it was committed."""
    return change.ts <= then.ts or change.absent


@given(history=histories(), seed=st.integers(0, 9))
@settings(drawn, max_examples=200, phases=[Phase.generate], database=None)
def some(history: list[Transaction], seed: int) -> None:
    check(history, seed)


@pytest.mark.parametrize("broken", [excluded, absent_at_once])
def test_a_prefix_that_is_not_what_was_known_is_found(
    broken: Callable[[Then, Head], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Then, "knew", broken)
    with pytest.raises(AssertionError):
        some()
