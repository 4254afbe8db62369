"""What is read of the tables: packed by log, and read again as it was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analytics.calendar import Calendar
from analytics.rows import Change, Lot, Price, Version
from connectors.debezium import Decoded, Refused
from connectors.journal import decode, partition_of
from connectors.settings import IntakeSettings, Settings, TopicSettings
from replay.bootstrap import MARKET, _Writer, bootstrap, stored_records
from replay.errors import WorkError

TODAY = 738_900
SETTINGS = Settings(
    topics=TopicSettings(partitions=4), intake=IntakeSettings(rows_per_record=3)
)


def price(day: int) -> Change:
    row = Price("A", day, 1_000_000, None)
    return Change("market_data_cache", ("A", day), Version(7, 0, 0), 5, None, row)


def lot(ident: int, portfolio: int) -> Change:
    row = Lot(ident, portfolio, "A", "LONG", "PUBLIC", 1, 1, TODAY, *(None,) * 6)
    return Change("positions", (ident,), Version(7, 0, 0), 5, portfolio, row)


def written(path: Path, *rows: Decoded) -> _Writer:
    with path.open("wb") as file:
        writer = _Writer(file, SETTINGS, TODAY)
        for row in rows:
            writer.take(row)
        writer.end()
    return writer


def test_rows_are_packed_by_log_and_read_as_they_were(tmp_path: Path) -> None:
    lots = [lot(n, n % 5) for n in range(1, 30)]
    prices = [price(TODAY - n) for n in range(7)]
    rows = [Decoded((change,)) for change in (*lots, *prices)]
    writer = written(tmp_path / "f", *rows)
    found: dict[int, list[Change]] = {}
    counts = [0] * 5
    for log, value in stored_records(tmp_path / "f"):
        changes = decode(value).changes
        assert 0 < len(changes) <= 3
        found.setdefault(log, []).extend(changes)
        counts[log] += 1
    assert found.pop(MARKET) == prices
    assert sorted(c.key for log in found.values() for c in log) == [
        (n,) for n in range(1, 30)
    ]
    for log, changes in found.items():
        assert {partition_of(c.portfolio or 0, 4) for c in changes} == {log - 1}
    assert counts == writer.counts
    assert writer.facts.changes == 36
    assert writer.facts.portfolios == {0, 1, 2, 3, 4}


def test_prices_dated_ahead_and_refused_rows_do_not_count(tmp_path: Path) -> None:
    refused = Decoded((), Refused("not_positive", "close", "-1"))
    gone = Decoded((Change("positions", (9,), Version(7, 0, 0), 5, 1, None),), None)
    writer = written(
        tmp_path / "f",
        Decoded((price(TODAY + 1),)),
        refused,
        gone,
        Decoded((price(TODAY),)),
    )
    assert writer.refused == 1
    assert writer.facts.days == {TODAY}
    assert sum(writer.counts) == 2


async def test_nothing_of_a_longer_file_that_was_left_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was killed may have had the same pid, so the same file."""

    async def read_rows(_dsn: object, _days: object, take: Callable) -> None:
        take(Decoded((price(TODAY),)))

    monkeypatch.setattr("replay.bootstrap.read_rows", read_rows)
    path = tmp_path / "f"
    path.write_bytes(b"x" * 10_000)
    await bootstrap(SETTINGS, Calendar([TODAY], [0], TODAY, TODAY), TODAY, path)
    assert [log for log, _ in stored_records(path)] == [MARKET]


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_a_file_that_is_not_whole_is_said(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "f"
    written(path, Decoded((price(TODAY),)))
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(WorkError, match="begin a new run"):
        list(stored_records(path))


def test_a_file_that_has_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="begin a new run"):
        list(stored_records(tmp_path / "none"))
