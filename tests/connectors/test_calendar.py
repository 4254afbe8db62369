"""The calendar is made once and kept; what is kept is what would be made."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pydantic_settings import SettingsError

from connectors import calendar
from connectors.calendar import load_calendar
from connectors.exchange import exchange_zone

BOUNDS = "XNYS", date(2022, 1, 1), date(2022, 3, 31)
make = load_calendar.__wrapped__


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELTAFOLIO_CACHE", str(tmp_path))
    return tmp_path / "calendars"


def test_what_is_kept_is_what_was_made(cache, monkeypatch):
    made = make(*BOUNDS)
    assert len(made.days) == 62
    monkeypatch.setattr(calendar, "_make", None)
    kept = make(*BOUNDS)
    assert (kept.days, kept.closes) == (made.days, made.closes)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 40])
def test_a_damaged_file_is_made_again(cache, damage):
    made = make(*BOUNDS)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for text in (damage, whole[:-1], whole[:40] + b"\xff" + whole[41:]):
        file.write_bytes(text)
        assert make(*BOUNDS).days == made.days
        assert file.read_bytes() == whole


def test_other_bounds_and_versions_are_other_files(cache, monkeypatch):
    make(*BOUNDS)
    make("XNYS", date(2022, 1, 1), date(2022, 2, 28))
    monkeypatch.setattr(calendar, "_edition", lambda: "later")
    make(*BOUNDS)
    assert len(list(cache.iterdir())) == 3


def test_without_a_place_to_keep_it_it_is_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DELTAFOLIO_CACHE", str(tmp_path / "file"))
    assert len(make(*BOUNDS).days) == 62


def test_a_calendar_that_nobody_knows_is_a_matter_of_the_settings():
    with pytest.raises(SettingsError, match="calendar 'FOO' from"):
        exchange_zone("FOO")
    with pytest.raises(SettingsError, match="calendar 'XNYS' from 2020-01-05 to 2020"):
        load_calendar("XNYS", date(2020, 1, 5), date(2020, 1, 1))
