"""Differences of a run to live: numbers by name, and lines of them."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from connectors.sink import RISK, SNAPSHOTS
from connectors.why import find
from deltafolio.replay_differences import as_object, changes, tables
from replay.differences import At, Differences, Series
from replay.errors import AskError
from replay.explain import Moved
from replay.metrics import kind_of, less, numbers_of
from replay.run import Replay
from replay.state import Run, Runs
from tests.connectors.risk_world import risk_records
from tests.replay.test_runs import PLAN, settings

DAY = date(2022, 1, 3)


def records(family: str) -> list[bytes]:
    return [
        record.value
        for result, record in risk_records()
        if result.family == family and record.value
    ]


def test_the_numbers_of_risk_have_the_names_of_why_and_their_values() -> None:
    value = records("risk")[-1]
    content = json.loads(value)
    numbers = numbers_of(RISK, value)
    assert {kind_of(name) for name in numbers} == {
        *("betas", "styles", "spreads", "volatility", "correlation", "sectors"),
        *("factor_money", "percentile", "coverage", "count"),
    }
    for name, number in numbers.items():
        assert find(content, name).value == number, name
    codes = [block["benchmark"] for block in content["sectors"]]
    assert len(codes) > 1
    for block in content["sectors"]:
        for sector, active in zip(block["sectors"], block["active"], strict=True):
            assert numbers[f"sectors.{sector}.active.{block['benchmark']}"] == active
            assert f"sectors.{sector}" in numbers


def test_amounts_of_a_snapshot_are_exact() -> None:
    value = records("snapshots")[-1].replace(
        b'"nav":', b'"nav":10000000000000.0001,"x":'
    )
    numbers = numbers_of(SNAPSHOTS, value)
    assert numbers["nav"] == Decimal("10000000000000.0001")
    assert less(numbers["nav"], Decimal("0.0001")) == 10**13
    assert isinstance(numbers["lots"], int)
    assert numbers_of(SNAPSHOTS, None) == {}
    assert {kind_of(name) for name in numbers} == {
        *("money", "return", "concentration", "count"),
    }


def series(*differences: float | None) -> Series:
    found = Series()
    for n, size in enumerate(differences):
        ours = None if size is None else 1.0 + size
        found.at.append(At(DAY + timedelta(n), 1.0, ours, size))
    return found


def test_a_line_is_of_the_largest_difference_and_of_those_the_newest() -> None:
    line = series(1.0, -3.0, 3.0, 0.5).line(7, "betas.market")
    assert (line.sessions, line.largest.session) == (4, DAY + timedelta(2))
    assert line.newest.session == DAY + timedelta(3)
    # A null against a number has no size.
    line = series(None, None).line(7, "betas.market")
    assert line.largest.session == DAY + timedelta(1)
    assert line.largest.size == 0


def run_of(**changed: object) -> Run:
    plan = msgspec.structs.replace(
        PLAN, ask=msgspec.structs.replace(PLAN.ask, **changed)
    )
    return Run("r1", plan, 0.0)


def test_the_table_and_the_object() -> None:
    lines = [series(0.5 * n, -0.25).line(n, "betas.market") for n in (1, 2, 3)]
    lines.append(series(None).line(1, "betas.interest_rate"))
    found = Differences(9, 4, 0, lines)
    run = run_of(edits=("drop lot 1",))
    shown = "\n".join(tables(run, found, 2))
    assert "4 of 9 portfolio-days" in shown
    assert "2 more (--top)" in shown
    assert "what-if" in shown
    assert "+0.5" in shown
    then = "\n".join(tables(run_of(as_of=5), found, 9))
    assert "now - then" in then
    assert "-0.5" in then
    assert "null" in then
    assert "newest session" not in then
    lines[0] = msgspec.structs.replace(lines[0], headline=At(DAY, 3.0, 2.0, -1.0))
    then = "\n".join(tables(run_of(as_of=5), found, 9))
    assert re.search(r"in the newest session\n.*\n.*betas.market .* 2 +3 +\+1\n", then)
    told = json.loads(as_object(run, found))
    assert told["edits"] == ["drop lot 1"]
    assert told["differences"][0]["largest"]["replayed"] == 1.5


def test_changes_in_words() -> None:
    price = ("market_data_cache", ("A", "2022-01-03"), None, 1_000_000)
    lot = ("positions", (7,), 1, 2_000_000)
    moved = [
        Moved(*price, (("close", "1.5", "2"), ("adj_close", None, "2.5"))),
        Moved(*lot, (("symbol", None, "A"), ("exit_date", None, None))),
        Moved(*lot, (("symbol", "A", None),)),
    ]
    first, second, third, fourth = list(changes(moved, 2))[1:]
    assert first == "3 changes since then touch what differs"
    assert second == (
        "  1970-01-01 00:00:01 UTC  market_data_cache A 2022-01-03: close 1.5 → 2, "
        "adj_close null → 2.5"
    )
    assert third.endswith("positions 7 of portfolio 1: a new row: symbol A")
    assert fourth == "  1 more"
    assert list(changes(moved, 3))[-1].endswith(": the row is gone: symbol A")


@pytest.mark.parametrize("changed", [{"edits": ("drop lot 1",)}, {"as_of": 5}])
async def test_a_run_that_is_not_the_present_is_never_published(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    """Refused before anything is asked of a broker (there is none)."""
    run = run_of(publish=True, **changed)
    replay = Replay(settings(tmp_path), Runs(tmp_path), run, None, None)
    with pytest.raises(AskError, match="only what is known now can be published"):
        await replay.work()
