"""Rows that change their key, of which a connector sent one half."""

import asyncio
import json
import logging
from typing import Any

import pytest
from aiokafka import TopicPartition

from connectors.capture import signal_topic
from connectors.deadletters import decode_letter, examine
from connectors.debezium import decode
from streams.door import Door
from streams.intake import Intake
from streams.moves import AGAIN_S, ARRIVES, ASKS, LEAVES, conditions
from tests.connectors.envelopes import (
    LOT,
    PORTFOLIO,
    PRICE,
    envelope,
    marker,
    snapshot_row,
    to_bytes,
)
from tests.streams.intake_model import CALENDAR, ENDS, SETTINGS, record
from tests.streams.test_intake_door import LOTS, PRICES, open_door

OTHER = LOT["portfolio_id"] + 1
PROFILE = {"symbol": "A", "sector": "Energy", "is_etf": False}
GONE = ((LEAVES, b"x"),)
COME = ((ARRIVES, b"x"),)
LATE = 60.0


def move(op: str, order: int, **more: Any) -> dict[str, Any]:
    side = {"before": LOT} if op == "d" else {"after": LOT | {"portfolio_id": OTHER}}
    return envelope(op, "positions", **side, order=order, **more)


def take(
    door: Door, place: TopicPartition, message: Any, headers: Any = (), now: float = 0.0
) -> None:
    made = record(door.ledger.next(place), to_bytes(message), headers)
    door.take(place, made, now)


def end(door: Door, tx: int, lsn: int, count: int, now: float = 0.0) -> None:
    take(door, ENDS, marker("END", tx, lsn, count), now=now)


def asked(door: Door) -> list[dict[str, Any]]:
    return [json.loads(value or b"") for _, value in door.drain().asks]


def pass_time(door: Door, upto: int, begin: int = 0) -> None:
    """Let the connector stream something, and the time pass in which it is asked."""
    for times in range(begin, upto):
        now = LATE + times * AGAIN_S
        end(door, 1000 + times, 30_000_000 + times, 0, now=now)
        door.tick(now, 0, caught_up=True)


def cut_in_two(place: TopicPartition = LOTS, gone: Any = None) -> Door:
    """A row left (a lot); the connector began anew, and went on behind it."""
    door = open_door()
    take(door, place, gone or move("d", 1), GONE)
    end(door, 900, 29_500_000, 0)
    return door


def test_a_move_that_is_whole_asks_for_nothing():
    door = open_door()
    take(door, LOTS, move("d", 1), GONE)
    take(door, LOTS, move("c", 2), COME)
    end(door, 779, 29_000_200, 2)
    end(door, 900, 29_500_000, 0)
    door.tick(LATE, 0, caught_up=True)
    assert asked(door) == []


def test_half_a_move_is_asked_for(caplog):
    door = cut_in_two()
    with caplog.at_level(logging.WARNING):
        door.tick(LATE, 0, caught_up=True)
    assert "are asked for again: positions id IN" in caplog.text
    [signal] = asked(door)
    table = f"{SETTINGS.postgres.source_schema}.positions"
    [condition] = signal["data"]["additional-conditions"]
    assert signal["data"]["data-collections"] == [table]
    assert condition["filter"].endswith(f"WHERE id IN ({LOT['id']})")
    door.tick(LATE + AGAIN_S / 2, 0, caught_up=True)
    assert asked(door) == []


def test_it_is_asked_for_again_where_the_connector_did_not_hear():
    door = cut_in_two()
    pass_time(door, 2)
    assert len(asked(door)) == 2
    take(door, LOTS, move("r", 1), now=LATE + AGAIN_S)
    pass_time(door, 9, begin=2)
    assert asked(door) == []


def test_what_never_comes_is_told_and_let_go(caplog):
    door = cut_in_two()
    end(door, 779, 29_000_200, 1)
    for times in range(ASKS):
        assert door.committable()[LOTS].offset == 0
        pass_time(door, times + 1, begin=times)
        assert len(asked(door)) == 1
    with caplog.at_level(logging.ERROR):
        pass_time(door, ASKS + 1, begin=ASKS)
    assert f"positions ({LOT['id']},) changed its key" in caplog.text
    assert door.committable()[LOTS].offset == 1
    pass_time(door, 9, begin=ASKS + 1)
    assert asked(door) == []


def test_what_never_comes_is_a_dead_letter():
    door = cut_in_two()
    end(door, 779, 29_000_200, 1)
    pass_time(door, ASKS + 1)
    assert door.pending
    [(key, value)] = door.drain().letters
    letter = decode_letter(value or b"")
    assert letter is not None
    assert key == f"{LOTS.topic}/0/0".encode()
    assert (letter.reason, letter.value) == ("move_lost", "x")
    assert (letter.table, letter.row) == ("positions", (LOT["id"],))
    assert letter.key == "k"
    assert (letter.payload, letter.size) == (None, 0)
    # Nothing of it can be put back.
    refused = examine(SETTINGS, letter, CALENDAR).refused
    assert refused is not None
    assert refused.reason == "no_payload"


def test_a_connector_that_is_away_is_not_asked_and_not_given_up():
    door = cut_in_two()
    end(door, 779, 29_000_200, 1)
    for times in range(20):
        door.tick(LATE + times * AGAIN_S, 0, caught_up=True)
    assert len(asked(door)) == 1
    assert door.committable()[LOTS].offset == 0
    # It is back, and streams something.
    pass_time(door, 22, begin=20)
    assert len(asked(door)) == 2
    assert door.committable()[LOTS].offset == 0
    pass_time(door, 23, begin=22)
    assert door.committable()[LOTS].offset == 1


