"""Plans from facts, without a server."""

from __future__ import annotations

from datetime import date, timedelta

import msgspec
import pytest

from analytics.rows import Change
from connectors.journal import decode, encode
from replay.ask import Ask, Facts, check_dates, make_plan
from replay.errors import AskError
from replay.feed import known_by
from replay.logs import Prefix, Then, heads_of
from replay.sources import Source
from tests.analytics.engine_desk import CALENDAR, day, price_row
from tests.replay.small_journal import change, market, owners

PREFIX = Prefix(1, (1, 0))


def on(session: int, days: int = 0) -> date:
    return date.fromordinal(day(session)) + timedelta(days)


def then(ts: int) -> Then:
    """A moment of the last session: no price is ahead of it."""
    return Then(ts, day(11))


def facts(changes: list[Change], as_of: int | None = None) -> Facts:
    found = Facts(None if as_of is None else then(as_of))
    heads = heads_of(encode(changes))
    assert heads
    found.take(heads.changes)
    return found


def test_a_plan_counts_what_will_be_derived() -> None:
    plan = make_plan(Ask(on(2), on(5)), facts(market() + owners()), PREFIX, CALENDAR)
    assert (plan.portfolios, plan.sessions, plan.cells) == (2, 4, 8)
    assert plan.warm_up == 2
    assert plan.changes == len(market()) + len(owners())
    assert plan.newest == max(c.ts for c in owners())


def test_a_range_is_rolled_to_sessions_that_have_prices() -> None:
    # Sessions are two days apart; the last one has no prices.
    plan = make_plan(
        Ask(on(2, 1), on(11)), facts(market() + owners()), PREFIX, CALENDAR
    )
    assert plan.sessions == 8


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (Ask(on(0, -2), on(3)), "first price"),
        (Ask(on(11), on(11)), "newest price"),
        (Ask(on(2, 1), on(2, 1)), "no session"),
        (Ask(on(1), on(3), (1, 7, 8)), "journal: 7, 8"),
        (Ask(on(1), on(3), (1, 7), ranges=((20, 30), (1, 9))), "journal: 7, 20-30"),
    ],
)
def test_what_cannot_be_had_is_said(ask: Ask, why: str) -> None:
    with pytest.raises(AskError, match=why):
        make_plan(ask, facts(market() + owners()), PREFIX, CALENDAR)


def test_a_range_of_portfolios_skips_those_that_are_not_there() -> None:
    known = facts(market() + owners())
    assert known.portfolios == {1, 2}
    ask = Ask(on(2), on(5), (1,), ranges=((2, 10**15),))
    plan = make_plan(ask, known, PREFIX, CALENDAR)
    assert plan.portfolios == 2
    assert plan.ask == Ask(on(2), on(5), (1, 2))
    assert make_plan(Ask(on(2), on(5)), known, PREFIX, CALENDAR).ask.portfolios is None


def test_an_empty_journal_is_said() -> None:
    with pytest.raises(AskError, match="no prices"):
        make_plan(Ask(on(1), on(2)), facts(owners()), PREFIX, CALENDAR)
    with pytest.raises(AskError, match="no portfolios"):
        make_plan(Ask(on(1), on(2)), facts(market()), PREFIX, CALENDAR)


def test_dates_that_no_journal_could_answer() -> None:
    today = on(5)
    with pytest.raises(AskError, match="before it begins"):
        check_dates(Ask(on(4), on(3)), today)
    with pytest.raises(AskError, match="future"):
        check_dates(Ask(on(4), on(6)), today)
    with pytest.raises(AskError, match="published"):
        check_dates(Ask(on(4), on(5), as_of=1, publish=True), today)
    tables = Ask(on(4), on(5), source=Source.POSTGRES)
    check_dates(tables, today)
    with pytest.raises(AskError, match="not what the tables say"):
        check_dates(msgspec.structs.replace(tables, publish=True), today)
    with pytest.raises(AskError, match="do not know what they held"):
        check_dates(msgspec.structs.replace(tables, as_of=1), today)
    check_dates(Ask(on(4), on(5)), today)


def test_what_was_committed_later_does_not_count() -> None:
    known = facts(market() + owners(), as_of=5)
    assert known.changes == 5 + sum(c.ts <= 5 for c in owners())
    assert known.portfolios == {1}
    with pytest.raises(AskError, match="known by then: 2"):
        make_plan(Ask(on(0), on(1), (2,), as_of=5), known, PREFIX, CALENDAR)


def test_a_record_keeps_what_was_known_and_its_place_in_a_transaction() -> None:
    changes = market()[:4]
    value = encode(changes, tx="9", more=True)
    assert known_by(value, None) is value
    assert known_by(value, then(99)) is value
    found = decode(known_by(value, then(2)) or b"")
    assert found.changes == changes[:2]
    assert (found.tx, found.more, found.partial) == ("9", True, False)
    assert decode(known_by(value, then(0)) or b"").changes == []
    assert known_by(b"\xc1", then(0)) == b"\xc1"


def test_a_price_dated_ahead_was_not_known_before_its_session() -> None:
    """Intake delivers it when its session begins; that it is absent, at once."""
    row = price_row("A", 5, 10)
    priced = change("market_data_cache", ("A", row.date), row, None, 1)
    gone = change("market_data_cache", ("B", row.date), None, None, 2)
    value = encode([priced, gone])
    assert decode(known_by(value, Then(9, day(4))) or b"").changes == [gone]
    assert known_by(value, Then(9, day(5))) is value


def test_heads_say_whether_a_row_is_there() -> None:
    gone = change("positions", (1,), None, 3, 1)
    heads = heads_of(encode([*owners()[:1], gone]))
    assert heads
    assert [head.absent for head in heads.changes] == [False, True]
    assert heads.changes[1].portfolio == 3


def test_a_plan_is_written_and_read() -> None:
    plan = make_plan(
        Ask(on(2), on(5), (1,), as_of=10**16),
        facts(market() + owners()),
        PREFIX,
        CALENDAR,
    )
    text = msgspec.json.encode(plan)
    assert msgspec.json.decode(text, type=type(plan)) == plan
