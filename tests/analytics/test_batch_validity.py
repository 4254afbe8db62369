"""The door and the oracle, written apart, admit the same rows."""

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.batch import rows
from tests.analytics.tiny_world import CALENDAR, FIRST, LAST, ROWS, admitted, weight

PARSERS = {
    "portfolios": rows.portfolio,
    "positions": rows.lot,
    "equity_changes": rows.flow,
    "position_realized_events": rows.event,
    "market_data_cache": rows.close,
    "company_profiles": rows.profile,
    "benchmarks_sector_weights": rows.weight,
}
HOSTILE = st.one_of(
    st.sampled_from([None, "", "X", "LONG", "SC", "PRIVATE", "WITHDRAWAL"]),
    st.decimals(allow_infinity=False, places=7),
    st.sampled_from(["0", "1", "-1", "1e13", "-1e13", "9223372036854.775807"]).map(
        Decimal
    ),
    st.sampled_from(
        ["9223372036854.775808", "922337203685477.5807", "922337203685477.5808"]
    ).map(Decimal),
    st.dates(FIRST - timedelta(2), LAST + timedelta(2)),
    st.sampled_from([date.min, date.max]),
    st.floats(),
)


NUMERIC = ("price", "quantity", "amount", "closed", "pnl", "balance")
NUMERIC += ("open", "high", "low", "close", "weight")


def fits(column: str, value: object) -> bool:
    """Whether PostgreSQL could hold the value in that column."""
    kind: type | tuple[type, ...] = str
    if column.endswith("date"):
        kind = date
    elif column == "adj_close":
        kind = float
    elif column in ("deleted_at", "is_etf", "volume") or column.endswith("id"):
        return False
    elif column.endswith(NUMERIC):
        kind = Decimal
    return value is None or isinstance(value, kind)


NOT_NULL = {"symbol", "position_type", "quantity", "entry_price", "entry_date", "date"}
NOT_NULL |= {"amount", "change_date", "change_type", "trade_date", "quantity_closed"}
NOT_NULL |= {"benchmark_code", "sector", "weight", "effective_date", "name"}


@st.composite
def spoilt_rows(draw):
    table = draw(st.sampled_from(sorted(ROWS)))
    row = dict(draw(ROWS[table]))
    for _ in range(draw(st.integers(0, 2))):
        column = draw(st.sampled_from(sorted(row)))
        value = draw(HOSTILE)
        if fits(column, value) and (value is not None or column not in NOT_NULL):
            row[column] = value
    return table, row


@given(spoilt_rows())
@settings(max_examples=800, deadline=None, derandomize=True)
def test_the_door_and_the_oracle_admit_the_same_rows(drawn):
    table, row = drawn
    [*mine] = rows.valid([row], PARSERS[table], CALENDAR)
    assert bool(mine) == (admitted(table, row) is not None)


def test_a_benchmark_without_a_code_is_admitted_by_neither():
    row = weight(1, "SPX", "Energy", "0.5", FIRST)
    [kept] = rows.valid([row], rows.weight, CALENDAR)
    assert kept.benchmark == "SPX"
    for empty, count in (("benchmark_code", 0), ("sector", 1)):
        spoilt = row | {empty: ""}
        assert len(rows.valid([spoilt], rows.weight, CALENDAR)) == count
        there = admitted("benchmarks_sector_weights", spoilt) is not None
        assert there == bool(count)
