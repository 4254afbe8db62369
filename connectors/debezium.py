"""Debezium's envelopes, decoded to changes. Pure, and total: nothing makes it raise.

Versions
--------
``source.sequence`` is ``[commit, lsn]``: the end of the transaction streamed before
this one, and the row's own position. Order between transactions is by ``commit``
(row positions interleave), within one by position and ``total_order``
(rows of one COPY share a position). Three kinds of row have less than that:

* a *snapshot row* has the state at one position, ``P``: its ``commit`` where it has
  one, else its ``lsn``. Its version is ``(P, 0, 0)``: whatever is streamed later from
  that place has ``commit >= P`` and a position, and wins;
* a row of the *first transaction after an initial snapshot* has no ``commit``. Its
  version is ``(max(lsn, floor), lsn, order)``, ``floor`` being the ``P`` of the last
  snapshot row before it in its topic: a transaction that was open when the snapshot
  was taken has positions below ``P`` and still is newer;
* a *re-delivered* row keeps its version, or gets a ``commit`` between its first one
  and its own transaction's end: it never passes a later transaction's.

A later initial snapshot has a later ``P``, so that it corrects what was missed.
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, TypeAlias

import msgspec

from analytics.calendar import Calendar
from analytics.columns import EPOCH_ORDINAL
from analytics.rows import TABLES, Change, Row, Version
from analytics.validity import Refusal, validate

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
INT64 = range(-(2**63), 2**63)

Key: TypeAlias = tuple[tuple[int | str, ...], int | None]
"""Primary key and portfolio: what a change speaks of."""

JSON_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)

LAST_INSTANT = 253_402_300_799_999_999
"""Microseconds from 1970 to the end of the year 9999: no later date can be written."""

MAX_TEXT = 10_000
"""Characters of a key or a column from which on no result could carry it."""

MAX_DEPTH = 100
"""Levels of objects and lists in a value; Debezium's have four."""
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"


class Trouble(StrEnum):
    """Why an envelope (not its row) is refused."""

    BROKEN_JSON = "broken_json"
    NO_SOURCE = "no_source"
    NO_VERSION = "no_version"
    NO_KEY = "no_key"
    UNKNOWN_OPERATION = "unknown_operation"
    UNKNOWN_TABLE = "unknown_table"
    TRUNCATE = "truncate"
    TEXT_TOO_LONG = "text_too_long"


class Refused(msgspec.Struct, frozen=True):
    """What goes to the dead letters: reason, and where it is known the column."""

    reason: str
    column: str = ""
    value: object = None


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """One record of a captured table's topic.

    Attributes
    ----------
    changes
        None, one, or (a changed key) two; of one version.
    refused
        Why the record or its row is refused. A refused row whose key is known has
        changes too: they make it absent.
    tx, order
        The transaction and the place in it, where known; ``tx`` is None else, and
        where its name is no number.
    floor
        Position of an initial snapshot's row, else None.
    ignored
        Why there is nothing to do: ``"tombstone"`` or ``"heartbeat"``.
    """

    changes: tuple[Change, ...] = ()
    refused: Refused | None = None
    tx: str | None = None
    order: int = 0
    floor: int | None = None
    ignored: str | None = None


class Marker(msgspec.Struct, frozen=True):
    """End of a transaction: how many rows it has, and where it ends in the log."""

    tx: str
    count: int
    lsn: int


class _Source(msgspec.Struct, gc=False):
    table: str | None = None
    sequence: str | None = None
    lsn: Int64 | None = None
    ts_us: Int64 | None = None
    ts_ms: Int64 | None = None


class _Transaction(msgspec.Struct, gc=False):
    id: str
    total_order: Int64 = 0


class _Envelope(msgspec.Struct, gc=False):
    op: str | None = None
    before: dict[str, object] | None = None
    after: dict[str, object] | None = None
    source: _Source | None = None
    transaction: _Transaction | None = None
    ts_ms: int | None = None


class _Boundary(msgspec.Struct, gc=False):
    status: str
    id: str
    event_count: Int64 | None = None


_MARKS = re.compile(rb'["\\\[\]{}]').finditer
_LSN = re.compile(r"[0-9]{1,18}").fullmatch
_TX = re.compile(r"[0-9]{1,20}").fullmatch
_envelope = msgspec.json.Decoder(_Envelope).decode
_boundary = msgspec.json.Decoder(_Boundary).decode
_sequence = msgspec.json.Decoder(tuple[str | None, str | None]).decode


