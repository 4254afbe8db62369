"""Records that Kafka removed, and logs that are not the same any more: told, always."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from connectors.deadletters import decode_letter
from connectors.topics import TopicError
from streams import intake as intake_module
from streams.door import Door
from streams.holdback import Holdback
from streams.intake import Intake
from tests.connectors.envelopes import PRICE, snapshot_row, to_bytes
from tests.streams.intake_model import DAYS, ENDS, PLACES, SETTINGS, record
from tests.streams.test_intake_door import LOTS, PRICES, open_door

Bounds = dict[TopicPartition, tuple[int, int]]


class Logs:
    """A consumer of logs that begin and end somewhere, at their ends."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = {place: (0, 0) for place in PLACES} | (bounds or {})
        self.at: dict[TopicPartition, int] = {}
        self.questions = 0

    async def beginning_offsets(self, places: Iterable[TopicPartition]) -> Any:
        self.questions += 1
        return {place: self.bounds[place][0] for place in places}

    async def end_offsets(self, places: Iterable[TopicPartition]) -> Any:
        return {place: self.bounds[place][1] for place in places}

    def highwater(self, place: TopicPartition) -> int:
        return self.bounds[place][1]

    async def position(self, place: TopicPartition) -> int:
        return self.bounds[place][1]

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.at[place] = offset

    def paused(self) -> set[Any]:
        return set()


def intake_of(home: Path, logs: Logs) -> Intake:
    made = Intake(SETTINGS.model_copy(update={"home": home}))
    made._consumer = logs
    return made


def left(**offsets: int) -> dict[TopicPartition, OffsetAndMetadata]:
    places = {"lots": LOTS, "prices": PRICES, "ends": ENDS}
    return {places[name]: OffsetAndMetadata(at, "{}") for name, at in offsets.items()}


def told(door: Door) -> list[tuple[str, str, object]]:
    found = [decode_letter(value or b"") for _, value in door.drain().letters]
    return [(one.id, one.reason, one.value) for one in found if one is not None]


# --- under a running intake ---


async def test_a_log_that_was_cut_to_nothing_has_lost_records(tmp_path: Path) -> None:
    """The client goes on at its end, as it does behind a transaction's marker."""
    door = open_door(left(lots=100))
    intake = intake_of(tmp_path, Logs({LOTS: (150, 150)}))
    await intake._take(door, {}, 1.0)
    assert door._stats.lost == 50
    assert told(door) == [(f"{LOTS.topic}/0/100", "records_lost", "100 to 149")]
    assert door.committable()[LOTS].offset == 150
    await intake._take(door, {}, 2.0)
    assert told(door) == []


async def test_of_a_marker_at_the_end_nothing_is_lost(tmp_path: Path) -> None:
    door = open_door(left(lots=100))
    logs = Logs({LOTS: (40, 101)})
    await intake_of(tmp_path, logs)._take(door, {}, 1.0)
    assert told(door) == []
    assert door.committable()[LOTS].offset == 101


async def test_kafka_is_not_asked_where_all_was_read(tmp_path: Path) -> None:
    logs = Logs({LOTS: (40, 100)})
    await intake_of(tmp_path, logs)._take(open_door(left(lots=100)), {}, 1.0)
    assert logs.questions == 0


def test_a_log_that_begins_anew_under_intake_ends_it_with_words() -> None:
    door = open_door(left(prices=1000))
    row = to_bytes(snapshot_row("market_data_cache", PRICE, 5_000))
    with pytest.raises(TopicError, match="was read to 1000 and now is at 0") as caught:
        door.take(PRICES, record(0, row), 0.0)
    command = "--delete-offsets --group deltafolio-intake --topic"
    assert f"{command} {PRICES.topic}" in str(caught.value)
    assert not door.pending


# --- at its start ---


async def opened(
    monkeypatch: pytest.MonkeyPatch, home: Path, logs: Logs, **offsets: int
) -> Door:
    """Take the logs over, with offsets that Kafka says were committed."""

    @asynccontextmanager
    async def nobody(_: Any) -> Any:
        yield None

    async def committed(*_: Any) -> Any:
        return left(**offsets)

    async def held() -> Holdback:
        return Holdback(DAYS[10])

    intake = intake_of(home, logs)
    monkeypatch.setattr(intake_module, "started_admin", nobody)
    monkeypatch.setattr(intake_module, "committed", committed)
    monkeypatch.setattr(intake, "_read_held", held)
    return await intake._open(PLACES)


async def test_what_was_removed_while_intake_was_away_is_told_at_its_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logs = Logs({LOTS: (150, 200), PRICES: (20, 90)})
    door = await opened(monkeypatch, tmp_path, logs, lots=100, prices=30)
    assert told(door) == [(f"{LOTS.topic}/0/100", "records_lost", "100 to 149")]
    assert (logs.at[LOTS], logs.at[PRICES], logs.at[ENDS]) == (150, 30, 0)


async def test_without_a_committed_offset_what_was_removed_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kafka forgets offsets of a group that is away for long."""
    logs = Logs({LOTS: (150, 200)})
    door = await opened(monkeypatch, tmp_path, logs)
    assert told(door) == [(f"{LOTS.topic}/0/0", "records_lost", "0 to 149")]
    assert logs.at[LOTS] == 150


async def test_a_log_that_ends_before_what_was_committed_is_another_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logs = Logs({LOTS: (0, 99)})
    with pytest.raises(TopicError, match="was read to 100 and now is at 99"):
        await opened(monkeypatch, tmp_path, logs, lots=100)


async def test_where_nothing_was_removed_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logs = Logs({LOTS: (100, 100), PRICES: (0, 7)})
    door = await opened(monkeypatch, tmp_path, logs, lots=100)
    assert not door.pending
    assert (logs.at[LOTS], logs.at[PRICES]) == (100, 0)
