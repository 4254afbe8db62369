"""What the doctor says: findings, and the words in which they are said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from connectors.postgres import quote
from connectors.settings import PostgresSettings


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is as it should be, or is not.

    Attributes
    ----------
    level
        An error keeps capture from working, or makes it wrong; a warning does not.
    subject
        What it is about, in a word or two.
    message
        What was expected, what was found.
    sql
        What mends it; None where nothing has to be, or SQL cannot.
    safe
        The SQL takes nothing away and changes neither shape nor data of a table:
        ``--fix`` runs it.
    after
        What has to be done besides.
    """

    level: Level
    subject: str
    message: str
    sql: str | None = None
    safe: bool = False
    after: str | None = None


def ok(subject: str, message: str) -> Finding:
    """Make a finding of what is as it should be."""
    return Finding(Level.OK, subject, message)


def warning(subject: str, message: str, sql: str | None = None) -> Finding:
    """Make a finding of what works, but."""
    return Finding(Level.WARNING, subject, message, sql)


def error(
    subject: str,
    message: str,
    sql: str | None = None,
    *,
    safe: bool = False,
    after: str | None = None,
) -> Finding:
    """Make a finding of what keeps capture from working, or makes it wrong."""
    return Finding(Level.ERROR, subject, message, sql, safe, after)


def qualified(postgres: PostgresSettings, table: str) -> str:
    """Name of a source table, quoted."""
    return f"{quote(postgres.source_schema)}.{quote(table)}"


def some(names: Iterable[str], most: int = 4) -> str:
    """List names, the first few of them.

    >>> some(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    found = list(names)
    more = len(found) - most
    shown = ", ".join(found[:most])
    return f"{shown} and {more} more" if more > 0 else shown
