"""A tiny world of whole numbers in which everything collides.

Three symbols, two portfolios, six sessions. Whatever the way of the changes, the
engine has said what a fresh one says that gets the final rows at once; and the
vectorised path says what the plain one says. Beside the laws stand engines that
break one of them each: the same test must catch them.
"""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import analytics.deriving
import analytics.effects
import analytics.lots
import analytics.spreading
import analytics.valuation
from analytics import exact
from analytics.effects import Effect
from analytics.engine import Engine
from analytics.market import Market
from analytics.records import encode
from analytics.results import MONEY_FAMILIES
from analytics.rows import Change, Flow, Portfolio
from analytics.state import Account
from tests.analytics.engine_desk import (
    CALENDAR,
    Desk,
    day,
    event_row,
    lot_row,
    price_row,
)


def seeded(seed: int) -> Random:
    """Chance that a test can repeat."""
    return Random(seed)  # noqa: S311


SESSIONS = st.integers(0, 5)
OWNERS = st.integers(1, 2)
LOTS = st.integers(1, 3)
SYMBOLS = st.sampled_from("ABC")
WHOLE = st.integers(1, 9)
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def lots(draw):
    kind = draw(st.sampled_from(["LONG", "LONG", "SHORT", "LC", "SP"]))
    sign = 1 if kind in ("LONG", "LC") else -1
    # a quarter of a 1e-4th is money on a tie
    quantity = draw(st.sampled_from([0, 1, 2, 3, 9, "0.0001", "0.0003", 10**12]))
    option = kind in ("LC", "SP")
    entry = draw(st.integers(0, 4))
    return lot_row(
        draw(LOTS),
        draw(OWNERS),
        draw(SYMBOLS),
        float(quantity) * sign,
        draw(st.sampled_from([1, 2, "0.5", "1.5"])),
        entry,
        type=kind,
        klass=draw(st.sampled_from(["PUBLIC", "PUBLIC", "PRIVATE"])),
        exit=draw(st.sampled_from([(None, None)] * 3 + [(3, 5)])),
        last=draw(st.sampled_from([None, 4])),
        underlying=draw(SYMBOLS) if option else None,
        strike=2 if option else None,
        expiry=draw(st.integers(entry, 5)) if option else None,
    )


PRICES = st.builds(
    price_row, SYMBOLS, SESSIONS, st.sampled_from([1, 2, 3, 5, 9, "0.5", 10**11])
)
ROWS = st.one_of(
    st.builds(Portfolio, OWNERS, st.just("p"), st.just(90_000), st.none()),
    lots(),
    lots(),
    PRICES,
    PRICES,
    PRICES,
    st.builds(Flow, LOTS, OWNERS, st.just(70_000), SESSIONS.map(day)),
    st.builds(event_row, LOTS, OWNERS, LOTS, SESSIONS, WHOLE, price=WHOLE),
    st.builds(event_row, LOTS, OWNERS, LOTS, SESSIONS, WHOLE, realized=WHOLE),
)


@st.composite
def histories(draw):
    """Changes in the order of their versions; a third of them deletes."""
    desk = Desk()
    rows = [Portfolio(owner, "p", 90_000, None) for owner in (1, 2)]
    rows += draw(st.lists(ROWS, min_size=6, max_size=20))
    found = []
    for row in rows:
        desk.clock += 1
        gone = len(found) > 8 and draw(st.integers(0, 2)) == 0
        found.append(desk.gone(row) if gone else desk.change(row))
    return found


Chance = st.integers(0, 2**32).map(seeded)


def finished(changes: list[Change]) -> dict[Any, bytes]:
    """What a fresh engine says that folds the newest version of each row once."""
    final: dict[Any, Change] = {}
    for change in changes:
        key = (change.table, change.key, change.portfolio)
        if key not in final or final[key].version < change.version:
            final[key] = change
    return said(folded(Engine(CALENDAR, families=MONEY_FAMILIES), list(final.values())))


def folded(engine: Engine, changes: list[Change]) -> Engine:
    engine.add_partition(0)
    market = [change for change in changes if change.portfolio is None]
    engine.fold_market(market, next_offset=1)
    others = [change for change in changes if change.portfolio is not None]
    engine.fold_partition(0, others, next_offset=1)
    return engine


def said(engine: Engine) -> dict[Any, bytes]:
    """Read what an engine says into what a reader of its topics holds."""
    records: dict[Any, bytes] = {}
    read(engine, records)
    return records


def read(engine: Engine, records: dict[Any, bytes]) -> None:
    for result in engine.derive():
        key = (result.family, result.owner, result.session)
        assert result.content != records.get(key), f"{key} says nothing new"
        if result.content is None:
            del records[key]
        else:
            records[key] = result.content


# --- the laws ------------------------------------------------------------------


def any_way_same_bits(changes: list[Change], chance: Random) -> None:
    """Order, batching, duplicates and intermediate derives do not show."""
    mixed = changes + chance.choices(changes, k=4)
    chance.shuffle(mixed)
    engine, records = Engine(CALENDAR, families=MONEY_FAMILIES), {}
    engine.add_partition(0)
    while mixed:
        cut = chance.randint(1, 5)
        folded(engine, mixed[:cut])
        del mixed[:cut]
        if chance.random() < 0.7:
            read(engine, records)
    read(engine, records)
    assert records == finished(changes)


def as_it_happens_same_bits(changes: list[Change], chance: Random) -> None:
    """In order, with a derive after every change: every ripple is seen."""
    engine, records = Engine(CALENDAR, families=MONEY_FAMILIES), {}
    for change in changes:
        folded(engine, [change])
        read(engine, records)
    assert records == finished(changes)


