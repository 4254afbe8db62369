"""The journal's codec: many changes to a record, in MessagePack.

Two logs hold every change: ``journal.market`` (one partition) and
``journal.portfolios`` (by portfolio id). A record is a ``Batch``. The rows of
one transaction lie side by side in a partition; ``more`` says that the next
record of this partition continues the transaction, ``partial`` that the rest
of it had not arrived when intake gave up waiting.
"""

from collections.abc import Sequence

import msgspec
from aiokafka.partitioner import murmur2

from analytics.rows import Change

FORMAT = 1


class JournalFormatError(ValueError):
    """A journal record that this version cannot read: names the format found."""


class Batch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One journal record. ``tx`` names the transaction where it is known."""

    format: int
    tx: str | None
    more: bool
    partial: bool
    changes: list[Change]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Batch)


def encode(
    changes: Sequence[Change],
    *,
    tx: str | None = None,
    more: bool = False,
    partial: bool = False,
) -> bytes:
    """One journal record holding ``changes``, in their order."""
    return _encoder.encode(Batch(FORMAT, tx, more, partial, list(changes)))


def decode(value: bytes) -> Batch:
    """Inverse of ``encode``.

    Raises
    ------
    JournalFormatError
        When the record is not of the format this version writes.
    """
    try:
        batch = _decoder.decode(value)
    except msgspec.DecodeError as error:
        message = f"journal record of {len(value)} bytes: {error}"
        raise JournalFormatError(message) from error
    if batch.format != FORMAT:
        message = f"journal record of format {batch.format}, expected {FORMAT}"
        raise JournalFormatError(message)
    return batch


def partition_of(owner: int | str, partitions: int) -> int:
    """Partition of a portfolio or symbol: Kafka's default partitioner on its text."""
    return int((murmur2(str(owner).encode()) & 0x7FFFFFFF) % partitions)
