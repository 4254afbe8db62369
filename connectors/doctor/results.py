"""The doctor on schema ``analytics``, where the sink writes."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.doctor.facts import Facts
from connectors.doctor.findings import Finding, Level, error, ok, some, warning
from connectors.postgres import (
    RESULTS_SCHEMA,
    SINK_ROLE,
    VIEW_COLUMNS,
    quote,
    results_sql,
    view_sql,
)
from connectors.settings import PostgresSettings
from connectors.sink import FAMILIES
from connectors.sink_records import RowWriter

SUBJECT = f"schema {RESULTS_SCHEMA}"
_OTHERS = (
    "sink_offsets",
    "sink_retractions",
    "sink_refused",
    "runs",
    "position_values",
)


def judge_results(facts: Facts, postgres: PostgresSettings) -> Iterator[Finding]:
    """Judge where results are written."""
    has_columns = _positions(facts) >= VIEW_COLUMNS
    view = view_sql(postgres.source_schema) if has_columns else ""
    everything = f"{results_sql()}\n{view}"
    missing = _missing(facts)
    for family in FAMILIES:
        columns = facts.results.get(family.table)
        if columns is None:
            missing.append(family.table)
        elif lacking := set(RowWriter(family).columns) - columns:
            message = (
                f"{family.table} lacks {some(sorted(lacking))}: of another version"
            )
            sql = f"DROP TABLE {RESULTS_SCHEMA}.{family.table} CASCADE;\n{everything}"
            after = "the sink fills it again once its offsets are deleted"
            yield error(SUBJECT, message, sql, after=after)
    if missing or not facts.sink_role:
        what = some([*missing, *([] if facts.sink_role else [f"role {SINK_ROLE}"])])
        yield error(SUBJECT, f"lacks {what}", everything, safe=True)
        return
    if not facts.is_sink:
        message = (
            f"{facts.user} may not act as {SINK_ROLE}: the sink needs a user who may"
        )
        sql = f"GRANT {SINK_ROLE} TO {quote(facts.user)};"
        yield warning(SUBJECT, message, sql)
    if "positions_valued" in facts.results:
        yield ok(SUBJECT, "is there, with all that the sink needs")
    elif has_columns:
        yield Finding(Level.WARNING, SUBJECT, "lacks positions_valued", view, safe=True)
    else:
        lacks = some(sorted(VIEW_COLUMNS - _positions(facts)))
        message = f"is without view positions_valued, as positions lack {lacks}"
        yield warning(SUBJECT, message)


def _missing(facts: Facts) -> list[str]:
    """Tables beside the families', and the column that one of before lacks."""
    missing = [name for name in _OTHERS if name not in facts.results]
    if "rev_p" not in facts.results.get("sink_refused", {"rev_p"}):
        missing.append("rev_p of sink_refused")
    return missing


def _positions(facts: Facts) -> set[str]:
    table = facts.tables.get("positions")
    return set(table.columns) if table else set()
