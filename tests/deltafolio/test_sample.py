"""The sample: whole, real, and portfolios that add up to what the README says."""

import csv
import io
from collections import Counter
from datetime import date
from importlib.resources import files

import pytest

from connectors.calendar import load_calendar
from connectors.settings import CalendarSettings
from sample.portfolios import BENCHMARK, CALL, FIRST_DAY, PUT, tables
from sample.prices import ETFS, INDEX, STOCKS, closes, sessions

DATED = {
    "positions": "entry_date",
    "position_realized_events": "trade_date",
    "market_data_cache": "date",
}


def rows(table: str) -> list[dict[str, str]]:
    columns, data = tables()[table]
    return list(csv.DictReader(io.StringIO(data.decode()), columns))


def test_prices_are_whole_and_on_sessions() -> None:
    bounds = CalendarSettings()
    calendar = load_calendar(bounds.name, bounds.start, bounds.end)
    days = [calendar.index(date.fromisoformat(day).toordinal()) for day in sessions()]
    assert None not in days
    assert days == list(range(days[0] or 0, (days[0] or 0) + 2264))
    assert set(closes()) == {*STOCKS, *ETFS, INDEX}
    assert all(list(series) == sessions() for series in closes().values())
    assert all(float(c) > 0 for series in closes().values() for c in series.values())


def test_at_least_87_sessions_of_each_portfolio_are_derived() -> None:
    assert len([day for day in sessions() if day >= FIRST_DAY]) >= 87
    assert [p["inception_date"] for p in rows("portfolios")] == [FIRST_DAY] * 3


@pytest.mark.parametrize("table", DATED)
def test_every_trade_and_price_is_on_a_session(table: str) -> None:
    assert {row[DATED[table]] for row in rows(table)} <= set(sessions())


def test_the_three_kinds() -> None:
    types = {
        p: Counter(
            r["position_type"] for r in rows("positions") if r["portfolio_id"] == p
        )
        for p in "123"
    }
    assert set(types["1"]) == set(types["2"]) == {"LONG"}
    assert set(types["3"]) == {"LONG", "SHORT", "LC", "SP"}
    assert {f["portfolio_id"] for f in rows("equity_changes")} >= {"2"}
    assert sum(r["investment_class"] == "PRIVATE" for r in rows("positions")) == 1


def test_options_are_priced_from_the_day_they_are_bought_to_their_expiry() -> None:
    marks = [r for r in rows("market_data_cache") if r["symbol"] in (CALL, PUT)]
    call = [r["date"] for r in marks if r["symbol"] == CALL]
    assert (call[0], call[-1]) == ("2022-06-15", "2022-11-18")
    assert all(float(r["close"]) >= 0.01 for r in marks)


def test_benchmark_weights_are_of_the_stocks_and_sum_to_one() -> None:
    weights = rows("benchmarks_sector_weights")
    assert {w["benchmark_code"] for w in weights} == {BENCHMARK}
    assert sum(float(w["weight"]) for w in weights) == pytest.approx(1)


def test_licence_and_source_lie_beside_the_data() -> None:
    room = files("sample")
    licence = room.joinpath("LICENSE.skfolio.txt").read_text()
    assert licence.startswith("BSD 3-Clause License")
    assert "skfolio" in room.joinpath("README.md").read_text()
