"""The SQL by which a family of results is merged into its table."""
# ruff: noqa: S608 - every name in these statements is our own

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from connectors.postgres import RESULTS_SCHEMA, literal, quote
from connectors.sink import Family

_REVISION = ("rev_p", "rev_m", "rev_v")


def _newer(one: str, other: str, sign: str = ">") -> str:
    ones, others = (", ".join(f"{row}.{c}" for c in _REVISION) for row in (one, other))
    return f"({ones}) {sign} ({others})"


def _same(owner: str, one: str, other: str) -> str:
    return f"{one}.{owner} = {other}.{owner} AND {one}.session = {other}.session"


def _arrays(family: Family) -> str:
    return (
        f"unnest($1::{family.owner_type}[], $2::date[], $3::bigint[], $4::bigint[], "
        f"$5::integer[]) AS r ({family.owner}, session, rev_p, rev_m, rev_v)"
    )


class Statements:
    """The SQL of a family.

    Attributes
    ----------
    staged, stage
        Name of the staging table, and the statement that makes it.
    is_known
        Whether anything of the family is in the table, or a retraction remembered.
    merge
        Staged rows into the table, where newer than the row and than a retraction.
    forget_retractions
        Those that staged rows have overtaken.
    delete, retract
        Delete what newer retractions name; remember these. Five arrays.
    look
        Name what a schema of before lacks; no row.
    refuse, offsets, read_offsets
        Note a refused record; note, and read, the next offset of each partition.
    """

    look = f"SELECT {', '.join(_REVISION)} FROM {RESULTS_SCHEMA}.sink_refused LIMIT 0"
    refuse = (
        f"INSERT INTO {RESULTS_SCHEMA}.sink_refused "
        '(topic, partition, "offset", key, reason, rev_p, rev_m, rev_v) '
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
        'ON CONFLICT (topic, partition, "offset") DO UPDATE SET '
        + ", ".join(
            f"{c} = excluded.{c}" for c in ("key", "reason", "seen_at", *_REVISION)
        )
    )
    read_offsets = (
        f"SELECT partition, next_offset FROM {RESULTS_SCHEMA}.sink_offsets "
        "WHERE topic = $1"
    )
    offsets = (
        f"INSERT INTO {RESULTS_SCHEMA}.sink_offsets (topic, partition, next_offset) "
        "VALUES ($1, $2, $3) ON CONFLICT (topic, partition) "
        "DO UPDATE SET next_offset = excluded.next_offset"
    )

    def __init__(self, family: Family, columns: Sequence[str]) -> None:
        table = f"{RESULTS_SCHEMA}.{family.table}"
        names = ", ".join(map(quote, columns))
        staged = f"stage_{family.name}"
        retractions = f"{RESULTS_SCHEMA}.{family.retractions}"
        is_family = f"k.family = {literal(family.name)}"
        same = partial(_same, family.owner)
        self.staged = staged
        # Its rows are dropped at each commit; wide ones stay uncompressed.
        self.stage = (
            f"CREATE TEMP TABLE {staged} WITH (toast_tuple_target = 8160) "
            f"ON COMMIT DELETE ROWS AS SELECT {names} FROM {table} WITH NO DATA"
        )
        self.is_known = (
            f"SELECT EXISTS (SELECT FROM {table}) OR EXISTS "
            f"(SELECT FROM {retractions} AS k WHERE {is_family})"
        )
        self.merge = (
            f"INSERT INTO {table} AS t ({names}) SELECT {names} FROM {staged} AS s "
            f"WHERE NOT EXISTS (SELECT FROM {retractions} AS k WHERE {is_family} "
            f"AND {same('k', 's')} AND {_newer('k', 's', '>=')}) "
            f"ON CONFLICT ({family.owner}, session) DO UPDATE SET "
            + ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in columns[2:])
            + f" WHERE {_newer('excluded', 't')}"
        )
        self.forget_retractions = (
            f"DELETE FROM {retractions} AS k USING {staged} AS s "
            f"WHERE {is_family} AND {same('k', 's')} AND {_newer('s', 'k')}"
        )
        self._retracting(family, table, retractions)

    def _retracting(self, family: Family, table: str, retractions: str) -> None:
        """Statements about retractions, which come as arrays."""
        owner, arrays = family.owner, _arrays(family)
        same = partial(_same, owner)
        self.delete = (
            f"DELETE FROM {table} AS t USING {arrays} "
            f"WHERE {same('t', 'r')} AND {_newer('r', 't')}"
        )
        self.retract = (
            f"INSERT INTO {retractions} AS k (family, {owner}, session, "
            f"{', '.join(_REVISION)}) SELECT {literal(family.name)}, r.* "
            f"FROM {arrays} WHERE NOT EXISTS "
            f"(SELECT FROM {table} AS t WHERE {same('t', 'r')}) "
            f"ON CONFLICT (family, {owner}, session) DO UPDATE SET "
            + ", ".join(f"{c} = excluded.{c}" for c in _REVISION)
            + f" WHERE {_newer('excluded', 'k')}"
        )
