"""Dead letters as the commands show them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from connectors.deadletters import DeadLetter, Place, letter_of
from connectors.debezium import Refused
from deltafolio import dlq_cmds
from deltafolio.cli import app

PLACE = Place("cdc.public.market_data_cache", 0, 17)
REFUSED = Refused("not_positive", "close", "-1")


@pytest.fixture
def said(monkeypatch):
    """Run ``dlq`` over these letters, without a broker."""

    def run(letters: list[DeadLetter], *words: str) -> str:
        async def read(settings: object) -> list[DeadLetter]:
            return letters

        monkeypatch.setattr(dlq_cmds, "read_letters", read)
        done = CliRunner().invoke(app, ["dlq", *words])
        assert done.exit_code == 0, done.output
        return done.output

    return run


def price(*row: int | str) -> DeadLetter:
    return letter_of(PLACE, b"{}", REFUSED, table="market_data_cache", row=row)


def test_the_key_of_a_price_has_its_date(said):
    letters = [price("S16", 739_910)]
    name = letters[0].id
    assert "market_data_cache S16|2026-10-21  not_positive" in said(letters, "list")
    assert "'S16', '2026-10-21'" in said(letters, "show", name)
    for words in (["list", "--json"], ["show", name, "--json"]):
        assert json.loads(said(letters, *words))["row"] == ["S16", "2026-10-21"]


def test_what_is_no_date_is_shown_as_it_is(said):
    listed = said([price("S16", 0), price("S16", 2**40), price("S16")], "list")
    assert "S16|0 " in listed
    assert f"S16|{2**40} " in listed
    other = letter_of(PLACE, b"", REFUSED, table="positions", row=(739_910,))
    assert "positions 739910 " in said([other], "list")
    nowhere = letter_of(PLACE, b"", REFUSED)
    assert "row        None" in said([nowhere], "show", nowhere.id)
