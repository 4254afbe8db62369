"""The models against what is published, and the files made of them."""

import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from analytics import records
from connectors import schemas
from connectors.models import (
    MODELS,
    Head,
    Positions,
    Reason,
    Retraction,
    Snapshot,
    read_record,
)
from connectors.settings import TopicSettings
from connectors.sink import FAMILIES
from deltafolio.cli import app
from tests.connectors.result_records import (
    made,
    positions_content,
    retraction,
    snapshot,
    snapshot_content,
)

SCHEMAS = Path(__file__).parents[2] / "schemas"
CONTENT = {"snapshots": records.Snapshot, "positions": records.Positions}


def test_the_committed_files_are_what_the_models_say():
    assert schemas.differing(SCHEMAS) == [], "run: deltafolio schemas --write"


@pytest.mark.parametrize("family", CONTENT)
def test_a_model_has_the_fields_of_the_content_in_its_order(family):
    own = [
        name for name in MODELS[family].model_fields if name not in Head.model_fields
    ]
    assert own == [field.name for field in msgspec.structs.fields(CONTENT[family])]


def test_the_quality_block_has_the_fields_of_the_content_in_its_order():
    own = list(Snapshot.model_fields["quality"].annotation.model_fields)
    assert own == [field.name for field in msgspec.structs.fields(records.Quality)]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_the_sink_writes_every_field_of_its_model(family):
    written = {*family.values, *family.arrays, *family.document, "as_of"}
    identity = {"portfolio", "session", "revision", "status"}
    if family.of_symbols:
        identity = {"symbol", "session", "revision"}
    assert written | identity == set(MODELS[family.name].model_fields)


@pytest.mark.parametrize("family", MODELS)
def test_every_field_is_described(family):
    schema = schemas.json_schema(family)
    for name, definition in schema["$defs"].items():
        assert definition["description"], name
        for field, about in definition["properties"].items():
            assert "description" in about, f"{name}.{field}"
            assert "``" not in about.get("description", "")


def test_money_is_read_exactly():
    record = snapshot(1, "2024-01-02", (1, 1, 1), 1)
    value = record.value.replace(b'"nav":1,', b'"nav":922337203685477.5807,')
    assert read_record("snapshots", value).nav == Decimal("922337203685477.5807")


def test_a_result_a_retraction_and_neither():
    record = made(1, "2024-01-02", (1, 1, 1), positions_content([1, 2]))
    assert isinstance(read_record("positions", record.value), Positions)
    gone = read_record("positions", retraction(1, "2024-01-02", (1, 1, 1)).value)
    assert isinstance(gone, Retraction)
    assert gone.session == date(2024, 1, 2)
    with pytest.raises(ValidationError, match="nav"):
        read_record("snapshots", record.value)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "done"},
        {"nav": "many"},
        {"reasons": {"nav": "because"}},
        {"lots": 1.5},
        {"quality": {}},
    ],
)
def test_what_is_not_in_the_contract_is_no_record(change):
    content = {**snapshot_content(1), **change}
    with pytest.raises(ValidationError, match=next(iter(change))):
        read_record("snapshots", made(1, "2024-01-02", (1, 1, 1), content).value)


def test_a_field_that_is_not_known_is_passed_over():
    content = {**snapshot_content(1), "new_field": 1}
    record = made(1, "2024-01-02", (1, 1, 1), content)
    assert isinstance(read_record("snapshots", record.value), Snapshot)


def test_the_asyncapi_document_refers_to_files_and_parts_that_exist():
    names = TopicSettings()
    document = json.loads(schemas.documents(names)["asyncapi.json"])
    for target in re.findall(r'"\$ref": "(.*?)"', json.dumps(document)):
        if target.startswith("#/"):
            node = document
            for part in target[2:].split("/"):
                node = node[part]
        else:
            assert (SCHEMAS / target).exists()
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {
        *(names.snapshots, names.positions, names.risk, names.symbols),
        "replay.{run}.differences",
    }


def test_reasons_are_those_of_the_definitions():
    assert len(set(get_args(Reason))) == len(get_args(Reason)) == 12


# --- the command --------------------------------------------------------------------


def test_the_command_says_what_differs_and_writes_it(tmp_path):
    runner, options = CliRunner(), ["schemas", "--dir", str(tmp_path)]
    missing = runner.invoke(app, options)
    assert missing.exit_code == 1
    assert "asyncapi.json" in missing.output
    assert runner.invoke(app, [*options, "--write"]).exit_code == 0
    (tmp_path / "left.over.json").write_text("{}")
    (tmp_path / "asyncapi.json").write_text("{}")
    found = runner.invoke(app, options)
    assert found.exit_code == 1
    assert found.output.count("differs") == 2
    assert runner.invoke(app, [*options, "--write"]).exit_code == 0
    assert runner.invoke(app, options).exit_code == 0
