"""What was last said of each cell, by family: digest, revision, NAV and P&L.

A cell costs 27 bytes, of snapshots 43.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from analytics.book import Book
from analytics.frame import Frame
from analytics.money import Bools, Indices, Ints
from analytics.records import digest
from analytics.results import FAMILIES, SNAPSHOTS, Previous, Revision

Marks: TypeAlias = NDArray[np.uint64]

NOTHING, SAID, DOUBTED = range(3)
UNKNOWN = -(2**63)
FIELDS: dict[str, tuple[str, float | int]] = {
    "state": ("u1", NOTHING),
    "digest": ("u8", 0),
    "p": ("i8", 0),
    "m": ("i8", 0),
    "v": ("i2", 0),
}
MONEY: dict[str, tuple[str, float | int]] = {
    "nav": ("i8", UNKNOWN),
    "pnl": ("i8", UNKNOWN),
}


class Part(Struct, array_like=True):
    """Cells of one family in one session, of one partition.

    ``owners`` are the ids of portfolios, 8 bytes each, or symbols.
    """

    owners: bytes | list[str]
    fields: dict[str, bytes]
    pending: list[int | str]


class Said:
    """What was last said, over (session, slot)."""

    def __init__(self, families: Iterable[str] = FAMILIES) -> None:
        self.frames = {
            family: Frame(FIELDS | (MONEY if family == SNAPSHOTS else {}))
            for family in families
        }
        self.dirty: dict[int, set[int]] = {}

    def __getitem__(self, family: str) -> Frame:
        return self.frames[family]

    def cover(self, first: int, last: int, slots: int) -> None:
        """Make room for sessions and slots."""
        for frame in self.frames.values():
            frame.widen(slots)
            frame.cover(first, last)

    def get(self, family: str, session: Ints, slot: Indices) -> dict[str, list[Any]]:
        """Fields of cells, as lists."""
        frame = self.frames[family]
        row = frame.rows_of(session)
        return {name: frame[name][row, slot].tolist() for name in frame.fields}

    def differing(
        self, family: str, session: Ints, slot: Indices, marks: Marks
    ) -> list[int]:
        """Places of cells whose content (its mark) is not what was last said."""
        frame = self.frames[family]
        row = frame.rows_of(session)
        state, known = frame["state"][row, slot], frame["digest"][row, slot]
        return unsaid(state, known, marks)

    def put(
        self, family: str, session: Ints, slot: Indices, values: dict[str, Any]
    ) -> None:
        """Set fields of cells."""
        frame = self.frames[family]
        row = frame.rows_of(session)
        for name, value in values.items():
            frame[name][row, slot] = value

    def note(
        self,
        partition: int,
        family: str,
        session: int,
        slot: int,
        values: dict[str, int],
    ) -> None:
        """Set what is known of one cell; its money is not."""
        self.cover(session, session, slot + 1)
        money = dict.fromkeys(MONEY, UNKNOWN) if family == SNAPSHOTS else {}
        self.put(family, np.array([session]), np.array([slot]), {**money, **values})
        self.dirty.setdefault(partition, set()).add(session)

    def states(self, session: int, slots: Indices) -> list[Bools]:
        """By family, whether anything was said of some slots in a session."""
        found = []
        for frame in self.frames.values():
            inside = slots < frame.columns
            column = np.where(inside, slots, 0)
            state = frame["state"][frame.row(session)] if frame.rows else None
            if state is None or not len(state):
                found.append(np.zeros(len(slots), dtype=bool))
            else:
                found.append(inside & (state[column] != NOTHING))
        return found

    def spoken(self, slots: Indices) -> set[int]:
        """Sessions of which anything was said of some slots."""
        found: set[int] = set()
        for frame in self.frames.values():
            mine = slots[slots < frame.columns]
            rows = np.flatnonzero(frame["state"][:, mine].any(axis=1))
            found.update((rows + frame.base).tolist())
        return found

    def drop(self, slot: int) -> None:
        """Forget a slot."""
        for frame in self.frames.values():
            if slot < frame.columns:
                frame["state"][:, slot] = NOTHING
                frame["v"][:, slot] = 0

    def sessions(self, slot: int) -> list[int]:
        """Sessions of which anything was said, in any family."""
        found: set[int] = set()
        for frame in self.frames.values():
            if slot < frame.columns:
                rows = np.flatnonzero(frame["state"][:, slot])
                found.update((rows + frame.base).tolist())
        return sorted(found)

    def first(self) -> int | None:
        """First session of which anything was said."""
        found = []
        for frame in self.frames.values():
            rows = np.flatnonzero(frame["state"].any(axis=1))
            found += (rows[:1] + frame.base).tolist()
        return min(found, default=None)

    def wanted(
        self,
        partition: int,
        book: Book,
        waiting: Iterable[int],
        *,
        only_dirty: bool,
    ) -> list[int]:
        """Sessions of a partition to dump: those that changed, or all."""
        sessions = self.dirty.pop(partition, set()) | set(waiting)
        if not only_dirty:
            sessions |= self.spoken(book.slots_of(partition))
        return sorted(sessions)

    def dump(
        self, session: int, book: Book, partition: int, waiting: dict[str, Indices]
    ) -> dict[str, Part]:
        """Cells of a session by family; ``waiting`` are slots still touched."""
        portfolio = book.slots["portfolio"]
        slots = book.slots_of(partition)
        found = {}
        for family, frame in self.frames.items():
            row, mine = frame.row(session), slots[slots < frame.columns]
            there = (
                mine[frame["state"][row, mine] != NOTHING] if frame.rows else mine[:0]
            )
            touched = portfolio[waiting.get(family, mine[:0])].tolist()
            fields = {
                n: frame[n][row, there].tobytes() for n in frame.fields if frame.rows
            }
            ids = portfolio[there].astype("<i8").tobytes()
            found[family] = Part(ids, fields, touched)
        return found

    def load(self, family: str, session: int, part: Part, slots: list[int]) -> None:
        """Inverse of ``dump``; ``slots`` are those of the part's portfolios."""
        frame = self.frames[family]
        row, at = frame.row(session), np.array(slots, dtype=np.intp)
        for name, blob in part.fields.items():
            if name in frame.fields:
                dtype: NDArray[Any] = frame[name]
                frame[name][row, at] = np.frombuffer(blob, dtype=dtype.dtype)


def marks_of(contents: Sequence[bytes | None]) -> Marks:
    """Digests of contents; 0 where there is none."""
    marks = (0 if content is None else digest(content) for content in contents)
    return np.fromiter(marks, np.uint64, len(contents))


def unsaid(state: NDArray[Any], known: NDArray[Any], marks: Marks) -> list[int]:
    """Places where what was said, and its digest, are not what the marks say."""
    gone = marks == 0
    differs = np.where(gone, state != NOTHING, (state != SAID) | (known != marks))
    found: list[int] = np.flatnonzero(differs).tolist()
    return found


def previous(fields: dict[str, list[Any]], place: int) -> Previous | None:
    """Say what was said before, from ``Said.get``; None if nothing is known."""
    if fields["state"][place] == NOTHING or not fields["v"][place]:
        return None
    revision = Revision(fields["p"][place], fields["m"][place], fields["v"][place])
    if "nav" not in fields:
        return Previous(revision, None, None)
    nav, pnl = fields["nav"][place], fields["pnl"][place]
    return Previous(
        revision,
        None if nav == UNKNOWN else nav,
        None if pnl == UNKNOWN else pnl,
    )