def decode(value: bytes | None, calendar: Calendar, floor: int = 0) -> Decoded:
    """Decode a record of a captured table's topic.

    Parameters
    ----------
    value
        The record's value: an envelope without its schema.
    calendar
        What dates are held against.
    floor
        Position of the last initial snapshot's row seen before it in the topic
        (see the module), 0 when there was none.
    """
    if value is None:
        return Decoded(ignored="tombstone")
    if _is_too_deep(value):
        return Decoded(refused=Refused(Trouble.BROKEN_JSON, "", TOO_DEEP))
    try:
        envelope = _envelope(value)
    except JSON_ERRORS as error:
        return Decoded(refused=Refused(Trouble.BROKEN_JSON, "", str(error)))
    source = envelope.source
    if source is None or source.table is None:
        if source is None and envelope.op is None and envelope.ts_ms is not None:
            return Decoded(ignored="heartbeat")
        return Decoded(refused=Refused(Trouble.NO_SOURCE))
    found = _decode_row(envelope, source, calendar, floor)
    # Texts cannot be longer than the whole.
    return found if len(value) <= MAX_TEXT else _without_long_texts(found)


def decode_marker(value: bytes | None) -> Marker | Refused | None:
    """Decode a record of the transaction topic.

    None for what says nothing of use: a tombstone, or a beginning (the rows of a
    transaction say by themselves that it has begun).
    """
    if value is None:
        return None
    if _is_too_deep(value):
        return Refused(Trouble.BROKEN_JSON, "", TOO_DEEP)
    try:
        boundary = _boundary(value)
    except JSON_ERRORS as error:
        return Refused(Trouble.BROKEN_JSON, "", str(error))
    if boundary.status == "BEGIN":
        return None
    tx, _, lsn = boundary.id.partition(":")
    known = boundary.status == "END" and boundary.event_count is not None
    if not known or not _LSN(lsn) or not _TX(tx):
        return Refused(Trouble.UNKNOWN_OPERATION, "status", boundary.status)
    return Marker(tx, boundary.event_count or 0, int(lsn))


def _is_too_deep(value: bytes) -> bool:
    """Whether a value is nested deeper than `MAX_DEPTH`.

    Left to the decoder it would depend on how deep its caller's stack is.
    """
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False
    depth, escaped, in_text = 0, -1, False
    for found in _MARKS(value):
        mark, at = found[0], found.start()
        if at == escaped:
            continue
        if mark == b"\\":
            escaped = at + 1
        elif mark == b'"':
            in_text = not in_text
        elif not in_text:
            depth += 1 if mark in b"[{" else -1
            if depth > MAX_DEPTH:
                return True
    return False


def transaction_name(identity: str) -> str:
    """Name that all rows of a transaction share: what follows differs by row.

    Examples
    --------
    >>> transaction_name("771:28802680")
    '771'
    """
    return identity.partition(":")[0]


def _decode_row(
    envelope: _Envelope, source: _Source, calendar: Calendar, floor: int
) -> Decoded:
    transaction = envelope.transaction
    tx = None if transaction is None else transaction_name(transaction.id)
    if tx is not None and not _TX(tx):
        tx = None  # no end will ever name it: the row goes on by itself
    order = 0 if transaction is None else transaction.total_order
    position = _position(source)
    base = None
    if envelope.op == "r" and position and position[0] is None:
        base = position[1]
    trouble = _trouble(envelope, source.table, position)
    if trouble or position is None:
        return Decoded(refused=trouble, tx=tx, order=order, floor=base)
    version = _version(envelope.op == "r", position, order, floor)
    ts = source.ts_us or (source.ts_ms or 0) * 1000
    ts = ts if 0 <= ts <= LAST_INSTANT else 0
    changes, refused = _changes(envelope, source.table or "", version, ts, calendar)
    return Decoded(changes, refused, tx, order, base)


def _trouble(
    envelope: _Envelope, table: str | None, position: tuple[int | None, int] | None
) -> Refused | None:
    if table not in TABLES:
        return Refused(Trouble.UNKNOWN_TABLE, "source.table", table)
    if envelope.op == "t":
        return Refused(Trouble.TRUNCATE, "op", table)
    if envelope.op not in ("c", "u", "r", "d"):
        return Refused(Trouble.UNKNOWN_OPERATION, "op", envelope.op)
    if position is None:
        return Refused(Trouble.NO_VERSION, "source.sequence")
    return None


