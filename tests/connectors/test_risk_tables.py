"""Risk and symbols in PostgreSQL: what the views and ``why`` say is what was published.

What the engine says of a world is written by the sink and read back.
"""

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from analytics.factors import Factors
from connectors.postgres import apply_schema, connect
from connectors.schemas import json_schema
from connectors.settings import PostgresSettings
from connectors.sink import FAMILIES, SYMBOLS, Written
from connectors.sink_postgres import PostgresSink
from connectors.why import Why, WhyError, find, window_length
from connectors.why_inputs import Asked
from deltafolio.cli import app
from deltafolio.why_cmds import lines
from tests.connectors.result_records import Made
from tests.connectors.risk_world import CALENDAR, DAYS, NEWEST, risk_records

LAST = date.fromordinal(DAYS[NEWEST])


@dataclass
class Results:
    """A database with the results of the world."""

    dsn: str
    connection: asyncpg.Connection
    published: dict[tuple[str, Any], dict[str, Any]]

    async def fetch(self, query: str) -> list[asyncpg.Record]:
        return list(await self.connection.fetch(query))

    async def of_lot(self, view: str, lot: int) -> asyncpg.Record:
        return await self.connection.fetchrow(
            f"SELECT * FROM analytics.{view} WHERE lot = $1 AND session = $2", lot, LAST
        )


async def write(dsn: str) -> None:
    for family in FAMILIES:
        sink = PostgresSink(dsn, family, f"results.{family.name}")
        records = [
            Made(record.key, record.value, headers=record.headers)
            for result, record in risk_records()
            if result.family == family.name
        ]
        await sink.open()
        written = await sink.write(records, {0: len(records)})
        await sink.close()
        assert written == Written(stored=len(records))


@pytest.fixture
async def database(results: PostgresSettings):
    dsn = results.dsn.get_secret_value()
    await write(dsn)
    connection = await connect(dsn, "test")
    published = {
        (result.family, result.owner): json.loads(record.value)
        for result, record in risk_records()
        if result.session == NEWEST
    }
    yield Results(dsn, connection, published)
    await connection.close()


# --- tables and views ---------------------------------------------------------------


async def test_the_content_is_what_was_published_without_the_head(database):
    row = await database.connection.fetchrow(
        "SELECT * FROM analytics.portfolio_risk "
        "WHERE portfolio_id = 1 AND session = $1",
        LAST,
    )
    record = database.published["risk", 1]
    content = json.loads(row["content"])
    assert content == {name: record[name] for name in content}
    head = {"portfolio", "session", "revision", "as_of", "cause", "previous", "status"}
    assert record.keys() - content.keys() == head


async def test_a_lot_has_the_statistics_of_its_symbol(database):
    symbol = database.published["symbols", "A"]
    beta = await database.of_lot("position_market_betas", 1)
    assert {name: beta[name] for name in symbol["market"]} == symbol["market"]
    rate = await database.of_lot("position_interest_rate_betas", 1)
    assert {n: rate[n] for n in symbol["interest_rate"]} == symbol["interest_rate"]
    moves = await database.of_lot("position_volatility", 1)
    assert moves["volatility_252"] == symbol["volatility"]["252"]["value"]
    assert moves["trend_direction"] == symbol["trend"]["direction"]
    assert moves["trend_strength_reason"] is symbol["trend"]["strength_reason"] is None
    late = await database.of_lot("position_volatility", 4)
    assert (late["volatility_252"], late["reason_252"]) == (None, "too_few")


async def test_a_lot_has_a_row_for_each_factor(database):
    symbol = database.published["symbols", "A"]
    rows = await database.fetch(
        "SELECT kind, factor, exposure, reason, tilt "
        "FROM analytics.position_factor_exposures "
        f"WHERE lot = 1 AND session = '{LAST}'"
    )
    expected = {
        ("ridge", name, one["loading"], one["reason"], None)
        for name, one in symbol["ridge"]["loadings"].items()
    } | {
        ("spread", key, one["beta"], one["reason"], one["tilt"])
        for key, one in symbol["spreads"].items()
    }
    assert {tuple(row) for row in rows} == expected


