"""What a run can be fed with."""

from enum import StrEnum


class Source(StrEnum):
    """The journal, or the tables as they are now."""

    JOURNAL = "journal"
    POSTGRES = "postgres"
