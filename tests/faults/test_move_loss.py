"""Lots that move while the connector restarts in good order: none is lost.

A move is two records of one position (decision 0002), and a connector that stops
between them never sends the second. Intake asks for such rows.
"""

from __future__ import annotations

import asyncio
from functools import partial

import httpx
import pytest
from aiokafka import TopicPartition

from analytics.calendar import Calendar
from connectors.kafka import started_consumer
from connectors.reconcile import reconcile_until
from tests.integration.test_intake import LOTS, Lab, OpenLab, open_lab  # noqa: F401
from tests.worlds import calendar_of

pytestmark = [pytest.mark.faults, pytest.mark.integration]

MOVED, TRIES, ROUNDS = 3_000, 20, 4


async def move_while_the_connector_restarts(lab: Lab, number: int) -> None:
    """Move every lot several times; restart the connector while that streams."""
    place = TopicPartition(lab.settings.cdc_topic("positions"), 0)
    url = f"{lab.settings.connect.url}/connectors/{lab.settings.connect.connector}"
    async with (
        started_consumer(lab.settings, group_id=None) as consumer,
        httpx.AsyncClient(timeout=30) as client,
    ):
        start = (await consumer.end_offsets([place]))[place]
        moves = [
            "UPDATE positions SET portfolio_id = portfolio_id % 3 + 1 "
            f"WHERE id % {ROUNDS} = {part}"
            for part in range(ROUNDS)
        ]
        moving = asyncio.create_task(lab.execute(*moves))
        enough = start + MOVED * (1 + number % 7) / 8
        while (await consumer.end_offsets([place]))[place] < enough:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        answer = await client.post(f"{url}/restart?includeTasks=true")
        assert answer.status_code in (202, 204), answer.text
        await moving


async def nothing_differs(lab: Lab, calendar: Calendar) -> bool:
    return (await reconcile_until(lab.settings, calendar)).differ == 0


async def test_a_move_that_was_cut_in_two_is_asked_for(open_lab: OpenLab) -> None:  # noqa: F811
    lab = await open_lab(
        f"{LOTS} SELECT n, n % 3 + 1, 'A', 'LONG', 'PUBLIC', 1, 1, '2024-01-02' "
        f"FROM generate_series(1, {MOVED}) AS n",
    )
    calendar = calendar_of(lab.settings)
    async with lab.intake() as intake:
        await lab.until_rows("positions", MOVED)
        for number in range(TRIES):
            await move_while_the_connector_restarts(lab, number)
            await lab.until(partial(nothing_differs, lab, calendar))
            print(f"try {number + 1}: {intake.stats.asked} asked for")
        assert intake.stats.asked, "no move was cut: is decision 0002 still true?"