async def test_a_lot_without_statistics_says_so(database):
    await database.connection.execute(
        "UPDATE analytics.position_arrays SET investment_class[1] = 'PRIVATE'"
    )
    for view in ("position_market_betas", "position_factor_exposures"):
        row = await database.of_lot(view, 1)
        assert row["reason"] == "not_covered"
    row = await database.of_lot("position_volatility", 1)
    assert (row["volatility_21"], row["reason_21"]) == (None, "not_covered")


async def test_nothing_is_said_of_lots_where_symbols_are_not_published(database):
    await database.connection.execute("TRUNCATE analytics.symbol_statistics")
    assert await database.fetch("SELECT FROM analytics.position_market_betas") == []


async def test_exposures_are_a_row_a_factor(database):
    risk = database.published["risk", 1]
    rows = await database.fetch(
        "SELECT kind, name, value, money, coverage, reason "
        "FROM analytics.factor_exposures "
        f"WHERE portfolio_id = 1 AND session = '{LAST}'"
    )
    groups = {"beta": risk["betas"], "style": risk["styles"], "spread": risk["spreads"]}
    names = ("value", "money", "coverage", "reason")
    assert {tuple(row) for row in rows} == {
        (kind, name, *(one[n] for n in names))
        for kind, group in groups.items()
        for name, one in group.items()
    }


async def test_both_volatilities_of_a_portfolio(database):
    risk = database.published["risk", 1]
    [row] = await database.fetch(
        "SELECT * FROM analytics.portfolio_volatility "
        f"WHERE portfolio_id = 1 AND session = '{LAST}'"
    )
    assert row["volatility_63"] == risk["volatility"]["63"]["value"]
    assert row["twr_volatility_63"] == risk["twr_volatility"]["63"]["value"]
    assert row["har"] == risk["volatility"]["har"]["value"]


async def test_a_null_strength_of_a_trend_says_why(database):
    """Of a flat series the slope is there, and the strength is not."""
    flat = {"slope": 0.0, "strength": None, "strength_reason": "constant"}
    for table, place in (
        ("symbol_statistics", ("trend",)),
        ("portfolio_risk", ("volatility", "trend")),
    ):
        query = (
            f"UPDATE analytics.{table} "
            "SET content = jsonb_set(content::jsonb, $1, $2::jsonb)::json"
        )
        await database.connection.execute(query, place, json.dumps(flat))
    lot = await database.of_lot("position_volatility", 1)
    [row] = await database.fetch(
        "SELECT * FROM analytics.portfolio_volatility "
        f"WHERE portfolio_id = 1 AND session = '{LAST}'"
    )
    for said in (lot, row):
        assert (said["trend_slope"], said["trend_strength"]) == (0, None)
        assert (said["trend_reason"], said["trend_strength_reason"]) == (
            None,
            "constant",
        )
        # CREATE OR REPLACE VIEW only appends columns.
        assert list(said.keys())[-1] == "trend_strength_reason"


async def test_pairs_stand_beside_the_right_names(database):
    risk = database.published["risk", 1]["correlation"]
    rows = await database.fetch(
        "SELECT symbol_1, symbol_2, rho, n FROM analytics.pairwise_correlations "
        f"WHERE portfolio_id = 1 AND session = '{LAST}'"
    )
    pairs = combinations(risk["names"], 2)
    assert len(rows) == 6
    assert {tuple(row) for row in rows} == {
        (*pair, rho, n)
        for pair, rho, n in zip(pairs, risk["rho"], risk["n"], strict=True)
    }
    [row] = await database.fetch(
        "SELECT names, mean, included FROM analytics.correlation_calculations "
        f"WHERE portfolio_id = 1 AND session = '{LAST}'"
    )
    assert tuple(row) == (risk["names"], risk["mean"], 4)


async def test_sectors_are_a_row_each_and_benchmark(database):
    blocks = database.published["risk", 1]["sectors"]
    rows = await database.fetch(
        "SELECT benchmark, sector, net, active, active_reason "
        "FROM analytics.sector_exposures "
        f"WHERE portfolio_id = 1 AND session = '{LAST}'"
    )
    assert {tuple(row) for row in rows} == {
        (block["benchmark"], sector, net, active, block["active_reason"])
        for block in blocks
        for sector, net, active in zip(
            block["sectors"], block["net"], block["active"], strict=True
        )
    }


