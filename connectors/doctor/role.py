"""The doctor on the capture role: what it lacks, and what it has too much of."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.doctor.facts import Facts, Role
from connectors.doctor.findings import Finding, error, ok, qualified, some, warning
from connectors.postgres import CAPTURED, quote
from connectors.settings import PostgresSettings


def judge_role(facts: Facts, postgres: PostgresSettings) -> Iterator[Finding]:
    """Judge the capture role's rights."""
    role, name = facts.role, postgres.capture_user
    subject = f"role {name}"
    grants = _grants(facts, postgres)
    if role is None:
        sql = f"CREATE ROLE {quote(name)} LOGIN REPLICATION NOINHERIT;"
        yield error(
            subject,
            "does not exist",
            "\n".join([sql, *grants]),
            safe=True,
            after=f"set its password: \\password {name} (in psql)",
        )
        return
    found = [*_lacking(facts, role, postgres), *_excess(role, postgres)]
    yield from found or [ok(subject, "may log in, replicate, read; and nothing else")]


def _grants(facts: Facts, postgres: PostgresSettings) -> list[str]:
    role = quote(postgres.capture_user)
    tables = [qualified(postgres, t) for t in CAPTURED if t in facts.tables]
    found = [
        f"GRANT CONNECT ON DATABASE {quote(facts.database)} TO {role};",
        f"GRANT USAGE ON SCHEMA {quote(postgres.source_schema)} TO {role};",
    ]
    if tables:
        found.append(f"GRANT SELECT ON {', '.join(tables)} TO {role};")
    return found


def _lacking(facts: Facts, role: Role, postgres: PostgresSettings) -> Iterator[Finding]:
    subject, name = f"role {postgres.capture_user}", quote(postgres.capture_user)
    if "rolsuper" in role.attributes:
        return
    wanted = {"rolcanlogin": "LOGIN", "rolreplication": "REPLICATION"}
    for attribute, word in wanted.items():
        if attribute not in role.attributes:
            sql = f"ALTER ROLE {name} {word};"
            yield error(subject, f"has not {word}", sql, safe=True)
    unread = set(facts.tables) - role.reads
    if unread or not role.connects or not role.uses:
        what = (
            f"may not read {', '.join(sorted(unread))}" if unread else "may not enter"
        )
        sql = "\n".join(_grants(facts, postgres))
        yield error(subject, what, sql, safe=True)


_TOO_MUCH = {
    "rolsuper": "NOSUPERUSER",
    "rolcreatedb": "NOCREATEDB",
    "rolcreaterole": "NOCREATEROLE",
}


def _excess(role: Role, postgres: PostgresSettings) -> Iterator[Finding]:
    """Rights that capture does not need: a leaked password should open little."""
    subject, name = f"role {postgres.capture_user}", quote(postgres.capture_user)
    words = [
        word for attribute, word in _TOO_MUCH.items() if attribute in role.attributes
    ]
    if words:
        sql = f"ALTER ROLE {name} {' '.join(words)};"
        message = f"has more than it needs: expected {', '.join(words)}"
        yield warning(subject, message, sql)
    if "rolsuper" in role.attributes:
        return
    for group in role.member_of:
        sql = f"REVOKE {quote(group)} FROM {name};"
        yield warning(subject, f"is a member of {group}", sql)
    if role.owns:
        message = f"owns {some(role.owns)}"
        sql = f"REASSIGN OWNED BY {name} TO CURRENT_USER;"
        yield warning(subject, message, sql)
    if role.writes:
        verbs = "INSERT, UPDATE, DELETE, TRUNCATE"
        yield _revoke(subject, "may write", verbs, role.writes, name)
    if role.reads_more:
        yield _revoke(subject, "may read, unneeded,", "SELECT", role.reads_more, name)
    for place in role.creates_in:
        where = "in the database" if place == "database" else f"in schema {place}"
        message = f"may create {where}"
        yield warning(subject, message, _revoke_create(place, name))


def _revoke(
    subject: str, what: str, verbs: str, relations: tuple[str, ...], role: str
) -> Finding:
    tables = ", ".join(
        ".".join(map(quote, relation.split(".", 1))) for relation in relations
    )
    return warning(
        subject,
        f"{what} {some(relations)}",
        f"REVOKE {verbs} ON {tables} FROM {role}, PUBLIC;",
    )


def _revoke_create(place: str, role: str) -> str | None:
    if place == "database":
        return None
    # In PostgreSQL 14 everybody may create in schema public.
    return f"REVOKE CREATE ON SCHEMA {quote(place)} FROM {role}, PUBLIC;"