def plain_says_the_same(changes: list[Change], chance: Random) -> None:
    """Arrays and plain integers say the same bytes of every cell."""
    engine = folded(Engine(CALENDAR, families=MONEY_FAMILIES), changes)
    records = said(engine)
    for (family, owner, session), content in records.items():
        account = engine.partitions[0].accounts[owner]
        status = "final" if b'"status":"final"' in content else "intraday"
        snapshot, positions, *_ = exact.records(
            engine.market, account.compiled, session, status=status, partial=False
        )
        expected = snapshot if family == MONEY_FAMILIES[0] else positions
        assert encode(expected) == content, (family, owner, session)


LAWS = [any_way_same_bits, as_it_happens_same_bits, plain_says_the_same]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@given(changes=histories(), chance=Chance)
@EXAMPLES
def test_law(law, changes, chance):
    law(changes, chance)


# --- engines that break one ----------------------------------------------------


def watermark_a_portfolio(patch):
    """One watermark a portfolio in place of one a row."""
    fold, newest = Account.fold, {}

    def broken(self, change):
        _, version = newest.get(id(self), (self, change.version))
        if change.version < version:
            return False
        newest[id(self)] = (self, change.version)  # keeps it: no other has its id
        return fold(self, change)

    patch.setattr(Account, "fold", broken)


def gap_bridged(patch):
    """A ratio of a close to the newest one before it, however old."""

    def broken(self, session, column):
        row, ahead = self.frame.rows_of(session), self.frame.rows_of(session - 1)
        last = self.frame.rows_of(self.last[ahead, column])
        a, b = self.close[row, column], self.close[last, column]
        return (a > 0) & (b > 0) & ((5 * a >= 9 * b) | (9 * a <= 5 * b))

    def plain(self, symbol, session):
        a = self.newest_close(symbol, session, session)[1]
        b = self.newest_close(symbol, session - 1, session - 1)[1]
        return bool(a and b and (5 * a >= 9 * b or 9 * a <= 5 * b))

    patch.setattr(Market, "jumps", broken)
    patch.setattr(Market, "jump", plain)


def carried_from_before_entry(patch):
    """A close from before the lot's entry values it."""
    price = analytics.valuation._price

    def broken(book, market, lot, t):
        columns = book.lots.columns
        entry = columns["entry"]
        columns["entry"] = np.zeros_like(entry)
        try:
            return price(book, market, lot, t)
        finally:
            columns["entry"] = entry

    patch.setattr(analytics.valuation, "_price", broken)


def values_floored(patch):
    """Values cut off, not rounded half to even."""
    patch.setattr(
        analytics.valuation, "market_values", lambda q, p: q * (p // 100) // 10_000
    )


def values_half_up(patch):
    """Halves rounded up."""
    patch.setattr(
        analytics.valuation,
        "market_values",
        lambda q, p: (q * (p // 100) + 5_000) // 10_000,
    )


def ripple_without_the_next_session(patch):
    """P&L of the session after a corrected close is not looked at."""
    spread = analytics.effects.spread

    def broken(market, touches, base):
        for effect in spread(market, touches, base):
            there = touches.session <= effect.session
            held = np.isin(effect.column, touches.column[there])
            last = market.last[market.frame.row(effect.session), effect.column]
            here = held & np.isin(last, touches.session)
            if here.any():
                yield Effect(
                    effect.session,
                    effect.column[here],
                    effect.ts[here],
                    effect.ref[here],
                )

    patch.setattr(analytics.spreading, "spread", broken)


def ripple_without_what_is_carried(patch):
    """Sessions that are valued with an older close are not looked at."""
    spread = analytics.effects.spread

    def broken(market, touches, base):
        days = set(touches.session.tolist())
        days |= {day + 1 for day in days}
        return (e for e in spread(market, touches, base) if e.session in days)

    patch.setattr(analytics.spreading, "spread", broken)


def settlement_forgotten(patch):
    """A close of the underlying does not settle the option again."""
    patch.setattr(analytics.spreading.Watch, "hits", lambda *_: {})


def deleted_close_stays(patch):
    """``last`` is not repaired when a close goes."""
    note = analytics.market.Carry.note

    def broken(self, sessions, columns, by):
        note(self, sessions, columns, by)
        for column, step in zip(columns, by, strict=True):
            if step < 0:
                self._stale.pop(column, None)

    patch.setattr(analytics.market.Carry, "note", broken)


# With a seed that shows the breakage soon: by another one it is found later.
BROKEN = [
    (any_way_same_bits, watermark_a_portfolio, 1),
    (plain_says_the_same, gap_bridged, 4),
    (plain_says_the_same, carried_from_before_entry, 7),
    (plain_says_the_same, values_floored, 3),
    (plain_says_the_same, values_half_up, 1),
    (as_it_happens_same_bits, ripple_without_the_next_session, 5),
    (as_it_happens_same_bits, ripple_without_what_is_carried, 1),
    (as_it_happens_same_bits, settlement_forgotten, 0),
    (as_it_happens_same_bits, deleted_close_stays, 0),
]


@pytest.mark.parametrize(
    ("law", "breaks", "seed"), BROKEN, ids=[breaks.__name__ for _, breaks, _ in BROKEN]
)
def test_a_broken_engine_is_caught(law, breaks, seed, monkeypatch):
    breaks(monkeypatch)

    def caught(drawn) -> bool:
        try:
            law(drawn[0], seeded(drawn[1]))
        except (AssertionError, KeyError):
            return True
        return False

    wide = settings(EXAMPLES, max_examples=3000, phases=[Phase.generate])
    drawn = st.tuples(histories(), st.integers(0, 99))
    find(drawn, caught, settings=wide, random=seeded(seed))
