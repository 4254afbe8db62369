"""What was refused by a rule that was wrong is applied once the rule is mended.

The corpus of bad input goes through a door with a rule too strict; then its letters go
through one without it, as ``deltafolio dlq redrive`` puts them back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from analytics.calendar import Calendar
from analytics.rows import Change
from connectors import debezium
from connectors.deadletters import (
    REDRIVE_HEADER,
    DeadLetter,
    Redrive,
    decode_letter,
    examine,
    table_of,
)
from connectors.debezium import Decoded
from streams.door import Door
from tests.streams.bad_input import CALENDAR, DAYS, Outcome, Pipe, faults_in, generate
from tests.streams.intake_model import SETTINGS

SEED, COUNT = 20_261_127, 1_500
SHORT = Calendar(DAYS[:2], [0, 0], DAYS[0], DAYS[1])
SHORT_TEXT = 2
NOT_REAL = ("strange_header", "strange_transaction")
"""Letters of topics that there are not, and a last place in a transaction of 2^63 rows:
nothing is later than that."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # a truncate is an error each time


def corpus(pipe: Pipe) -> Outcome:
    for number, (kind, place, made) in enumerate(generate(SEED, COUNT)):
        if kind not in NOT_REAL:
            pipe.take(kind, place, made)
        if number % 500 == 499:
            pipe.write()
    return pipe.finish()


@lru_cache(maxsize=1)
def direct() -> Outcome:
    """What comes of it with the right rules from the start."""
    return corpus(Pipe())


def letters_in(out: Outcome) -> list[DeadLetter]:
    found = [decode_letter(value) for value in out.letters.values()]
    return [letter for letter in found if letter is not None]


def put_back(letters: Iterable[DeadLetter], door: type[Door] = Door) -> Outcome:
    """Feed letters as ``connectors.deadletters.redrive`` sends them."""
    pipe = Pipe(door)
    for letter in letters:
        mark = Redrive(letter.topic, letter.partition, letter.offset, letter.floor)
        headers = ((REDRIVE_HEADER, msgspec.json.encode(mark)),)
        place = TopicPartition(letter.topic, 0)
        pipe.take("letter", place, (letter.body(), {"headers": headers}))
    return pipe.finish()


def rows_of(changes: Iterable[Change]) -> dict[Any, Any]:
    """The newest row of each key; keys whose row is absent are left out."""
    newest: dict[Any, Change] = {}
    for change in changes:
        key = (change.table, change.key, change.portfolio)
        if key not in newest or change.version > newest[key].version:
            newest[key] = change
    return {key: change.row for key, change in newest.items() if change.row}


def by_verdict(
    letters: Iterable[DeadLetter],
) -> tuple[dict[bytes, DeadLetter], dict[bytes, DeadLetter]]:
    """Letters that pass now, and those that do not."""
    passing, refused = {}, {}
    for letter in letters:
        verdict = examine(SETTINGS, letter, CALENDAR).refused
        (refused if verdict else passing)[letter.id.encode()] = letter
    return passing, refused


@pytest.fixture(params=["calendar", "text"])
def refused_by_a_wrong_rule(request, monkeypatch) -> Outcome:
    if request.param == "calendar":
        return corpus(Pipe(calendar=SHORT))
    with monkeypatch.context() as patch:
        patch.setattr(debezium, "MAX_TEXT", SHORT_TEXT)
        return corpus(Pipe())


def test_letters_of_a_rule_that_was_wrong_are_applied(refused_by_a_wrong_rule):
    before = refused_by_a_wrong_rule
    assert faults_in(direct()) == []
    passing, refused = by_verdict(letters_in(before))
    assert len(passing) > COUNT / 100
    assert set(refused) <= set(before.letters) - set(passing)
    assert len(passing) + len(refused) == len(before.letters)
    assert rows_of(before.changes) != rows_of(direct().changes)

    after = put_back(passing.values())
    assert faults_in(after) == []
    assert after.stats.accepted == after.stats.read == len(passing)
    assert after.removed == set(passing)
    assert rows_of([*before.changes, *after.changes]) == rows_of(direct().changes)


def test_letters_that_are_still_bad_come_back_as_they_were(refused_by_a_wrong_rule):
    _, refused = by_verdict(letters_in(refused_by_a_wrong_rule))
    rows = {
        name: letter
        for name, letter in refused.items()
        if table_of(SETTINGS, letter.topic) and letter.payload is not None
    }
    assert len(rows) > COUNT / 4
    after = put_back(rows.values())
    assert after.stats.read == sum(after.stats.refused.values()) == len(rows)
    assert after.removed == set()
    assert set(after.letters) == set(rows)
    for letter in letters_in(after):
        assert letter.body() == rows[letter.id.encode()].body()


class KeepsVersions(Door):
    """Gives a row put back the version of its refusal, which has won already."""

    def _redriven(self, mark: Redrive, decoded: Decoded) -> Decoded:
        super()._redriven(mark, decoded)
        return Decoded(decoded.changes, decoded.refused)


class KeepsLetters(Door):
    """Applies what is put back, and does not remove its letter."""

    def drain(self) -> Any:
        self._forget_letters.clear()
        return super().drain()


@pytest.mark.parametrize("broken", [KeepsVersions, KeepsLetters])
def test_a_door_that_does_not_redrive_is_caught(broken):
    before = corpus(Pipe(calendar=SHORT))
    passing, _ = by_verdict(letters_in(before))
    after = put_back(passing.values(), broken)
    rows = rows_of([*before.changes, *after.changes])
    assert rows != rows_of(direct().changes) or after.removed != set(passing)
