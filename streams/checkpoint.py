"""Checkpoints: what a compacted topic holds of a state, and whether it is whole.

A checkpoint is blobs under names, cut into pieces of bounded size, and a *seal*
that is written last: the offsets that the state includes, the number of pieces
and a digest over all of them. The digest is the sum of the pieces' digests, so
that a piece can be replaced without reading the others. A seal that does not fit
its pieces (a kill in between, a former owner that woke up and wrote), or blobs of a
layout that the engine does not know, make the checkpoint void: the journal is read
from its start, slower and equally right.

Names within the changelog of the partitions' table: ``<p>|pf|<portfolio>`` rows of
a portfolio, ``<p>|said|<session>`` digests of what was published for a session,
``<p>|seal``. In the market's topic: ``<session>``, ``profiles``, ``weights``,
``seal``. A piece's key is the name, ``#`` and its number.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import count
from typing import Generic, NamedTuple, TypeVar

import msgspec

from streams.record import Record

FORMAT = 2
PIECE_BYTES = 128 * 1024
SEAL = b"seal"
_MODULUS = 1 << 128

SealT = TypeVar("SealT", bound="Seal")


class VoidCheckpointError(ValueError):
    """A checkpoint cannot be used; says why. The journal is read instead."""


class ChangedDefinitionsError(RuntimeError):
    """What was published cannot be replaced by ours; says what to set."""


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What is written last. ``pieces`` and ``digest`` are of all other pieces."""

    format: int = FORMAT
    version: int
    pieces: int = 0
    digest: bytes = b""


class PartitionSeal(Seal, frozen=True, kw_only=True):
    """Of a partition of the journal.

    Attributes
    ----------
    p, m
        How many records of the partition and of the market the state includes.
    results
        By family, the next offset of the results partition when it was sealed:
        what is said there from this offset on is not in the checkpoint.
    definitions
        Digest of the factors by which it was derived.
    """

    p: int
    m: int
    results: dict[str, int]
    definitions: str


class MarketSeal(Seal, frozen=True, kw_only=True):
    """Of the market: how many of its records the state includes."""

    m: int


class Sealed(NamedTuple, Generic[SealT]):
    """A checkpoint that verified: its seal and its blobs by name."""

    seal: SealT
    blobs: dict[bytes, bytes]


class Shelf(Generic[SealT]):
    """What we know to lie under one prefix of a compacted topic.

    Parameters
    ----------
    prefix
        Of every key, for example ``b"3|"``.
    kind
        Type of the seal.
    """

    def __init__(self, prefix: bytes, kind: type[SealT]) -> None:
        self._prefix = prefix
        self._kind = kind
        self._digests: dict[bytes, int] = {}
        self._sum = 0
        self._encode = msgspec.msgpack.Encoder().encode

    @property
    def empty(self) -> bool:
        """Whether nothing is known to lie there."""
        return not self._digests

    def read(self, items: Mapping[bytes, bytes]) -> Sealed[SealT]:
        """Take in what a topic holds, and verify it.

        Parameters
        ----------
        items
            All keys of the prefix with their last values.

        Raises
        ------
        VoidCheckpointError
            If there is no seal or it does not fit. The shelf then knows what
            lies there, so that `clear` can remove it.
        """
        self._digests.clear()
        self._sum = 0
        for key, value in items.items():
            if key != self._prefix + SEAL:
                self._note(key, value)
        sealed = items.get(self._prefix + SEAL)
        if sealed is None:
            message = "no seal"
            raise VoidCheckpointError(message)
        seal = self._verified(sealed)
        return Sealed(seal, _joined(items, self._prefix))

    def _verified(self, sealed: bytes) -> SealT:
        try:
            seal = msgspec.msgpack.decode(sealed, type=self._kind)
        except msgspec.DecodeError as error:
            message = f"seal of {len(sealed)} bytes: {error}"
            raise VoidCheckpointError(message) from error
        if seal.format != FORMAT:
            message = f"format {seal.format}, expected {FORMAT}"
            raise VoidCheckpointError(message)
        if (seal.pieces, seal.digest) != (len(self._digests), self._digest()):
            message = f"sealed {seal.pieces} pieces, found {len(self._digests)}"
            message += " or other ones"
            raise VoidCheckpointError(message)
        return seal

    def put(self, blobs: Mapping[bytes, bytes]) -> Iterator[Record]:
        """Give the records that put blobs under their names, over what is there."""
        for name, blob in blobs.items():
            pieces = -(-len(blob) // PIECE_BYTES) or 1
            for i in range(pieces):
                key = b"%b%b#%d" % (self._prefix, name, i)
                value = blob[i * PIECE_BYTES : (i + 1) * PIECE_BYTES]
                self._note(key, value)
                yield Record(key, value)
            yield from self._drop_from(name, pieces)

    def clear(self, keep: Iterable[bytes] = ()) -> Iterator[Record]:
        """Give the records that remove every name that is not to be kept."""
        kept = set(keep)
        for key in list(self._digests):
            if key[len(self._prefix) :].rpartition(b"#")[0] not in kept:
                yield self._drop(key)

    def seal(self, seal: SealT) -> Record:
        """Complete a seal: the record that must be written last."""
        whole = msgspec.structs.replace(
            seal, pieces=len(self._digests), digest=self._digest()
        )
        return Record(self._prefix + SEAL, self._encode(whole))

    def _drop_from(self, name: bytes, first: int) -> Iterator[Record]:
        """Remove the pieces that a longer blob of this name had."""
        for i in count(first):
            key = b"%b%b#%d" % (self._prefix, name, i)
            if key not in self._digests:
                return
            yield self._drop(key)

    def _drop(self, key: bytes) -> Record:
        self._sum = (self._sum - self._digests.pop(key)) % _MODULUS
        return Record(key, None)

    def _note(self, key: bytes, value: bytes) -> None:
        digest = int.from_bytes(
            blake2b(b"%d|%b%b" % (len(key), key, value), digest_size=16).digest()
        )
        self._sum = (self._sum - self._digests.get(key, 0) + digest) % _MODULUS
        self._digests[key] = digest

    def _digest(self) -> bytes:
        return self._sum.to_bytes(16)


def _joined(items: Mapping[bytes, bytes], prefix: bytes) -> dict[bytes, bytes]:
    """Blobs by name, from their pieces."""
    names = {
        key[len(prefix) : -2] for key in items if key.endswith(b"#0") and prefix in key
    }
    return {name: b"".join(_pieces(items, prefix + name)) for name in names}


def _pieces(items: Mapping[bytes, bytes], name: bytes) -> Iterator[bytes]:
    for i in count():
        piece = items.get(b"%b#%d" % (name, i))
        if piece is None:
            return
        yield piece


def by_partition(items: Iterable[tuple[bytes, bytes]]) -> dict[int, dict[bytes, bytes]]:
    """Sort the table's items by the partition in their key."""
    found: dict[int, dict[bytes, bytes]] = {}
    for key, value in items:
        partition = int(key.partition(b"|")[0])
        found.setdefault(partition, {})[key] = value
    return found