def test_what_is_older_than_the_deletion_does_not_tell_of_its_row():
    """A connector that was killed sends some records twice."""
    door = cut_in_two()
    end(door, 779, 29_000_200, 1)
    pass_time(door, 1)
    older = {"after": LOT, "commit": 28_000_000, "lsn": 28_000_100, "order": 1}
    take(door, LOTS, envelope("u", "positions", tx=None, **older), now=LATE)
    before = snapshot_row("positions", LOT, 28_000_000)
    take(door, LOTS, before, now=LATE)
    pass_time(door, 2, begin=1)
    assert len(asked(door)) == 2
    assert door.committable()[LOTS].offset == 0


def test_what_is_later_than_the_deletion_tells_of_its_row():
    door = cut_in_two()
    end(door, 779, 29_000_200, 1)
    later = {"commit": 29_500_000, "lsn": 29_600_000, "order": 1, "tx": None}
    take(door, LOTS, move("u", **later), now=LATE)
    pass_time(door, 9)
    assert asked(door) == []
    assert door.committable()[LOTS].offset == 2


def test_a_row_that_moves_once_more_is_waited_for_once_more():
    door = cut_in_two()
    end(door, 779, 29_000_200, 1)
    later = {"commit": 29_500_000, "lsn": 29_600_000, "order": 1, "tx": None}
    take(door, LOTS, move("d", **later), GONE, now=LATE)
    assert door.committable()[LOTS].offset == 1
    pass_time(door, 1, begin=2)
    assert len(asked(door)) == 0
    pass_time(door, 3, begin=2)
    assert len(asked(door)) == 1


@pytest.mark.parametrize(
    ("table", "gone", "came"),
    [
        ("market_data_cache", PRICE, PRICE | {"symbol": "OTHER"}),
        ("company_profiles", PROFILE, PROFILE | {"symbol": "OTHER"}),
        ("portfolios", PORTFOLIO, PORTFOLIO | {"id": 77}),
    ],
)
def test_a_row_that_comes_under_another_primary_key_is_not_asked_for_again(
    table, gone, came
):
    place = TopicPartition(SETTINGS.cdc_topic(table), 0)
    door = cut_in_two(place, envelope("d", table, before=gone, order=1))
    end(door, 779, 29_000_200, 1)
    pass_time(door, 1)
    assert len(asked(door)) == 1
    take(door, place, snapshot_row(table, came, 29_500_000), now=LATE)
    assert door.committable()[place].offset == 2
    pass_time(door, 9, begin=1)
    assert asked(door) == []


@pytest.mark.parametrize(
    ("table", "gone", "came"),
    [
        ("market_data_cache", PRICE, PRICE | {"date": PRICE["date"] + 1}),
        ("positions", LOT, LOT | {"id": LOT["id"] + 1}),
    ],
)
def test_other_rows_do_not_tell_of_it(table, gone, came):
    place = TopicPartition(SETTINGS.cdc_topic(table), 0)
    door = cut_in_two(place, envelope("d", table, before=gone, order=1))
    end(door, 779, 29_000_200, 1)
    pass_time(door, 1)
    take(door, place, snapshot_row(table, came, 29_500_000), now=LATE)
    assert door.committable()[place].offset == 0
    pass_time(door, 2, begin=1)
    assert len(asked(door)) == 2


def test_it_is_not_asked_for_while_the_rest_may_come():
    door = open_door()
    take(door, LOTS, move("d", 1), GONE)
    door.tick(LATE, 0, caught_up=True)  # the connector is away
    assert asked(door) == []
    end(door, 900, 29_500_000, 0, now=LATE)
    door.tick(2 * LATE, 0, caught_up=False)  # there is more to read in Kafka
    assert asked(door) == []
    door.tick(4 * LATE, 0, caught_up=True)
    assert len(asked(door)) == 1


def test_its_offset_is_not_committed_before_it_came():
    door = cut_in_two()
    # Its own end, counted anew after the restart: the transaction is done.
    end(door, 779, 29_000_200, 1)
    door.tick(LATE, 0, caught_up=True)
    assert door.pending
    door.drain()
    assert door.committable()[LOTS].offset == 0
    take(door, LOTS, move("r", 1), now=LATE)
    door.drain()
    assert door.committable()[LOTS].offset == 2


def test_a_lot_that_was_deleted_is_not_a_move():
    door = open_door()
    take(door, LOTS, move("d", 1))
    end(door, 900, 29_500_000, 0)
    door.tick(LATE, 0, caught_up=True)
    assert asked(door) == []


def test_a_close_that_got_another_symbol_is_looked_for_by_its_day():
    door = cut_in_two(PRICES, envelope("d", "market_data_cache", before=PRICE))
    door.tick(LATE, 0, caught_up=True)
    [signal] = asked(door)
    [condition] = signal["data"]["additional-conditions"]
    assert " WHERE date IN ('" in condition["filter"]


def test_conditions_are_total():
    far = envelope("d", "market_data_cache", before=PRICE | {"date": 2**31 - 1})
    broken = envelope("d", "company_profiles", before={"symbol": "x'; DROP"})
    changes = [
        change
        for message in (far, broken)
        for change in decode(to_bytes(message), CALENDAR).changes
    ]
    assert conditions(changes) == {
        "market_data_cache": "false",
        "company_profiles": None,
    }


class Appended:
    """A producer that acknowledges at once."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    async def send(self, topic: str, *_: Any, **__: Any) -> Any:
        self.topics.append(topic)
        return asyncio.sleep(0)


async def test_intake_asks_the_connector(tmp_path):
    door = cut_in_two()
    door.tick(LATE, 0, caught_up=True)
    intake = Intake(SETTINGS.model_copy(update={"home": tmp_path}))
    intake._producer = producer = Appended()
    await intake._write(door, door.drain())
    assert producer.topics.count(signal_topic(SETTINGS)) == 1
