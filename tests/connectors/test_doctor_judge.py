"""The doctor's judgement of what a test server cannot be made to be."""

from dataclasses import replace

import pytest

from connectors.doctor import Finding, Level, judge
from connectors.doctor.columns import NEEDS, key_of
from connectors.doctor.facts import (
    Column,
    Facts,
    Publication,
    Published,
    Role,
    Slot,
    Table,
)
from connectors.postgres import CAPTURED
from connectors.settings import PostgresSettings
from connectors.sink import FAMILIES
from connectors.sink_records import RowWriter

POSTGRES = PostgresSettings()
USUAL = {
    "integer": "int8",
    "text": "text",
    "decimal": "numeric",
    "double": "float8",
    "date": "date",
    "boolean": "bool",
    "mark": "timestamptz",
}
READER = Role(frozenset({"rolcanlogin", "rolreplication"}), reads=frozenset(CAPTURED))


def healthy() -> Facts:
    return Facts(
        version=140_005,
        recovering=False,
        database="ledger",
        settings={
            "wal_level": "logical",
            "max_replication_slots": "4",
            "max_wal_senders": "4",
            "max_slot_wal_keep_size": "50000",
        },
        slots_used=0,
        senders_used=0,
        has_schema=True,
        tables={
            name: Table(
                columns={
                    column: Column(USUAL[need.kind], need.type, need.scale)
                    for column, need in NEEDS[name].items()
                },
                unique=(key_of(name),),
            )
            for name in CAPTURED
        },
        role=Role(
            frozenset({"rolcanlogin", "rolreplication"}), reads=frozenset(CAPTURED)
        ),
        publication=Publication(
            all_tables=False,
            operations=frozenset({"insert", "update", "delete", "truncate"}),
            via_root=False,
            tables={("public", name): Published(None, None) for name in CAPTURED},
        ),
        column_lists=frozenset(),
        slot=None,
        sink_role=True,
        user="administrator",
        is_sink=True,
        results={
            **{f.table: frozenset(RowWriter(f).columns) for f in FAMILIES},
            **dict.fromkeys(
                (
                    "sink_offsets",
                    "sink_retractions",
                    "runs",
                    "position_values",
                    "positions_valued",
                ),
                frozenset(),
            ),
            "sink_refused": frozenset({"rev_p"}),
        },
    )


def bad(facts: Facts) -> list[Finding]:
    return [f for f in judge(facts, POSTGRES) if f.level is not Level.OK]


def test_a_schema_of_before_is_mended_by_applying_it_again():
    facts = healthy()
    facts = replace(facts, results={**facts.results, "sink_refused": frozenset()})
    (found,) = bad(facts)
    assert "lacks rev_p of sink_refused" in found.message
    assert found.safe


def test_a_healthy_database_of_the_oldest_version():
    assert bad(healthy()) == []


@pytest.mark.parametrize(
    ("change", "level", "message"),
    [
        ({"version": 130_009}, Level.ERROR, "PostgreSQL 13, expected 14"),
        ({"recovering": True}, Level.ERROR, "standby"),
        ({"slots_used": 4}, Level.ERROR, "4 of 4 in use, expected a free one"),
        ({"senders_used": 4}, Level.ERROR, "4 of 4 in use, expected a free one"),
        ({"is_sink": False}, Level.WARNING, "administrator may not act as"),
        ({"sink_role": False}, Level.ERROR, "lacks role deltafolio_sink"),
        ({"has_schema": False}, Level.ERROR, "schema public does not exist"),
        (
            {"slot": Slot("pgoutput", "ledger", False, 0, "wal_removed")},
            Level.ERROR,
            "is lost (wal_removed)",
        ),
        (
            {"slot": Slot("pgoutput", "ledger", False, 5 * 10**9, None)},
            Level.WARNING,
            "nobody reads it and 5,000 MB",
        ),
    ],
)
def test_one_thing_is_wrong(change, level, message):
    [finding] = bad(replace(healthy(), **change))
    assert finding.level is level
    assert message in finding.message


@pytest.mark.parametrize("level", ["replica", "minimal"])
def test_the_level_of_the_log(level):
    facts = healthy()
    facts.settings["wal_level"] = level
    [finding] = [f for f in bad(facts) if f.subject == "wal_level"]
    assert finding.sql == "ALTER SYSTEM SET wal_level = 'logical';"
    assert finding.after == "restart PostgreSQL"
    assert not finding.safe


def test_our_own_slot_needs_no_free_one():
    slot = Slot("pgoutput", "ledger", True, 1000, None)
    facts = replace(healthy(), slots_used=4, senders_used=4, slot=slot)
    assert bad(facts) == []


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column("float8", "double precision"), "more than 6 decimals"),
        (Column("numeric", "numeric"), "more than 6 decimals"),
        (Column("numeric", "numeric(12,8)", 8), "more than 6 decimals"),
        (Column("numeric", "numeric(12,2)", 2), None),
        (Column("int4", "integer"), None),
        (Column("money", "money"), "is money, expected numeric(20, 6)"),
        (Column("text", "text"), "is text, expected numeric(20, 6)"),
    ],
)
def test_types_of_a_price(column, message):
    facts = healthy()
    facts.tables["market_data_cache"].columns["close"] = column
    found = [finding.message for finding in bad(facts)]
    assert len(found) == (0 if message is None else 1)
    assert message is None or message in found[0]


def test_a_padded_symbol_is_doubted():
    facts = healthy()
    facts.tables["company_profiles"].columns["symbol"] = Column("bpchar", "char(8)")
    [finding] = bad(facts)
    assert "padded with blanks" in finding.message


@pytest.mark.parametrize("kind", ["v", "m", "f"])
def test_only_tables_can_be_captured(kind):
    facts = healthy()
    facts.tables["positions"] = replace(facts.tables["positions"], kind=kind)
    [finding] = [f for f in bad(facts) if "only tables have changes" in f.message]
    assert finding.sql is None


def test_names_are_quoted():
    """SQL of the doctor is run by --fix: a name must stay a name."""
    postgres = PostgresSettings(capture_user='x"; DROP TABLE y; --')
    findings = judge(replace(healthy(), role=None), postgres)
    [sql] = [f.sql for f in findings if f.sql and "CREATE ROLE" in f.sql]
    assert 'CREATE ROLE "x""; DROP TABLE y; --" LOGIN' in sql
