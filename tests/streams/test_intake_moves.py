"""Rows that change their key, of which a connector sent one half."""

import asyncio
import json
import logging
from typing import Any

from aiokafka import TopicPartition

from connectors.capture import signal_topic
from connectors.debezium import decode
from streams.door import Door
from streams.intake import Intake
from streams.moves import AGAIN_S, ARRIVES, ASKS, LEAVES, conditions
from tests.connectors.envelopes import LOT, PRICE, envelope, marker, to_bytes
from tests.streams.intake_model import CALENDAR, ENDS, SETTINGS, record
from tests.streams.test_intake_door import LOTS, PRICES, open_door

OTHER = LOT["portfolio_id"] + 1
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


def cut_in_two() -> Door:
    """A lot left; the connector began anew, and went on behind it."""
    door = open_door()
    take(door, LOTS, move("d", 1), GONE)
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
    door.tick(LATE, 0, caught_up=True)
    door.tick(LATE + AGAIN_S, 0, caught_up=True)
    assert len(asked(door)) == 2
    take(door, LOTS, move("r", 1), now=LATE + AGAIN_S)
    door.tick(LATE + 9 * AGAIN_S, 0, caught_up=True)
    assert asked(door) == []


def test_what_never_comes_is_told_and_let_go(caplog):
    door = cut_in_two()
    end(door, 779, 29_000_200, 1)
    for times in range(ASKS):
        assert door.committable()[LOTS].offset == 0
        door.tick(LATE + times * AGAIN_S, 0, caught_up=True)
        assert len(asked(door)) == 1
    with caplog.at_level(logging.WARNING):
        door.tick(LATE + ASKS * AGAIN_S, 0, caught_up=True)
    assert f"positions ({LOT['id']},) changed its key" in caplog.text
    assert asked(door) == []
    assert door.committable()[LOTS].offset == 1


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
    door = open_door()
    take(door, PRICES, envelope("d", "market_data_cache", before=PRICE), GONE)
    end(door, 900, 29_500_000, 0)
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
