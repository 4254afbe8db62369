"""The doctor on the server: version, logical decoding, room for a slot."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.doctor.facts import Facts
from connectors.doctor.findings import Finding, error, ok, warning

OLDEST = 14


def judge_server(facts: Facts) -> Iterator[Finding]:
    """Judge the server."""
    major = facts.version // 10_000
    if major < OLDEST:
        message = f"PostgreSQL {major}, expected {OLDEST} or newer"
        yield error("version", message)
    else:
        yield ok("version", f"PostgreSQL {major}")
    if facts.recovering:
        message = (
            "this server is a standby: roles, publication and results need the primary"
        )
        yield error("standby", message)
    yield _wal_level(facts.settings["wal_level"])
    # The slot that is there already is one of those in use.
    needed = 0 if facts.slot else 1
    yield _room(facts, "max_replication_slots", facts.slots_used, needed)
    active = bool(facts.slot and facts.slot.active)
    yield _room(facts, "max_wal_senders", facts.senders_used, 0 if active else 1)
    if facts.settings.get("max_slot_wal_keep_size") == "-1":
        yield warning(
            "max_slot_wal_keep_size",
            "unlimited: if nobody reads the slot, its WAL fills the disk; with a limit "
            "the slot is lost instead, and capture starts with a new snapshot",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB';\n"
            "SELECT pg_reload_conf();",
        )


def _wal_level(level: str) -> Finding:
    if level == "logical":
        return ok("wal_level", level)
    return error(
        "wal_level",
        f"{level}, expected logical",
        "ALTER SYSTEM SET wal_level = 'logical';",
        after="restart PostgreSQL",
    )


def _room(facts: Facts, name: str, used: int, needed: int) -> Finding:
    limit = int(facts.settings[name])
    if used + needed <= limit:
        return ok(name, f"{used} of {limit} in use")
    return error(
        name,
        f"{used} of {limit} in use, expected a free one",
        f"ALTER SYSTEM SET {name} = {used + 4};",
        after="restart PostgreSQL",
    )
