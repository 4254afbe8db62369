"""Dead letters: records that were refused, with what an operator needs to know.

The topic has one partition and is compacted by ``topic/partition/offset`` of the
refused record, so that a record refused again (after a crash, by every worker) is one
letter. A letter's content is a function of that record alone.

Redriving puts the stored payload back on its CDC topic, marked by a header: intake
stays the only writer of the journal, and the row goes the way of all rows: decoded,
validated, held back if it is dated ahead. It keeps its version, one step later than
the refusal itself, and so loses against every later version of its row. When it is
accepted, intake removes the letter; when it is refused again, the letter is renewed.
"""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from analytics.calendar import Calendar
from analytics.rows import TABLES, Change, Version
from connectors.debezium import (
    JSON_ERRORS,
    LAST_INSTANT,
    Decoded,
    Int64,
    Refused,
    decode,
)
from connectors.kafka import read_to_end, started_producer
from connectors.settings import Settings

REDRIVE_HEADER = "deltafolio-redrive"
MAX_PAYLOAD = 2 * 1024 * 1024
"""A larger payload is not stored: escaped, it may not fit a record."""

MAX_ESCAPED = 2 * MAX_PAYLOAD
"""A payload whose JSON text would be longer is stored in base64."""

MAX_VALUE = 200
MAX_KEY = 1000
LAST_MS = LAST_INSTANT // 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One refused record.

    Attributes
    ----------
    reason, column, value
        Which rule it breaks, where, and by what (cut at 200 characters).
    table, row
        Source table and primary key, where they are known.
    key
        Kafka key, as text, cut at 1000 characters.
    topic, partition, offset, ts
        The refused record and its time in Kafka; 1970 where no date can say it.
    payload, encoding, size
        Its value, as text or in base64; None when larger than 2 MiB.
    floor
        What else its version depends on (see ``connectors.debezium``).
    """

    reason: str
    column: str = ""
    value: object = None
    table: str | None = None
    row: tuple[int | str, ...] | None = None
    key: str | None = None
    topic: str
    partition: int
    offset: int
    ts: str
    payload: str | None = None
    encoding: Literal["utf-8", "base64"] = "utf-8"
    size: int = 0
    floor: int = 0

    @property
    def id(self) -> str:
        """Name of the letter: ``topic/partition/offset``."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def body(self) -> bytes | None:
        """Value of the refused record, as it was."""
        if self.payload is None:
            return None
        if self.encoding == "base64":
            return base64.b64decode(self.payload)
        return self.payload.encode()


class Redrive(msgspec.Struct, frozen=True):
    """What the header of a record put back says: which letter it was."""

    topic: str
    partition: Int64
    offset: Int64
    floor: Int64


class Place(msgspec.Struct, frozen=True, gc=False):
    """A record's place in Kafka, its time (ms) and its key."""

    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    key: bytes | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetter).decode
_decode_redrive = msgspec.json.Decoder(Redrive).decode


def letter_of(
    place: Place,
    payload: bytes | None,
    refused: Refused,
    *,
    table: str | None = None,
    row: tuple[int | str, ...] | None = None,
    floor: int = 0,
) -> DeadLetter:
    r"""Write the letter of a refused record.

    Examples
    --------
    >>> place = Place("journal.market", 0, 7)
    >>> letter_of(place, b"\xff", Refused("broken_record")).encoding
    'base64'
    """
    text, encoding = _as_text(payload)
    return DeadLetter(
        reason=refused.reason,
        column=refused.column,
        value=_short(refused.value),
        table=table,
        row=row,
        key=None if place.key is None else _cut(place.key.decode("utf-8", "replace")),
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        ts=_instant(place.timestamp),
        payload=text,
        encoding=encoding,
        size=len(payload or b""),
        floor=floor,
    )


def encode_letter(letter: DeadLetter) -> tuple[bytes, bytes]:
    """Key and value of a letter's record."""
    return letter.id.encode(), _encode(letter)


def decode_letter(value: bytes) -> DeadLetter | None:
    """Inverse of ``encode_letter``'s value; None when it is no letter."""
    try:
        return _decode(value)
    except JSON_ERRORS:
        return None


async def read_letters(settings: Settings) -> list[DeadLetter]:
    """All letters, in the order in which they were last written."""
    found: dict[bytes | None, DeadLetter] = {}
    async for records in read_to_end(settings, settings.topics.deadletters):
        for record in records:
            letter = decode_letter(record.value or b"")
            found.pop(record.key, None)
            if letter is not None:
                found[record.key] = letter
    return list(found.values())


# --- redriving ---


def table_of(settings: Settings, topic: str) -> str | None:
    """Tell the captured table of a CDC topic; None for any other topic."""
    return next((t for t in TABLES if settings.cdc_topic(t) == topic), None)


def examine(settings: Settings, letter: DeadLetter, calendar: Calendar) -> Decoded:
    """Decode a letter's payload again, as intake would do it now."""
    if table_of(settings, letter.topic) is None:
        return Decoded(refused=Refused("not_a_row", "topic", letter.topic))
    if letter.payload is None:
        return Decoded(refused=Refused("no_payload", "payload", letter.size))
    return decode(letter.body(), calendar, letter.floor)


def later(change: Change) -> Change:
    """Move a change one step after the refusal that had the same version."""
    commit, lsn, order = msgspec.structs.astuple(change.version)
    order = min(order + 1, 2**63 - 1)
    return msgspec.structs.replace(change, version=Version(commit, lsn, order))


def read_redrive(headers: Iterable[tuple[str, bytes | None]]) -> Redrive | None:
    """Which letter a record was, if it was put back by ``redrive``."""
    for name, value in headers:
        if name == REDRIVE_HEADER:
            try:
                return _decode_redrive(value or b"")
            except JSON_ERRORS:
                return None
    return None


async def redrive(settings: Settings, letters: Iterable[DeadLetter]) -> None:
    """Put letters' payloads back on their CDC topics, for intake to take them again.

    Only letters that ``examine`` accepts should be given. Repeating it does no harm.
    """
    async with started_producer(settings) as producer:
        for letter in letters:
            mark = Redrive(letter.topic, letter.partition, letter.offset, letter.floor)
            await producer.send_and_wait(
                letter.topic,
                letter.body(),
                key=None if letter.key is None else letter.key.encode(),
                headers=[(REDRIVE_HEADER, _encode(mark))],
            )


# --- inside ---


def _as_text(payload: bytes | None) -> tuple[str | None, Literal["utf-8", "base64"]]:
    if payload is None or len(payload) > MAX_PAYLOAD:
        return None, "utf-8"
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = None
    # A control character is escaped by six: such a letter might fit no record.
    if text is None or len(_encode(text)) > MAX_ESCAPED:
        return base64.b64encode(payload).decode(), "base64"
    return text, "utf-8"


def _instant(milliseconds: int) -> str:
    """Write Kafka's time of a record, which may be any number of 64 bits."""
    known = milliseconds if 0 <= milliseconds <= LAST_MS else 0
    moment = EPOCH + timedelta(milliseconds=known)
    return moment.isoformat("T", "milliseconds")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_KEY else text[: MAX_KEY - 1] + "…"


def _short(value: object) -> object:
    """Cut a value that is no number or word, for the eye."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    try:
        text = value if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):  # too deep, or a number of too many digits
        text = f"{type(value).__name__} that cannot be written"
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
