"""The synthetic universe: the same for a seed, valid, of the promised size."""

import csv
import io
from collections import Counter

import numpy as np
import pytest

from deltafolio.universe import ETFS, Universe, make_universe
from sample import Tables


def rows(tables: Tables, table: str) -> list[dict[str, str]]:
    columns, data = tables[table]
    return list(csv.DictReader(io.StringIO(data.decode()), columns))


@pytest.fixture(scope="module")
def small() -> Universe:
    return make_universe(40, 30, symbols=60)


def test_a_seed_gives_the_same_rows(small: Universe) -> None:
    again = make_universe(40, 30, symbols=60)
    other = make_universe(40, 30, symbols=60, seed=1)
    assert again.tables == small.tables
    assert other.tables != small.tables


def test_it_has_the_promised_size(small: Universe) -> None:
    assert len(small.sessions) == 252 + 30
    assert len(rows(small.tables, "market_data_cache")) == 282 * (60 + len(ETFS))
    lots = rows(small.tables, "positions")
    assert set(Counter(lot["portfolio_id"] for lot in lots).values()) == {21}
    assert sum(map(len, small.holders.values())) == len(lots)
    assert small.rows == sum(len(rows(small.tables, t)) for t in small.tables)


def test_every_portfolio_begins_with_the_first_live_session(small: Universe) -> None:
    first = small.sessions[-30]
    lots = rows(small.tables, "positions")
    assert {p["inception_date"] for p in rows(small.tables, "portfolios")} == {first}
    assert min(lot["entry_date"] for lot in lots) == first
    assert {lot["portfolio_id"] for lot in lots if lot["entry_date"] == first} == {
        p["id"] for p in rows(small.tables, "portfolios")
    }


def test_lots_are_bought_at_the_close(small: Universe) -> None:
    closes = {
        (row["symbol"], row["date"]): row["close"]
        for row in rows(small.tables, "market_data_cache")
    }
    for lot in rows(small.tables, "positions"):
        assert lot["entry_price"] == closes[lot["symbol"], lot["entry_date"]]
        assert (lot["position_type"] == "SHORT") == (float(lot["quantity"]) < 0)


def test_sales_are_of_a_lot_of_the_same_portfolio(small: Universe) -> None:
    owner = {r["id"]: r["portfolio_id"] for r in rows(small.tables, "positions")}
    events = rows(small.tables, "position_realized_events")
    assert len(events) == 40
    assert all(owner[e["position_id"]] == e["portfolio_id"] for e in events)


def test_symbols_move_with_the_market_and_bonds_against_it() -> None:
    universe = make_universe(1, 60, symbols=100)
    returns = np.diff(np.log(universe.closes), axis=0)
    correlation = np.corrcoef(returns.T)[0]
    assert correlation[8:].mean() == pytest.approx(0.45, abs=0.15)
    assert -0.6 < correlation[1] < 0
