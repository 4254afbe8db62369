"""Records of the result topics on their way into a sink: read, thinned, spelled."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec

from connectors.sink import Family, RefusedError, ResultRecord, Revision

# --- reading records --------------------------------------------------------------


_Bigint: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Offset: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Revision(msgspec.Struct, frozen=True, gc=False):
    p: _Offset
    m: _Offset
    v: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class _Revised(msgspec.Struct, frozen=True, gc=False):
    revision: _Revision


Owner: TypeAlias = int | str


class Cell(NamedTuple):
    """A record as read: whose it is, its revision, its content (None: retracted)."""

    owner: Owner
    session: datetime.date
    revision: Revision
    content: Any | None


class Reader:
    """Reads the records of a family; fields that it does not know are let pass."""

    def __init__(self, family: Family) -> None:
        owner = "symbol" if family.of_symbols else "portfolio"
        owner_type: Any = str if family.of_symbols else _Bigint
        names = {"owner": owner}
        head: list[tuple[str, Any]] = [
            *(("owner", owner_type), ("session", datetime.date)),
            ("revision", _Revision),
        ]
        gone = [*head, ("retracted", bool)]
        raw = (*family.values, *family.arrays, *family.document)
        fields: list[tuple[str, Any]] = [
            *(*head, ("as_of", str)),
            *([] if family.of_symbols else [("status", str)]),
            *((name, msgspec.Raw) for name in raw),
        ]
        content = msgspec.defstruct("Content", fields, rename=names, gc=False)
        retraction = msgspec.defstruct("Retraction", gone, rename=names, gc=False)
        self._content = msgspec.json.Decoder(content).decode
        self._head = msgspec.json.Decoder(retraction).decode

    def read(self, record: ResultRecord) -> Cell:
        """Read a record.

        Raises
        ------
        RefusedError
            When it is no result: not JSON, a field is missing or of another type, or
            the key names another cell.
        """
        value = record.value or b""
        head: Any
        try:
            head = content = self._content(value)
        except msgspec.DecodeError as error:
            head, content = self._retraction(value, error), None
        if record.key != f"{head.owner}|{head.session}".encode():
            message = f"key {record.key!r} of {head.owner}|{head.session}"
            raise RefusedError(message)
        revision = head.revision
        return Cell(
            head.owner,
            head.session,
            (revision.p, revision.m, revision.v),
            content,
        )

    def _retraction(self, value: bytes, error: msgspec.DecodeError) -> Any:
        """Read what is no content: a retraction, or refused for that reason."""
        try:
            head: Any = self._head(value)
        except msgspec.DecodeError:
            raise RefusedError(str(error)) from error
        if not head.retracted:
            raise RefusedError(str(error)) from error
        return head


_unpack_revised = msgspec.json.Decoder(_Revised).decode
_NO_REVISION: Revision = (-1, -1, -1)


def revision_of(record: ResultRecord) -> Revision:
    """Revision of a record, from its header; of a strange record: less than any."""
    try:
        for name, value in record.headers:
            if name == "r":
                p, m, v = value.split(b",")
                return int(p), int(m), int(v)
        revision = _unpack_revised(record.value or b"").revision
    except ValueError:  # msgspec's errors are ValueErrors too
        return _NO_REVISION
    return revision.p, revision.m, revision.v


def storable_revision_of(record: ResultRecord) -> Revision | None:
    """Revision of a record; None where it has none that a column could hold."""
    p, m, v = found = revision_of(record)
    is_one = 0 <= p < 2**63 and 0 <= m < 2**63 and 0 <= v < 2**31
    return found if is_one else None


class Backlog:
    """Records that were read and are not written yet: the newest of each key.

    While a transaction takes its time, ten ticks of a portfolio become one record.
    """

    def __init__(self) -> None:
        self._records: dict[bytes | None, ResultRecord] = {}
        self._offsets: dict[int, int] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: Iterable[ResultRecord]) -> None:
        """Take records, in the order of their partition."""
        held, offsets = self._records, self._offsets
        for record in records:
            other = held.get(record.key)
            if other is None:
                held[record.key] = record
                self.size += len(record.value or b"")
            elif revision_of(record) >= revision_of(other):
                held[record.key] = record
                self.size += len(record.value or b"") - len(other.value or b"")
            offsets[record.partition] = record.offset + 1

    def take(self) -> tuple[list[ResultRecord], dict[int, int]]:
        """Give all of it away, with the offsets that follow it."""
        taken = list(self._records.values()), self._offsets
        self._records, self._offsets, self.size = {}, {}, 0
        return taken


# --- rows for COPY ----------------------------------------------------------------

_ESCAPE = b"\\"
_QUOTE = "\x01"
COPY_FORMAT = {
    "format": "csv",
    "delimiter": "\t",
    "null": "null",
    "quote": _QUOTE,
    "escape": _QUOTE,
}
"""JSON as it stands is a row of this format: valid JSON has no raw tab, line feed or
control character, its ``null`` is the null, and nothing is unescaped on the way."""


class RowWriter:
    r"""Spells cells as rows of COPY, by field and not by lot.

    Raw JSON is put side by side as it is. Of the arrays only the brackets are changed:
    ``["A",null]`` is ``{"A",null}`` in PostgreSQL, and both escape ``"`` and ``\``
    alike. JSON's other escapes (``\n``, ``\u00e9``) are spelled anew, slowly, and only
    the arrays that have them.

    Attributes
    ----------
    columns
        The columns, in the order in which they are written.
    """

    def __init__(self, family: Family) -> None:
        self.columns = (
            *(family.owner, "session", "as_of", "rev_p", "rev_m", "rev_v"),
            *(() if family.of_symbols else ("status",)),
            *family.values,
            *family.arrays,
            *(("content",) if family.document else ()),
        )
        self._has_status = not family.of_symbols
        self._values = attrgetter(*family.values)
        self._arrays = attrgetter(*family.arrays) if family.arrays else None
        self._parts = attrgetter(*family.document) if family.document else None
        self._names = [
            f'{"," if place else "{"}"{name}":'.encode()
            for place, name in enumerate(family.document)
        ]

    def row(self, cell: Cell) -> bytes:
        """One line for a cell that has content."""
        content, (p, m, v) = cell.content, cell.revision
        assert content is not None  # noqa: S101 - narrows the type
        owner = cell.owner if isinstance(cell.owner, int) else _text(cell.owner)
        head = f"{owner}\t{cell.session}\t{_text(content.as_of)}\t{p}\t{m}\t{v}\t"
        if self._has_status:
            head += _text(content.status) + "\t"
        row = head.encode() + b"\t".join(self._values(content))
        if self._arrays is not None:
            row += self._spelled_arrays(content)
        if self._parts is not None:
            row += b"\t" + self._document(content)
        return row + b"\n"

    def _document(self, content: Any) -> bytes:
        """Put the fields of the document together again."""
        assert self._parts is not None  # noqa: S101 - narrows the type
        pieces: list[Any] = []
        for name, raw in zip(self._names, self._parts(content), strict=True):
            pieces += (name, raw)
        return b"".join([*pieces, b"}"])

    def _spelled_arrays(self, content: Any) -> bytes:
        assert self._arrays is not None  # noqa: S101 - narrows the type
        raws = self._arrays(content)
        arrays = b"\t".join(raws)
        if _ESCAPE in arrays:
            arrays = b"\t".join([_spelled(bytes(raw)) for raw in raws])
        else:
            arrays = b"{" + arrays.replace(b"]\t[", b"}\t{")[1:-1] + b"}"
        return b"\t" + arrays


def _spelled(raw: bytes) -> bytes:
    """Spell one array: only one with an escape anew, and no number has one.

    Numbers are never read: more than 15 digits would not survive a float.
    """
    return _respell(raw) if _ESCAPE in raw else b"{" + raw[1:-1] + b"}"


def _text(text: str) -> str:
    """Quote a text where it could be taken for something else."""
    return _quote(text) if text == "null" or not text.isprintable() else text


def _quote(text: str) -> str:
    return _QUOTE + text.replace(_QUOTE, _QUOTE * 2) + _QUOTE


def _respell(raw: bytes) -> bytes:
    """Spell a JSON array as a quoted field, by element."""
    elements = ",".join(map(_element, msgspec.json.decode(raw)))
    return _quote(f"{{{elements}}}").encode()


def _element(element: object) -> str:
    if element is None:
        return "null"
    if not isinstance(element, str):
        return str(element)
    escaped = element.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
