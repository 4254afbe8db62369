"""``deltafolio doctor``: what a database lacks to be captured, and what mends it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connectors.doctor import Finding, Report

MANY_LINES = 10
"""SQL longer than this is not shown among the findings; ``--sql`` shows it."""


def register(app: typer.Typer) -> None:
    """Add ``doctor`` to the command line."""
    app.command()(doctor)


def doctor(
    dsn: Annotated[
        str | None,
        typer.Option(help="Database; as in the settings when not given."),
    ] = None,
    schema: Annotated[
        str | None, typer.Option(help="Schema of the source tables [default: public].")
    ] = None,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Mend what is safe: role, rights, replica identity, publication, "
            "schema analytics. Nothing is removed, no table's shape or data change.",
        ),
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Only the SQL that mends, as a script.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Tell what a database lacks to be captured, and how to mend it.

    Only catalogues are read, and nothing is changed unless --fix is given. Names of
    role, publication and slot are those of the settings. Exit status: 0 if capture
    works as it is, 1 if not.

    Example: deltafolio doctor --dsn postgresql://postgres@db.example:5432/portfolios
    """
    from pydantic import SecretStr

    from connectors.doctor import examine
    from connectors.settings import Settings

    postgres = Settings.load().postgres
    changes: dict[str, object] = {}
    if dsn is not None:
        changes["dsn"] = SecretStr(dsn)
    if schema is not None:
        changes["source_schema"] = schema
    chosen = postgres.model_validate(postgres.model_dump() | changes)
    report = asyncio.run(examine(chosen, fix=fix))
    show = _show_json if as_json else _show_sql if sql else _show
    show(report)
    if not report.is_well:
        raise typer.Exit(1)


def _show_json(report: Report) -> None:
    document = {
        "well": report.is_well,
        "mended": report.mended,
        "findings": [asdict(finding) for finding in report.findings],
    }
    typer.echo(json.dumps(document, indent=2))


def _show_sql(report: Report) -> None:
    """Write a script; what is not safe is a comment until its reader decides."""
    for finding in report.findings:
        if finding.sql is None:
            continue
        typer.echo(f"-- {finding.level}: {finding.subject}: {finding.message}")
        lines = finding.sql.strip().splitlines()
        for line in lines:
            typer.echo(line if finding.safe else f"-- {line}")
        if finding.after:
            typer.echo(f"-- then: {finding.after}")
        typer.echo()


def _show(report: Report) -> None:
    for line in report.mended:
        typer.echo(f"--fix    {line}")
    for finding in report.findings:
        typer.echo(f"{finding.level:8} {finding.subject}: {finding.message}")
        for line in _remedy(finding):
            typer.echo(f"             {line}")
    errors = sum(finding.level == "error" for finding in report.findings)
    warnings = sum(finding.level == "warning" for finding in report.findings)
    safe = sum(finding.safe for finding in report.findings)
    hint = f"; --fix would mend {safe} of them" if safe else ""
    typer.echo(f"errors: {errors}, warnings: {warnings}{hint}")


def _remedy(finding: Finding) -> list[str]:
    lines = (finding.sql or "").strip().splitlines()
    if len(lines) > MANY_LINES:
        ways = "--sql shows them, --fix runs them" if finding.safe else "--sql"
        lines = [f"({len(lines)} lines of SQL: {ways})"]
    if finding.after:
        lines.append(f"then: {finding.after}")
    return lines
