"""The exchange calendar, from exchange_calendars, with bounds from settings.

Making it takes a second, and its libraries half a second more; every process needs it.
So it is kept in the cache, by name, bounds, and the version of what made it.
"""

import os
import warnings
from contextlib import suppress
from datetime import date
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from pydantic_settings import SettingsError

from analytics.calendar import Calendar
from connectors.cache import cache_dir

DIGEST = 32
"""Bytes in front of a file: its digest."""


class CalendarSettingsError(SettingsError):
    """The settings name a calendar that exchange_calendars does not have."""


class _Kept(msgspec.Struct):
    """What is in a file."""

    days: list[int]
    closes: list[int]


@lru_cache(maxsize=4)
def load_calendar(name: str, start: date, end: date) -> Calendar:
    """Load the sessions of ``name`` (for example ``XNYS``) in [start, end].

    Costs about a second for 46 years of XNYS, once; a hundredth when it is kept.
    """
    file = cache_dir() / "calendars" / f"{name}-{start}-{end}-{_edition()}"
    found = _read(file)
    if found is None:
        found = _make(name, start, end)
        with suppress(OSError):  # then it is made again the next time
            _write(file, found)
    return Calendar(found.days, found.closes, start.toordinal(), end.toordinal())


def _edition() -> str:
    """Name the versions on which the sessions depend: rules, and time zones."""
    return "-".join(map(version, ("exchange_calendars", "pandas", "tzdata")))


def exchange_calendar(name: str, start: date, end: date) -> Any:
    """Make the library's own calendar; slow, and only who needs it pays.

    Raises
    ------
    CalendarSettingsError
        When there is none of that name, or none with these bounds.
    """
    with warnings.catch_warnings():
        # exchange_calendars uses spellings that pandas 3 announces to remove.
        warnings.simplefilter("ignore")
        import exchange_calendars
        from exchange_calendars.errors import CalendarError

        try:
            return exchange_calendars.get_calendar(
                name, start=start.isoformat(), end=end.isoformat()
            )
        except (CalendarError, ValueError) as error:
            message = f"calendar {name!r} from {start} to {end}: {error}"
            raise CalendarSettingsError(message) from error


def _make(name: str, start: date, end: date) -> _Kept:
    source = exchange_calendar(name, start, end)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Kept(
            [stamp.date().toordinal() for stamp in source.sessions],
            [int(stamp.timestamp() * 1_000_000) for stamp in source.closes],
        )


def _read(file: Path) -> _Kept | None:
    """Read a file; None if there is none, or not as it was written."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    body = data[DIGEST:]
    if blake2b(body, digest_size=DIGEST).digest() != data[:DIGEST]:
        return None
    try:
        return msgspec.msgpack.decode(body, type=_Kept)
    except msgspec.MsgspecError:  # of another release
        return None


def _write(file: Path, kept: _Kept) -> None:
    body = msgspec.msgpack.encode(kept)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_bytes(blake2b(body, digest_size=DIGEST).digest() + body)
    part.replace(file)
