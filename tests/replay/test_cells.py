"""Records beside stored rows: the smallest difference is found and named."""

from __future__ import annotations

import math
import re
from datetime import date
from decimal import Decimal

from analytics.records import digest
from connectors.postgres import results_sql
from connectors.sink import RISK, SNAPSHOTS, SYMBOLS
from replay.cells import JSON, compare, read, stored
from replay.verify import Expected, is_as, sample

CONTENT = (
    b'{"status":"final","nav":10000000000000.0001,"daily_return":0.1,"lots":3,'
    b'"hhi":null,"reasons":{},"quality":{"stale":[{"lot":1}]}}'
)
ROW = {
    "status": "final",
    "nav": Decimal("10000000000000.0001"),
    "daily_return": 0.1,
    "lots": 3,
    "hhi": None,
    "reasons": "{}",
    "quality": '{"stale": [{"lot": 1}]}',
}


def wrong(**changed: object) -> list[str]:
    found = stored(SNAPSHOTS, ROW | changed)
    leaves, differing = compare(read(CONTENT), found)
    assert leaves == 7
    return [".".join(cell.path) for cell in differing]


def test_a_row_that_is_as_the_record_says() -> None:
    assert wrong() == []


def test_one_bit_is_found_and_named() -> None:
    assert wrong(daily_return=math.nextafter(0.1, 1)) == ["daily_return"]
    assert wrong(nav=Decimal("10000000000000.0002")) == ["nav"]
    assert wrong(hhi=0.0) == ["hhi"]
    assert wrong(lots=None) == ["lots"]
    assert wrong(quality='{"stale": [{"lot": 2}]}') == ["quality.stale.0.lot"]
    assert wrong(quality='{"stale": []}') == ["quality.stale"]
    assert wrong(status="intraday") == ["status"]


def test_a_text_is_no_json_whatever_it_begins_with() -> None:
    for symbol in ("{x}", "[1]", "{"):
        assert stored(SYMBOLS, {"symbol": symbol, "content": "{}"}) == {
            "symbol": symbol
        }


def test_json_is_what_the_schema_says() -> None:
    made = re.findall(r"^    (\w+) jsonb?(?: NOT NULL)?,$", results_sql(), re.MULTILINE)
    assert set(made) - {"counts", "seconds"} == JSON  # those are of analytics.runs


def test_zeros_and_what_is_no_number() -> None:
    one = {"hhi": Decimal("0.0"), "n": True, "none": None}
    assert compare(one, {"hhi": 0.0, "n": True, "none": None}) == (3, [])
    assert len(compare(one, {"hhi": -0.0, "n": 1, "none": float("nan")})[1]) == 3
    assert len(compare({"a": "0.5", "b": 0}, {"a": 0.5, "b": False})[1]) == 2


def test_a_document_is_compared_within() -> None:
    content = b'{"status":"final","betas":{"market":{"value":1e-07,"n":3}}}'
    spelled = '{"betas": {"market": {"value": %s, "n": 3}}}'
    row = {"status": "final", "content": spelled % "0.0000001"}
    assert compare(read(content), stored(RISK, row)) == (3, [])
    row["content"] = spelled % "0.00000010000000000000001"
    found = [cell.path for cell in compare(read(content), stored(RISK, row))[1]]
    assert found == [("betas", "market", "value")]


def test_arrays_and_dates() -> None:
    content = {"price": [Decimal("1.5"), None], "price_date": ["2022-01-03", None]}
    row = {"price": [Decimal("1.500000"), None], "price_date": [date(2022, 1, 3), None]}
    assert compare(content, row) == (4, [])
    row["price_date"][0] = date(2022, 1, 4)
    assert [cell.path for cell in compare(content, row)[1]] == [("price_date", "0")]
    assert compare(content, {"price": [1]})[1] == [
        (("price",), content["price"], [1]),
        (("price_date",), content["price_date"], None),
    ]


def test_a_published_record_must_end_with_the_same_bytes() -> None:
    expected = Expected(digest(CONTENT), len(CONTENT) - 1, 1)
    value = b'{"portfolio":7,' + CONTENT[1:]
    assert is_as(value, expected)
    assert not is_as(value.replace(b"0.1,", b"0.2,"), expected)
    assert not is_as(b'{"retracted":true}', expected)
    assert is_as(b'{"portfolio":7,"retracted":true}', None)
    assert not is_as(value, None)


def test_a_sample_is_of_those_known_and_its_seeds() -> None:
    assert sample([3, 1], 0) == (1, 3)
    assert len(sample(range(100), 0)) == 20
    assert sample(range(100), 1) == sample(range(100), 1) != sample(range(100), 2)
