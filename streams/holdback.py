"""Prices dated ahead of the exchange's date, kept until their session begins. Pure.

Validity has no clock, so a price of next week is valid today; but a result for next
week must not appear. Such prices wait here, in a compacted topic besides, and go to
the journal when their date comes, with the version they had.

Only prices wait. Anything that makes a price absent goes on at once (to be remembered
by the engine) and removes what waits: should the removed price be read again, it waits
again, and loses by its version when it is delivered.
"""

from collections.abc import Sequence
from typing import TypeAlias

from analytics.rows import Change, Price
from connectors.journal import JournalFormatError, decode, encode

PriceKey: TypeAlias = tuple[int | str, ...]


class Holdback:
    """What waits.

    Parameters
    ----------
    today
        The exchange's date, as an ordinal.

    Attributes
    ----------
    writes
        What the topic must be told: by key the newest change, or None to remove it.
    """

    def __init__(self, today: int) -> None:
        self.today = today
        self.writes: dict[PriceKey, Change | None] = {}
        self._held: dict[PriceKey, Change] = {}

    def __len__(self) -> int:
        """Count prices that wait."""
        return len(self._held)

    def sift(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Keep what is dated ahead; return what can go on, in order."""
        if not any(map(self._concerns, changes)):
            return changes
        return [change for change in changes if not self._keep(change)]

    def begin(self, today: int) -> list[Change]:
        """Turn the date; return what has waited for it."""
        self.today = today
        due = [held for held in self._held.values() if _date(held) <= today]
        for change in due:
            del self._held[change.key]
            self.writes[change.key] = None
        return due

    def restore(self, value: bytes | None, key: bytes) -> None:
        """Read a record of the topic again, at the start.

        Raises
        ------
        JournalFormatError
            When it is not what ``record`` writes.
        """
        name = _key_of(key)
        if value is None:
            self._held.pop(name, None)
            return
        changes = decode(value).changes
        if len(changes) != 1 or changes[0].key != name or changes[0].row is None:
            message = f"held price {key!r} holds something else"
            raise JournalFormatError(message)
        self._held[name] = changes[0]

    def take_writes(self) -> list[tuple[bytes, bytes | None]]:
        """Take the topic's records that are due: key, and value or None."""
        writes, self.writes = self.writes, {}
        return [record(key, change) for key, change in writes.items()]

    def _concerns(self, change: Change) -> bool:
        if type(change.row) is Price:
            return change.row.date > self.today
        return change.row is None and change.key in self._held

    def _keep(self, change: Change) -> bool:
        held = self._held.get(change.key)
        newer = held is None or change.version > held.version
        if change.row is None or _date(change) <= self.today:
            if held is not None and newer and change.table == held.table:
                del self._held[change.key]
                self.writes[change.key] = None
            return False
        if newer:
            self._held[change.key] = change
            self.writes[change.key] = change
        return True


def record(key: PriceKey, change: Change | None) -> tuple[bytes, bytes | None]:
    """Key and value of a record of the topic."""
    symbol, day = key
    name = f"{day}|{symbol}".encode()
    return name, None if change is None else encode([change])


def _key_of(name: bytes) -> PriceKey:
    day, _, symbol = name.decode("utf-8", "replace").partition("|")
    return (symbol, int(day) if day.lstrip("-").isdecimal() else 0)


def _date(change: Change) -> int:
    return change.row.date if isinstance(change.row, Price) else 0
