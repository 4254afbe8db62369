"""Blobs of a checkpoint: accounts, what was said by session, the market.

MessagePack; arrays as little-endian bytes. A blob of an unknown layout raises
``msgspec.DecodeError``: the checkpoint is dropped and the journal read.
"""

from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from analytics.market import NEVER, Market
from analytics.partitions import Partition
from analytics.rows import PortfolioRow, Profile, Version, Weight
from analytics.said import Part
from analytics.state import ORDER, Account, Held

FORMAT = 1
CELLS = (
    ("close", "<i8"),
    ("adj", "<f8"),
    ("commit", "<i8"),
    ("lsn", "<i8"),
    ("order", "<i4"),
)


class AccountBlob(Struct, array_like=True):
    """An account: rows in the order of ``state.ORDER``."""

    format: int
    clock: int
    open_at: int
    partial: list[str]
    rows: list[list[tuple[int, Version, PortfolioRow | None]]]


class SaidBlob(Struct, array_like=True):
    """A session of a partition: how it counted, and its cells by family."""

    format: int
    final: bool
    partial: bool
    families: dict[str, Part]


class SessionBlob(Struct, array_like=True):
    """Prices of a session, tombstones too."""

    format: int
    clock: int
    symbols: list[str]
    columns: list[bytes]


class ClockBlob(Struct, array_like=True):
    """What the market knows besides rows."""

    format: int
    clock: int
    open_at: int
    partial: dict[str, int]


_encode = msgspec.msgpack.Encoder().encode
_accounts = msgspec.msgpack.Decoder(AccountBlob)
_said = msgspec.msgpack.Decoder(SaidBlob)
_session = msgspec.msgpack.Decoder(SessionBlob)
_clock = msgspec.msgpack.Decoder(ClockBlob)
_profiles = msgspec.msgpack.Decoder(list[tuple[str, Version, Profile | None]])
_weights = msgspec.msgpack.Decoder(list[tuple[int, Version, Weight | None]])


def dump_accounts(home: Partition, only_dirty: bool) -> dict[int, bytes]:
    """Accounts of a partition."""
    wanted = home.dirty if only_dirty else set(home.accounts)
    found = {}
    for ident in sorted(wanted):
        account = home.accounts[ident]
        rows = [
            [(key, held.version, held.row) for key, held in account.rows[table].items()]
            for table in ORDER
        ]
        partial = sorted(account.partial)
        blob = AccountBlob(FORMAT, account.clock, account.open_at, partial, rows)
        found[ident] = _encode(blob)
    home.dirty.clear()
    return found


def load_account(home: Partition, account: Account, blob: bytes) -> None:
    """Inverse of ``dump_accounts``."""
    read = _accounts.decode(blob)
    for table, rows in zip(ORDER, read.rows, strict=True):
        account.rows[table] = {key: Held(version, row) for key, version, row in rows}
    account.clock, account.open_at = read.clock, read.open_at
    account.partial = frozenset(read.partial)
    account.loaded = True
    home.take_loaded(account)


def encode_said(final: bool, partial: bool, families: dict[str, Part]) -> bytes:
    """Blob of a session."""
    return _encode(SaidBlob(FORMAT, final, partial, families))


def decode_said(blob: bytes) -> SaidBlob:
    """Inverse of ``encode_said``."""
    return _said.decode(blob)


def owners(part: Part) -> list[int] | list[str]:
    """Portfolios, or symbols, of a part."""
    if isinstance(part.owners, list):
        return part.owners
    found: list[int] = np.frombuffer(part.owners, dtype="<i8").tolist()
    return found


def dump_market(market: Market, only_dirty: bool) -> dict[int | str, bytes]:
    """Blobs of the market by session and word."""
    everything: set[int | str] = {"profiles", "weights", "clock", *market.clocks}
    wanted = market.dirty if only_dirty else everything
    found: dict[int | str, bytes] = {}
    for key in wanted:
        if isinstance(key, int):
            found[key] = _dump_session(market, key)
        elif key == "clock":
            blob = ClockBlob(FORMAT, market.clock, market.open_at, market.partial)
            found[key] = _encode(blob)
        else:
            held: dict[Any, Any] = getattr(market, key)
            found[key] = _encode([(k, v, row) for k, (v, row) in held.items()])
    market.dirty = set()
    return found


def _dump_session(market: Market, session: int) -> bytes:
    frame = market.frame
    row = frame.row(session)
    there = np.flatnonzero(frame["commit"][row] != NEVER)
    symbols = [market.symbols[column] for column in there.tolist()]
    columns = [frame[name][row, there].astype(dtype).tobytes() for name, dtype in CELLS]
    return _encode(SessionBlob(FORMAT, market.clocks[session], symbols, columns))


def load_market(market: Market, key: int | str, blob: bytes) -> None:
    """Inverse of ``dump_market``."""
    if isinstance(key, int):
        _load_session(market, key, blob)
    elif key == "clock":
        read = _clock.decode(blob)
        market.clock = max(market.clock, read.clock)
        market.open_at, market.partial = read.open_at, read.partial
    elif key == "profiles":
        market.profiles = {k: (v, row) for k, v, row in _profiles.decode(blob)}
    else:
        market.weights = {k: (v, row) for k, v, row in _weights.decode(blob)}


def _load_session(market: Market, session: int, blob: bytes) -> None:
    read = _session.decode(blob)
    columns = [market.column(symbol) for symbol in read.symbols]
    arrays = [
        np.frombuffer(column, dtype=dtype)
        for column, (_, dtype) in zip(read.columns, CELLS, strict=True)
    ]
    market.restore(session, np.array(columns, dtype=np.intp), arrays, read.clock)
