"""What the doctor looks at: facts of a database, as values."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Column:
    """A column as declared.

    Attributes
    ----------
    type
        Name of the type below all domains, as in ``pg_type`` (``int8``, ``numeric``).
    shown
        The type as its owner wrote it.
    scale
        Decimals that a ``numeric`` may have; None if it says nothing about it.
    generated
        Computed by PostgreSQL from other columns.
    """

    type: str
    shown: str
    scale: int | None = None
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the source.

    Attributes
    ----------
    kind, persistence, identity
        ``relkind``, ``relpersistence``, ``relreplident`` of ``pg_class``.
    row_security
        Rows are hidden from some roles.
    columns
        By name.
    unique
        Sets of columns that are unique together, for all rows.
    partitions
        Qualified names of partitions without REPLICA IDENTITY FULL.
    """

    kind: str = "r"
    persistence: str = "p"
    identity: str = "f"
    row_security: bool = False
    columns: dict[str, Column] = field(default_factory=dict)
    unique: tuple[frozenset[str], ...] = ()
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Role:
    """The capture role.

    Attributes
    ----------
    attributes
        Those of ``rolsuper, rolcreatedb, …`` that it has.
    member_of
        Roles that it belongs to.
    connects, uses
        May connect to the database, and use the source schema.
    reads
        Captured tables that it may read as a whole.
    reads_more, writes, creates_in, owns
        Relations that it may read besides, may write, schemas (or the database, as
        ``database``) in which it may create, relations of its own.
    """

    attributes: frozenset[str]
    member_of: tuple[str, ...] = ()
    connects: bool = True
    uses: bool = True
    reads: frozenset[str] = frozenset()
    reads_more: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    creates_in: tuple[str, ...] = ()
    owns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """A table of the publication: what is left out of it."""

    columns: frozenset[str] | None
    filter: str | None


@dataclass(frozen=True, slots=True)
class Publication:
    """The publication. ``operations``: insert, update, delete, truncate."""

    all_tables: bool
    operations: frozenset[str]
    via_root: bool
    tables: dict[tuple[str, str], Published]


@dataclass(frozen=True, slots=True)
class Slot:
    """The replication slot. ``retained`` bytes of WAL are kept for it."""

    plugin: str | None
    database: str | None
    active: bool
    retained: int | None
    lost: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is judged.

    Attributes
    ----------
    column_lists
        (publication, table) of any publication of some columns of a captured table.
    user, is_sink
        Who looks, and whether it may act as the sink's role.
    results
        Columns by table or view of schema ``analytics``.
    """

    version: int
    recovering: bool
    database: str
    settings: dict[str, str]
    slots_used: int
    senders_used: int
    has_schema: bool
    tables: dict[str, Table]
    role: Role | None
    publication: Publication | None
    column_lists: frozenset[tuple[str, str]]
    slot: Slot | None
    sink_role: bool
    user: str
    is_sink: bool
    results: dict[str, frozenset[str]]
