"""Refused records that are newer than what schema ``analytics`` shows instead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from connectors.postgres import Connection
from connectors.settings import TopicSettings
from connectors.sink import FAMILIES, Family


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that the sink left out.

    Attributes
    ----------
    where
        ``topic/partition@offset``.
    key
        Whose record of which session.
    """

    where: str
    key: str
    reason: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Refusals:
    """How many results are left out although they are newer, and the newest of them."""

    count: int
    newest: Refusal


async def read_refused(
    connection: Connection, topics: TopicSettings
) -> Refusals | None:
    """Look for them; None if there are none.

    A record that was refused and then overtaken (by a row or a retraction as new as it
    is) is history. So is one that says no key or no revision: a foreign record hides
    no result.
    """
    found: list[Refusal] = []
    for family in FAMILIES:
        found += await _refused(connection, family, family.topic(topics))
    if not found:
        return None
    return Refusals(len(found), max(found, key=lambda one: one.seen_at))


async def _refused(connection: Connection, family: Family, topic: str) -> list[Refusal]:
    rows = await connection.fetch(
        "SELECT DISTINCT ON (key) * FROM analytics.sink_refused WHERE topic = $1 AND "
        "key IS NOT NULL AND rev_p IS NOT NULL "
        "ORDER BY key, rev_p DESC, rev_m DESC, rev_v DESC",
        topic,
    )
    cells = [(cell, row) for row in rows if (cell := _cell(family, row["key"]))]
    if not cells:
        return []
    overtaken = await connection.fetch(
        _overtaken_sql(family),
        *zip(
            *(
                (place, *cell, row["rev_p"], row["rev_m"], row["rev_v"])
                for place, (cell, row) in enumerate(cells)
            ),
            strict=True,
        ),
    )
    history = {row["place"] for row in overtaken}
    return [
        _refusal(row) for place, (_, row) in enumerate(cells) if place not in history
    ]


def _cell(family: Family, key: bytes) -> tuple[int | str, date] | None:
    """Owner and session that a key names; None where it names none."""
    owner, _, day = key.decode("utf-8", "replace").rpartition("|")
    try:
        session = date.fromisoformat(day)
        known: int | str = owner if family.of_symbols else int(owner)
    except ValueError:
        return None
    fits = isinstance(known, str) or -(2**63) <= known < 2**63
    return (known, session) if fits and "\0" not in owner else None


def _overtaken_sql(family: Family) -> str:
    """Statement that names the places of cells that hold something as new."""
    newer = "(t.rev_p, t.rev_m, t.rev_v) >= (r.rev_p, r.rev_m, r.rev_v)"
    same = f"t.{family.owner} = r.owner AND t.session = r.session AND {newer}"
    return (
        "SELECT r.place FROM "  # noqa: S608 - our own names
        f"unnest($1::bigint[], $2::{family.owner_type}[], $3::date[], $4::bigint[], "
        "$5::bigint[], $6::integer[]) "
        "AS r (place, owner, session, rev_p, rev_m, rev_v) WHERE "
        f"EXISTS (SELECT FROM analytics.{family.table} AS t WHERE {same}) OR "
        f"EXISTS (SELECT FROM analytics.{family.retractions} AS t "
        f"WHERE t.family = '{family.name}' AND {same})"
    )


def _refusal(row: Any) -> Refusal:
    return Refusal(
        where=f"{row['topic']}/{row['partition']}@{row['offset']}",
        key=row["key"].decode("utf-8", "replace"),
        reason=row["reason"],
        seen_at=row["seen_at"],
    )
