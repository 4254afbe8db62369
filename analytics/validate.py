"""Invariants of an engine, each computed again from what it must follow from.

For tests: a fixture calls it after every step. It costs as much as deriving all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from analytics.accounts import compile_account
from analytics.money import Indices, Ints
from analytics.records import digest
from analytics.said import NOTHING, SAID
from analytics.state import Account

if TYPE_CHECKING:
    from analytics.engine import Engine


def validate(engine: Engine) -> None:
    """Check everything that holds between two calls of an engine.

    Raises
    ------
    AssertionError
        Naming what differs from what.
    """
    _market(engine)
    for account in _accounts(engine):
        _slot(engine, account)
    if not engine.touched() and not _open(engine):
        for account in _accounts(engine):
            _compiled(engine, account)
        for family in engine.said.frames:
            _said(engine, family)


def _hold(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _accounts(engine: Engine) -> Iterator[Account]:
    for home in engine.partitions.values():
        yield from home.accounts.values()


def _open(engine: Engine) -> bool:
    homes = engine.partitions.values()
    return engine.market.open or any(home.open for home in homes)


def _market(engine: Engine) -> None:
    """``last`` and T are those of the closes; nothing stands in row 0."""
    market = engine.market
    market.refresh()
    frame = market.frame
    if not frame.rows:
        _hold(market.newest is None, "T without a price")
        return
    there = market.close != 0
    _hold(not there[0].any(), "a close in the row that must be empty")
    days = np.flatnonzero(there.any(axis=1)) + frame.base
    newest = int(days[-1]) if len(days) else None
    _hold(market.newest == newest, f"T is {market.newest}, closes say {newest}")
    sessions = np.arange(frame.base, frame.base + frame.rows)[:, None]
    last = np.maximum.accumulate(np.where(there, sessions, -1), axis=0)
    used = slice(0, frame.row(market.top) + 1)
    _hold(np.array_equal(market.last[used], last[used]), "last is not the newest close")


def _slot(engine: Engine, account: Account) -> None:
    """Check that a slot is one portfolio's, its lots in the book its holdings."""
    slots, lots = engine.book.slots, engine.book.lots
    owner = int(slots["portfolio"][account.slot])
    _hold(owner == account.id, f"slot of {account.id} is {owner}'s")
    partial = bool(slots["partial"][account.slot])
    _hold(partial == bool(account.partial), f"partial of {account.id}")
    mine = slice(slots["lots"][account.slot], slots["lots_end"][account.slot])
    compiled = account.compiled
    expected = [] if compiled.start is None else sorted(compiled.holdings)
    _hold(lots["lot"][mine].tolist() == expected, f"lots of {account.id}")
    held = lots["lot"][: lots.used][lots["slot"][: lots.used] == account.slot]
    _hold(held.tolist() == expected, f"lots of {account.id} outside its place")


def _compiled(engine: Engine, account: Account) -> None:
    """Compiled lot by lot, as changes came, equals compiled at once."""
    market = engine.market
    at_once = compile_account(
        account, market.calendar, market.newest_close, market.last_session
    )
    _hold(account.compiled == at_once, f"{account.id} is not compiled as its rows are")


def _said(engine: Engine, family: str) -> None:
    """Check that what was said is what is derived now: enough was touched."""
    slots, newest = engine.book.slots, engine.market.last_session
    used = np.arange(slots.used)
    first = slots["first"][: slots.used]
    low = min(int(first.min(initial=newest + 1)), newest + 1)
    frame = engine.said[family]
    sessions = set(range(low, newest + 1)) | set(
        range(frame.base, frame.base + frame.rows)
    )
    for session in sorted(sessions):
        there = used[(first <= session) & (session <= newest)]
        inside = used[used < frame.columns]
        state = frame["state"][frame.row(session), inside] if frame.rows else inside[:0]
        said = inside[: len(state)][state != NOTHING]
        _hold(
            np.array_equal(said, there),
            f"{family} of session {session}: said of {said}, exist {there}",
        )
        if len(there):
            _bits(engine, family, there, np.full(len(there), session))


def _bits(engine: Engine, family: str, slot: Indices, session: Ints) -> None:
    contents = engine.contents(family, slot, session).contents
    said = engine.said.get(family, session, slot)
    for place, content in enumerate(contents):
        portfolio = engine.book.slots["portfolio"][slot[place]]
        what = f"{family} of {portfolio}, session {session[place]}"
        _hold(said["state"][place] == SAID, f"{what}: doubted")
        known = content is not None and said["digest"][place] == digest(content)
        _hold(known, f"{what}: {content!r} was not said")
