"""JSON of many records at once, written column by column.

A record of risk has hundreds of numbers; as objects of Python they would cost ten
times what computing them does. Here a field is a column: one text for all records
where they agree, else one for each. What is constant is put together once, and a
record is a join of its pieces. The bytes are those of ``records.encode``.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, repeat
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from analytics.records import encode

Part: TypeAlias = bytes | list[bytes]
"""A text of all records, or one for each."""
Parts: TypeAlias = list[Part]
"""What a field consists of, side by side."""
Table: TypeAlias = NDArray[np.object_]

NULL: Parts = [b"null"]


def table(words: Iterable[object]) -> Table:
    """Texts of what small integers stand for.

    Examples
    --------
    >>> table([None, "few", 3]).tolist()
    [b'null', b'"few"', b'3']
    """
    found = [encode(word) for word in words]
    made = np.empty(len(found), dtype=object)
    made[:] = found
    return made


BOOLS = table([False, True])


def _agree(values: NDArray[Any]) -> bool:
    """Whether all values are equal; NaN is equal to nothing."""
    first = values[0]
    if len(values) == 1:
        return bool(first == first)
    return bool(first == values[-1]) and bool((values == first).all())


def numbers(values: NDArray[Any]) -> Parts:
    """Doubles or integers of at least one record; NaN is null.

    Examples
    --------
    >>> numbers(np.array([0.5, np.nan])), numbers(np.array([1, 1]))
    ([[b'0.5', b'null']], [b'1'])
    """
    if _agree(values):
        return [encode(values[0].item())]
    return [_dumped(np.ascontiguousarray(values))[1:-1].split(b",")]


def picked(values: NDArray[Any], words: Table) -> Parts:
    """Text of the table for each value, which is a place in it."""
    if _agree(values):
        return [words[int(values[0])]]
    return [words[values.astype(np.intp)].tolist()]


def lists(rows: NDArray[Any] | Sequence[NDArray[Any]]) -> Parts:
    """Write the numbers of each record as a list; NaN is null.

    Examples
    --------
    >>> joined(lists(np.array([[1, 2], [3, 4]])), 2)
    [b'[1,2]', b'[3,4]']
    >>> joined(lists([np.array([0.5]), np.array([])]), 2)
    [b'[0.5]', b'[]']
    """
    return [b"[", _dumped(rows)[2:-2].split(b"],["), b"]"]


def cut(
    values: NDArray[Any], starts: NDArray[Any]
) -> list[NDArray[Any]] | NDArray[Any]:
    """Cut a column of all records' numbers into those of each, for ``lists``.

    ``starts`` says where each begins, and where the last ends.
    """
    counts = np.diff(starts)
    if len(counts) and counts[0] and (counts == counts[0]).all():
        return values.reshape(len(counts), -1)
    bounds = starts.tolist()
    return [values[low:high] for low, high in pairwise(bounds)]


def _dumped(numbers: NDArray[Any] | Sequence[NDArray[Any]]) -> bytes:
    """Text of arrays, without an object of Python for each number.

    Both encoders write the shortest digits that read back as the same double; from
    1e16 on they differ by a plus sign in the exponent.
    """
    text = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)
    return text.replace(b"+", b"")


def objects(fields: Mapping[str, Parts]) -> Parts:
    """Put fields together to one object a record.

    Examples
    --------
    >>> joined(objects({"a": [b"1"], "b": [[b"2", b"3"]]}), 2)
    [b'{"a":1,"b":2}', b'{"a":1,"b":3}']
    """
    found: Parts = []
    lead = b"{"
    for name, parts in fields.items():
        found += (b"%b%b:" % (lead, encode(name)), *parts)
        lead = b","
    found.append(b"}" if fields else b"{}")
    return found


def joined(parts: Parts, count: int) -> list[bytes]:
    """Texts of ``count`` records.

    Raises
    ------
    ValueError
        A column is not of that length.
    """
    merged: list[Any] = []
    constant: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            constant.append(part)
        elif len(part) != count:
            msg = f"a column of {len(part)} texts for {count} records"
            raise ValueError(msg)
        else:
            merged += (repeat(b"".join(constant), count), part)
            constant.clear()
    last = repeat(b"".join(constant), count)
    return list(map(b"".join, zip(*merged, last, strict=True)))
