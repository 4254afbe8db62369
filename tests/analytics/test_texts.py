"""Records written column by column are those that the encoder writes one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.records import encode
from analytics.texts import (
    BOOLS,
    cut,
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
    expected = [encode(row) for row in rows]
    assert joined(lists([np.array(row) for row in rows]), len(rows)) == expected
    flat = np.array([number for row in rows for number in row])
    starts = np.cumsum([0, *map(len, rows)])
    assert joined(lists(cut(flat, starts)), len(rows)) == expected


@pytest.mark.parametrize("exponent", [-308, -7, -5, -4, 0, 15, 16, 17, 22, 308])
def test_exponents_are_written_as_the_encoder_does(exponent):
    values = np.array([float(f"{digits}e{exponent}") for digits in (1, -1.5, 1.23456)])
    assert joined(lists(values[None]), 1) == [encode(values.tolist())]
    assert joined(numbers(values), 3) == [encode(value) for value in values.tolist()]


def test_columns_of_equal_length_are_cut_as_those_of_any():
    values = np.arange(6.0)
    assert joined(lists(cut(values, np.array([0, 3, 6]))), 2) == [
        b"[0.0,1.0,2.0]",
        b"[3.0,4.0,5.0]",
    ]
    assert joined(lists(cut(values, np.array([0, 0, 6]))), 2)[0] == b"[]"
    assert joined(lists(cut(values[:0], np.array([0, 0, 0]))), 2) == [b"[]", b"[]"]


def test_no_fields_are_an_empty_object():
    assert joined(objects({}), 2) == [b"{}", b"{}"]


def test_a_column_of_another_length_is_refused():
    with pytest.raises(ValueError, match="3 texts for 2 records"):
        joined([b"[", [b"1", b"2", b"3"], b"]"], 2)
