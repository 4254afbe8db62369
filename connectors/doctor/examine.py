"""The doctor at work: look, judge, mend what is safe, look again."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg  # type: ignore[import-untyped]

from connectors.doctor.facts import Facts
from connectors.doctor.findings import Finding, Level, error, ok, warning
from connectors.doctor.queries import read_facts
from connectors.doctor.results import judge_results
from connectors.doctor.role import judge_role
from connectors.doctor.server import judge_server
from connectors.doctor.stream import judge_publication, judge_slot
from connectors.doctor.tables import judge_tables
from connectors.postgres import Connection, connect, set_password
from connectors.settings import PostgresSettings

LOCK_SECONDS = 3

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, ValueError)
"""What a connection string that leads nowhere raises."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and what was mended before.

    Attributes
    ----------
    findings
        In an order in which their SQL can be run.
    mended
        A line for each finding that ``fix`` dealt with: what, and how it went.
    """

    findings: list[Finding]
    mended: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether capture works as it is."""
        return all(finding.level is not Level.ERROR for finding in self.findings)


async def examine(postgres: PostgresSettings, *, fix: bool = False) -> Report:
    """Tell what keeps a database from being captured, and from taking results.

    Parameters
    ----------
    postgres
        The database, and the names of role, publication, slot and source schema. Any
        user will do to look; to mend, one who owns the tables and may create roles.
    fix
        Mend what is safe: it adds roles, rights, replica identity, publication and
        schema ``analytics``; it removes nothing, and no table's shape or data change.
    """
    try:
        connection = await connect(postgres.dsn.get_secret_value(), "doctor")
    except CONNECTION_ERRORS as problem:
        return Report([error("connection", _reason(problem))])
    try:
        findings = await _look(connection, postgres)
        if not fix:
            return Report(findings)
        mended = [
            await _mend(connection, finding, postgres)
            for finding in findings
            if finding.safe and finding.sql
        ]
        return Report(await _look(connection, postgres), tuple(mended))
    finally:
        await connection.close()


def judge(facts: Facts, postgres: PostgresSettings) -> list[Finding]:
    """Judge a database by its facts. Pure."""
    return [
        *judge_server(facts),
        *judge_tables(facts, postgres),
        *judge_role(facts, postgres),
        *judge_publication(facts, postgres),
        *judge_slot(facts, postgres),
        *judge_results(facts, postgres),
    ]


async def _look(connection: Connection, postgres: PostgresSettings) -> list[Finding]:
    facts = await read_facts(connection, postgres)
    findings = judge(facts, postgres)
    if facts.role is not None and "rolcanlogin" in facts.role.attributes:
        findings.append(await _login(postgres))
    return findings


async def _login(postgres: PostgresSettings) -> Finding:
    """Try to log in as the capture role, with the password of the settings."""
    subject = f"login of {postgres.capture_user}"
    password = postgres.capture_password.get_secret_value()
    if not password:
        message = "no password in the settings (DELTAFOLIO_POSTGRES__CAPTURE_PASSWORD)"
        return warning(subject, message)
    try:
        connection = await asyncpg.connect(
            postgres.dsn.get_secret_value(),
            user=postgres.capture_user,
            password=password,
            timeout=10,
        )
    except CONNECTION_ERRORS as problem:
        after = f"set the password: \\password {postgres.capture_user} (in psql)"
        return error(subject, _reason(problem), after=after)
    await connection.close()
    return ok(subject, "with the password of the settings")


def _reason(problem: BaseException) -> str:
    """Say why, without the connection string (which may hold a password)."""
    text = str(problem).partition("\n")[0]
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


async def _mend(
    connection: Connection, finding: Finding, postgres: PostgresSettings
) -> str:
    try:
        async with connection.transaction():
            # A lock that is not free at once is not worth stopping the owner's work.
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            await connection.execute(finding.sql)
            if "CREATE ROLE" in (finding.sql or ""):
                await set_password(connection, postgres)
    except asyncpg.PostgresError as problem:
        return f"{finding.subject}: not mended: {problem}"
    return f"{finding.subject}: mended ({finding.message})"