def _position(source: _Source) -> tuple[int | None, int] | None:
    """``source.sequence`` as numbers; None when the row has no place in the log."""
    if source.sequence is None:
        return None if source.lsn is None else (None, source.lsn)
    try:
        before, own = _sequence(source.sequence)
        commit, lsn = None if before is None else int(before), int(own or "")
    except (*JSON_ERRORS, ValueError):
        return None
    return (commit, lsn) if lsn in INT64 and (commit or 0) in INT64 else None


def _version(
    snapshot: bool, position: tuple[int | None, int], order: int, floor: int
) -> Version:
    commit, lsn = position
    if snapshot:
        return Version(lsn if commit is None else commit, 0, 0)
    return Version(max(lsn, floor) if commit is None else commit, lsn, order)


def _changes(
    envelope: _Envelope, table: str, version: Version, ts: int, calendar: Calendar
) -> tuple[tuple[Change, ...], Refused | None]:
    """Tell what is no longer under its old key, and what is under its new one.

    ``before`` only tells which key the row has left; its values are never used.
    """
    identify = _IDENTITY[table]
    made: list[Change] = []
    refused: Refused | None = None
    now: Key | None = None
    if envelope.op != "d":
        now = None if envelope.after is None else identify(envelope.after)
        row, refused = _read(table, envelope.after, calendar)
        if now is None:
            refused = refused or Refused(Trouble.NO_KEY, "after")
        else:
            made.append(Change(table, now[0], version, ts, now[1], row))
    if envelope.op in ("u", "d"):
        old = None if envelope.before is None else identify(envelope.before)
        if old is not None and old != now:
            made.insert(0, Change(table, old[0], version, ts, old[1], None))
        elif old is None and envelope.op == "d":
            refused = Refused(Trouble.NO_KEY, "before")
    return tuple(made), refused


def _without_long_texts(found: Decoded) -> Decoded:
    """Refuse what is too long for the records that would carry it.

    A row is absent then; what has such a key is nowhere.
    """
    made, refused = [], found.refused
    for change in found.changes:
        if _is_long(change.key):
            refused = refused or Refused(Trouble.TEXT_TOO_LONG, "key")
        elif change.row is not None and _is_long(msgspec.structs.astuple(change.row)):
            refused = refused or Refused(Trouble.TEXT_TOO_LONG)
            made.append(msgspec.structs.replace(change, row=None))
        else:
            made.append(change)
    return msgspec.structs.replace(found, changes=tuple(made), refused=refused)


def _is_long(parts: tuple[object, ...]) -> bool:
    return any(type(part) is str and len(part) > MAX_TEXT for part in parts)


def _read(
    table: str, raw: dict[str, object] | None, calendar: Calendar
) -> tuple[Row | None, Refused | None]:
    if raw is None:
        return None, Refused(Trouble.NO_KEY, "after")
    row = validate(table, raw, calendar)
    if isinstance(row, Refusal):
        return None, Refused(row.reason, row.column, row.value)
    return row, None


# --- keys, by table; None when the columns do not hold one ---


def _integer(raw: Mapping[str, object], column: str) -> int | None:
    value = raw.get(column)
    return value if type(value) is int and value in INT64 else None


def _by_id(raw: Mapping[str, object]) -> Key | None:
    number = _integer(raw, "id")
    return None if number is None else ((number,), None)


def _portfolio(raw: Mapping[str, object]) -> Key | None:
    number = _integer(raw, "id")
    return None if number is None else ((number,), number)


def _by_portfolio(raw: Mapping[str, object]) -> Key | None:
    number, portfolio = _integer(raw, "id"), _integer(raw, "portfolio_id")
    if number is None or portfolio is None:
        return None
    return (number,), portfolio


def _by_symbol(raw: Mapping[str, object]) -> Key | None:
    symbol = raw.get("symbol")
    return ((symbol,), None) if type(symbol) is str else None


def _by_symbol_and_date(raw: Mapping[str, object]) -> Key | None:
    symbol, day = raw.get("symbol"), raw.get("date")
    # Debezium's dates are 32 bits; more would not fit once counted from year 1.
    if type(symbol) is str and type(day) is int and -(2**31) <= day < 2**31:
        return (symbol, day + EPOCH_ORDINAL), None
    return None


_IDENTITY: dict[str, Callable[[Mapping[str, object]], Key | None]] = {
    "portfolios": _portfolio,
    "positions": _by_portfolio,
    "equity_changes": _by_portfolio,
    "position_realized_events": _by_portfolio,
    "market_data_cache": _by_symbol_and_date,
    "company_profiles": _by_symbol,
    "benchmarks_sector_weights": _by_id,
}