async def test_the_schema_can_be_applied_again(database, results):
    await apply_schema(results)
    count = "SELECT count(*) FROM analytics.symbol_statistics"
    assert await database.connection.fetchval(count) > 0


# --- symbols in the sink ------------------------------------------------------------


def statistics(symbol: str, p: int, **change: Any) -> Made:
    record = next(r for _, r in risk_records() if r.key.startswith(b"A|"))
    value = json.loads(record.value)
    value |= {"symbol": symbol, "revision": {"p": p, "m": 1, "v": 1}, **change}
    key = f"{symbol}|{value['session']}".encode()
    return Made(key, json.dumps(value, ensure_ascii=False).encode())


@pytest.mark.parametrize("symbol", ["A", "A|B", 'q"\\', "tab\t", "null", "é", "BRK.B"])
async def test_a_symbol_is_kept_verbatim_retracted_and_does_not_come_back(
    results, symbol
):
    dsn = results.dsn.get_secret_value()
    sink = PostgresSink(dsn, SYMBOLS, "t.symbols")
    connection = await connect(dsn, "test")
    query = "SELECT symbol FROM analytics.symbol_statistics"
    await sink.open()
    assert await sink.write([statistics(symbol, 2)], {}) == Written(stored=1)
    assert await connection.fetchval(query) == symbol
    gone = statistics(symbol, 3, retracted=True, market=None)
    value = json.loads(gone.value)
    gone.value = json.dumps({k: v for k, v in value.items() if k != "ridge"}).encode()
    assert await sink.write([gone], {}) == Written(retracted=1)
    assert await sink.write([statistics(symbol, 2)], {}) == Written(stale=1)
    assert await connection.fetch(query) == []
    assert await sink.write([statistics(symbol, 4)], {}) == Written(stored=1)
    await sink.close()
    await connection.close()


# --- why ----------------------------------------------------------------------------


async def ask(database: Results, metric: str, portfolio: int = 1) -> Any:
    asked = Why(database.connection, CALENDAR, Factors())
    return await asked.answer(portfolio, "newest", metric, 2)


async def test_why_a_beta(database):
    answer = await ask(database, "betas.market")
    risk = database.published["risk", 1]
    assert answer.value == risk["betas"]["market"]["value"]
    assert (answer.window.sessions, answer.window.last) == (90, LAST)
    assert answer.window.first == date.fromordinal(DAYS[NEWEST - 89])
    weights = [abs(one.weight) for one in answer.inputs]
    assert len(weights) == 2
    assert weights == sorted(weights, reverse=True)
    first = answer.inputs[0]
    beta = database.published["symbols", first.name]["market"]["beta"]
    assert first.parts["beta"] == beta
    assert first.weight == first.parts["market_value"] * beta
    assert answer.revision == {"p": 1, "m": 1, "v": 1}


async def test_own_returns_begin_with_the_portfolio_and_others_before(database):
    """Results begin at the sixth session here, a week before the one asked about."""
    first, day = (date.fromordinal(DAYS[n]) for n in (5, 12))
    asked = Why(database.connection, CALENDAR, Factors())
    own = await asked.answer(1, str(day), "twr_volatility.21", 0)
    assert (own.window.first, own.window.last) == (first, day)
    assert own.window.sessions == 8
    names = await asked.answer(1, str(day), "volatility.21", 0)
    assert names.window.first == date.fromordinal(DAYS[0])
    whole = await ask(database, "twr_volatility.21")
    assert whole.window.first == date.fromordinal(DAYS[NEWEST - 20])
    assert whole.window.sessions == 21


async def test_why_money(database):
    answer = await ask(database, "nav")
    assert answer.window is None
    assert answer.value == Decimal(str(database.published["snapshots", 1]["nav"]))
    lots = database.published["positions", 1]
    values = sorted(map(abs, lots["market_value"]), reverse=True)
    assert [abs(float(one.weight)) for one in answer.inputs] == values[:2]


@pytest.mark.parametrize(
    ("metric", "portfolio", "reason"),
    [
        ("betas.market", 2, "no_positions"),
        ("betas.market", 3, "nav_not_positive"),
        ("styles.Value", 1, "no_coverage"),
        ("hhi", 2, "no_positions"),
        ("correlation.mean", 2, "no_positions"),
    ],
)
async def test_why_there_is_no_number(database, metric, portfolio, reason):
    answer = await ask(database, metric, portfolio)
    assert answer.value is None
    assert answer.reason is not None
    assert answer.reason == reason or metric == "correlation.mean"


