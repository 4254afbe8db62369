"""Published records: the head of a result as JSON, its key and its headers.

A result's content comes from the engine as a JSON object already. What is put in
front of it says whose it is and where it comes from::

    {"portfolio": 7, "session": "2022-01-03", "revision": {"p": 4, "m": 90, "v": 1},
     "as_of": "…Z", "cause": {…} | null, "previous": {…} | null, …content}

Records of family ``symbols`` begin with ``"symbol": "AAPL"``. A retraction has the
same head, ``"retracted": true`` and no content. The key is ``7|2022-01-03`` or
``AAPL|2022-01-03``; a symbol may have a ``|``, a session has none. Header ``d`` is
the digest of the content (8 bytes, big-endian), header ``r`` the revision as
``p,m,v``: who takes over a partition reads these two and not the values.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import msgspec

from analytics.calendar import Calendar
from analytics.causes import key_words
from analytics.results import SYMBOLS, Cause, Previous, Result, Revision

DIGEST_HEADER = "d"
REVISION_HEADER = "r"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORTEST = 10**15
"""Below this a double holds an amount of 1/10 000 so that its text is exact."""

KEPT = 10_000
"""So many causes and instants are kept from one flush to the next: some megabytes."""

_json = msgspec.json.Encoder().encode

Headers = Sequence[tuple[str, bytes]]
NO_HEADERS: list[tuple[str, bytes]] = []


class Record(NamedTuple):
    """What is appended to a topic."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]] = NO_HEADERS


class Said(NamedTuple):
    """What a published record says of itself, read from its key and headers."""

    owner: int | str
    session: int
    digest: int
    revision: Revision


def instant(microseconds: int) -> str:
    """Microseconds since the epoch as ``YYYY-MM-DDTHH:MM:SS.ffffffZ``.

    >>> instant(1)
    '1970-01-01T00:00:00.000001Z'
    """
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def money(amount: int | None) -> str:
    """Write an amount of 1/10 000 as a JSON number with exactly that value.

    >>> money(50_000), money(-1), money(10**17 + 1), money(None)
    ('5.0', '-0.0001', '10000000000000.0001', 'null')
    """
    if amount is None:
        return "null"
    if -_SHORTEST < amount < _SHORTEST:
        return repr(amount / 10_000)
    whole, part = divmod(abs(amount), 10_000)
    return f"{'-' if amount < 0 else ''}{whole}.{part:04d}"


class RecordWriter:
    """Makes records of results; keeps what neighbours have in common.

    Thousands of results of one flush share their session, instant and cause, and a
    snapshot shares its cause with the lots of the same cell, so each of these is
    formatted once. Costs about 3 µs a record, and 5 µs a cause.
    """

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        # By identity, and kept as long: another cause cannot have that identity.
        self._causes: dict[int, tuple[Cause, bytes]] = {}
        self._instants: dict[int, bytes] = {}
        self._sessions: dict[int, bytes] = {}

    def forget(self) -> None:
        """Drop what was kept of causes and instants if that is much.

        Call it after a flush.
        """
        if len(self._causes) + len(self._instants) > KEPT:
            self._causes.clear()
            self._instants.clear()

    def key(self, owner: int | str, session: int) -> bytes:
        """Key of a record."""
        return b"%b|%b" % (str(owner).encode(), self._session(session))

    def record(self, result: Result) -> Record:
        """One result as it is published."""
        p, m, v = result.revision.p, result.revision.m, result.revision.version
        head = (
            b'{%b,"session":"%b","revision":{"p":%d,"m":%d,"v":%d},'
            b'"as_of":"%b","cause":%b,"previous":%b,'
        ) % (
            _owner(result.family, result.owner),
            self._session(result.session),
            p,
            m,
            v,
            self._instant(result.as_of),
            self._cause(result.cause),
            _previous(result.family, result.previous),
        )
        body = b'"retracted":true}' if result.content is None else result.content[1:]
        return Record(
            self.key(result.owner, result.session),
            head + body,
            [
                (DIGEST_HEADER, result.digest.to_bytes(8, "big")),
                (REVISION_HEADER, b"%d,%d,%d" % (p, m, v)),
            ],
        )

    def _session(self, session: int) -> bytes:
        text = self._sessions.get(session)
        if text is None:
            text = self._sessions[session] = self._calendar.iso(session).encode()
        return text

    def _instant(self, microseconds: int) -> bytes:
        text = self._instants.get(microseconds)
        if text is None:
            text = self._instants[microseconds] = instant(microseconds).encode()
        return text

    def _cause(self, cause: Cause | None) -> bytes:
        if cause is None:
            return b"null"
        kept = self._causes.get(id(cause))
        if kept is None:
            committed = self._instant(cause.ts)
            kept = self._causes[id(cause)] = cause, _cause(cause, committed)
        return kept[1]


def _cause(cause: Cause, committed: bytes) -> bytes:
    """Write the change that last moved a number, for people: dates are dates."""
    version = cause.version
    return (
        b'{"table":%b,"key":%b,"committed":"%b","version":[%d,%d,%d],"changed":%b}'
        % (
            _json(cause.table),
            _json(key_words(cause.key)),
            committed,
            version.commit,
            version.lsn,
            version.order,
            _json({column: (old, new) for column, old, new in cause.changed}),
        )
    )


def _owner(family: str, owner: int | str) -> bytes:
    if family == SYMBOLS:
        return b'"symbol":%b' % _json(owner)
    return b'"portfolio":%d' % int(owner)


def _previous(family: str, previous: Previous | None) -> bytes:
    """Write what was said before; a symbol has no money."""
    if previous is None:
        return b"null"
    p, m, v = previous.revision.p, previous.revision.m, previous.revision.version
    revision = b'{"revision":{"p":%d,"m":%d,"v":%d}' % (p, m, v)
    if family == SYMBOLS:
        return revision + b"}"
    nav, pnl = money(previous.nav).encode(), money(previous.pnl).encode()
    return revision + b',"nav":%b,"pnl":%b}' % (nav, pnl)


class SaidReader:
    """Reads `Said` from keys and headers of a results topic."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._sessions: dict[bytes, int | None] = {}

    def said(self, family: str, key: bytes | None, headers: Headers) -> Said | None:
        """Read what a record says; None for one that no worker of ours wrote."""
        found = dict(headers)
        digest, revision = found.get(DIGEST_HEADER), found.get(REVISION_HEADER)
        if key is None or digest is None or revision is None:
            return None
        owner, _, day = key.rpartition(b"|")
        session = self._session(day)
        if session is None:
            return None
        p, m, v = map(int, revision.split(b","))
        return Said(
            owner.decode() if family == SYMBOLS else int(owner),
            session,
            int.from_bytes(digest, "big"),
            Revision(p, m, v),
        )

    def _session(self, day: bytes) -> int | None:
        if day not in self._sessions:
            ordinal = date.fromisoformat(day.decode()).toordinal()
            self._sessions[day] = self._calendar.index(ordinal)
        return self._sessions[day]
