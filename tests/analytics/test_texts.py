"""Records written column by column are those that the encoder writes one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.records import encode
from analytics.texts import (
    BOOLS,
    joined,
    lists,
    numbers,
    objects,
    picked,
    table,
)

WORDS = (None, "few", 'qu"oted')
doubles = st.floats(allow_nan=True, allow_infinity=False)


@given(st.lists(st.tuples(doubles, st.integers(0, 2), st.booleans()), min_size=1))
def test_columns_are_what_the_encoder_writes(rows):
    value, code, flag = (np.array(column) for column in zip(*rows, strict=True))
    inner = objects({"word": picked(code, table(WORDS)), "n": numbers(code)})
    parts = objects({"x": numbers(value), "in": inner, "flag": picked(flag, BOOLS)})
    expected = [
        encode({"x": x, "in": {"word": WORDS[n], "n": n}, "flag": f})
        for x, n, f in rows
    ]
    assert joined(parts, len(rows)) == expected


@given(st.lists(st.lists(doubles), min_size=1))
def test_lists_are_what_the_encoder_writes(rows):
    assert joined(lists(rows), len(rows)) == [encode(row) for row in rows]


def test_no_fields_are_an_empty_object():
    assert joined(objects({}), 2) == [b"{}", b"{}"]


def test_a_column_of_another_length_is_refused():
    with pytest.raises(ValueError, match="3 texts for 2 records"):
        joined([b"[", [b"1", b"2", b"3"], b"]"], 2)