@pytest.mark.parametrize(
    ("metric", "weighed"),
    [
        ("pnl", "lots by |pnl|"),
        ("volatility.21", "names by |market value x volatility|"),
        ("volatility.har", "names by |market value x volatility|"),
        ("styles.Momentum", "names by |market value x loading|"),
        ("spreads.IWM-SPY", "names by |market value x beta|"),
        ("correlation.mean", "pairs by |rho|"),
        ("twr_volatility.21", "sessions by |daily return|"),
        ("sectors.Unclassified", ""),
        ("flow", ""),
    ],
)
async def test_what_is_weighed(database, metric, weighed):
    answer = await ask(database, metric)
    assert answer.weighed == weighed
    assert (len(answer.inputs) > 0) == bool(weighed)


@pytest.mark.parametrize(
    ("portfolio", "session", "metric", "words"),
    [
        (9, "newest", "nav", "portfolio 9 has no results"),
        (1, "soon", "nav", "neither a date"),
        (1, "2030-01-01", "nav", "no session"),
        (1, "newest", "navel", "there is no 'navel'"),
        (1, "newest", "betas", "betas has: market, interest_rate"),
        (1, "newest", "betas.bonds", "no 'bonds' in betas, which has: market"),
        (1, "newest", "correlation.rho", "correlation.rho is no number"),
    ],
)
async def test_what_cannot_be_explained_is_said(
    database, portfolio, session, metric, words
):
    asked = Why(database.connection, CALENDAR, Factors())
    with pytest.raises(WhyError, match=words.replace("|", ".")):
        await asked.answer(portfolio, session, metric)


async def test_a_null_cause_is_told_alike_by_the_command_the_schemas_and_the_words(
    database,
):
    """Of several changes the newest is the cause, so null is not of several."""
    answer = await ask(database, "nav")
    said = list(lines(replace(answer, cause=None)))[-1]
    schema = json_schema("snapshots")["$defs"]["Snapshot"]["properties"]["cause"]
    formulas = (Path(__file__).parents[2] / "docs" / "formulas.md").read_text()
    for text in (said, schema["description"], formulas):
        assert "no change of a row is known to have moved it: time passed" in text
        assert "took the partition over from an earlier checkpoint" in text
    assert "newest" in schema["description"]
    assert "several changes at once" not in said


def test_names_with_dots_are_found():
    content = {"spreads": {"BRK.B-SPY": {"value": 1.5, "tilt": "strong"}}}
    assert find(content, "spreads.BRK.B-SPY").value == 1.5
    assert find(content, "spreads.BRK.B-SPY.tilt").value == "strong"


def test_windows_are_those_of_the_settings():
    factors = Factors()
    assert window_length(("nav",), factors) is None
    assert window_length(("spreads", "VUG-VTV", "value"), factors) == 180
    assert window_length(("volatility", "63", "value"), factors) == 63
    assert window_length(("volatility", "trend", "slope"), factors) == 41
    assert Asked(1, LAST, ("nav",), factors).path == ("nav",)


async def run(*words: str, **environment: str) -> Any:
    """Run the command; it has an event loop of its own."""
    return await asyncio.to_thread(
        CliRunner().invoke, app, ["why", *words], env=environment
    )


async def test_the_command(database, tmp_path):
    where = {
        "DELTAFOLIO_HOME": str(tmp_path),
        "DELTAFOLIO_POSTGRES__DSN": database.dsn,
    }
    said = await run("1", "newest", "betas.market", **where)
    assert said.exit_code == 0, said.output
    # The world's newest day is none of the real exchange, so there is no window.
    for word in ("revision", "inputs", "record last moved by"):
        assert f"\n  {word}" in said.output
    found = json.loads((await run("1", "newest", "nav", "--json", **where)).output)
    assert found["value"] == database.published["snapshots", 1]["nav"]
    assert (await run("9", "newest", "nav", **where)).exit_code == 1
    where["DELTAFOLIO_POSTGRES__DSN"] = "postgresql://postgres@127.0.0.1:1/none"
    nowhere = await run("1", "newest", "nav", **where)
    assert nowhere.exit_code == 2
    assert "why failed: " in nowhere.output
