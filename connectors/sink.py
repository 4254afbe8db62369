"""What a sink is: results in, the newest of each cell kept, its offsets with them.

A sink holds one family of results. The three verbs, in the order of use:

1. ``open`` becomes the only writer of the family and says where to read on. It waits
   while another sink is open; the other one's end, in whatever way, lets it in.
2. ``write`` takes records and, *in one transaction*, the offsets that follow them.
   The offsets must cover these records and nothing that was not given: where people
   err is to pass the offsets of what was fetched while a part of it is still waiting.
3. ``close`` lets the next one in.

A record wins over what is held when its revision is newer; equal or older ones leave
no trace, so that a repetition is harmless. Retractions are remembered with their
revision: an older record that comes after one does not bring the cell back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from connectors.settings import TopicSettings

Revision: TypeAlias = tuple[int, int, int]
"""(p, m, version), compared in this order."""


class SinkError(Exception):
    """Base of what a sink raises.

    ::

        SinkError
        ├── SinkUnavailableError  out of reach, or it ended the connection: try again
        └── SinkSetupError        tables or rights are missing, or the topic is not
                                  the one that was read: the message says what to do
    """


class SinkUnavailableError(SinkError):
    """The sink cannot be reached, or has ended the connection: try again."""


class SinkSetupError(SinkError):
    """Trying again is of no use; the message says what to do."""


class RefusedError(ValueError):
    """A record that is no result of this family; the message says why."""


class ResultRecord(Protocol):
    """A record of a result topic, as aiokafka gives it."""

    @property
    def partition(self) -> int:
        """Partition."""

    @property
    def offset(self) -> int:
        """Offset."""

    @property
    def key(self) -> bytes | None:
        """Key: ``portfolio|session`` or ``symbol|session``."""

    @property
    def value(self) -> bytes | None:
        """JSON object."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Headers; ``r`` is the revision as ``p,m,v``."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the records of one ``write``: a count each.

    Attributes
    ----------
    stored
        Rows that are there now, or hold something newer now.
    retracted
        Retractions that are newer than what was held.
    stale
        Records not newer than what is held: a repetition.
    refused
        Records that are no results.
    """

    stored: int = 0
    retracted: int = 0
    stale: int = 0
    refused: int = 0

    def __add__(self, other: Written) -> Written:
        """Add up, field by field."""
        return Written(
            self.stored + other.stored,
            self.retracted + other.retracted,
            self.stale + other.stale,
            self.refused + other.refused,
        )


class Sink(Protocol):
    """See the module's text: ``open``, ``write``, ``close``."""

    async def open(self) -> dict[int, int]:
        """Become the only writer; next offset by partition (none yet: absent).

        Raises
        ------
        SinkUnavailableError, SinkSetupError
        """

    async def write(
        self, records: Sequence[ResultRecord], offsets: Mapping[int, int]
    ) -> Written:
        """Keep what is newer, and the offsets, in one transaction.

        Parameters
        ----------
        records
            At most one of a key (see ``Backlog``).
        offsets
            Next offset of each partition that was read.

        Raises
        ------
        SinkUnavailableError
            Nothing, or all of it, was written: open again and read on from there.
        SinkSetupError
        """

    async def close(self) -> None:
        """Let the next one in. Never raises."""


# --- families ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Family:
    """Results of one kind: their fields, by how they are spelled in JSON.

    Attributes
    ----------
    name
        Name of the family, and of its topic in the settings.
    table
        Table of schema ``analytics``; its columns are the fields, and the owner's,
        ``session``, ``as_of``, ``rev_p``, ``rev_m``, ``rev_v``.
    values
        Numbers, objects and nested arrays: passed on as they are spelled.
    arrays
        Parallel arrays of numbers or strings, an element a lot.
    document
        Fields that together are one object, column ``content``.
    of_symbols
        Whether a record is of a symbol; else it is of a portfolio, and has a status.
    """

    name: str
    table: str
    values: tuple[str, ...]
    arrays: tuple[str, ...] = ()
    document: tuple[str, ...] = ()
    of_symbols: bool = False

    @property
    def owner(self) -> str:
        """Column of whose record it is."""
        return "symbol" if self.of_symbols else "portfolio_id"

    @property
    def owner_type(self) -> str:
        """Type of that column."""
        return "text" if self.of_symbols else "bigint"

    @property
    def retractions(self) -> str:
        """Table where retractions are remembered."""
        return "symbol_retractions" if self.of_symbols else "sink_retractions"

    def topic(self, topics: TopicSettings) -> str:
        """Topic of this family."""
        return str(getattr(topics, self.name))


SNAPSHOTS = Family(
    name="snapshots",
    table="portfolio_snapshots",
    values=(
        *("nav", "cash", "market_value", "long_value", "short_value", "gross_value"),
        *("net_value", "flow", "pnl", "daily_return", "realized_pnl"),
        *("cumulative_pnl", "cumulative_realized_pnl", "cumulative_flow"),
        *("lots", "long_lots", "short_lots", "names"),
        *("hhi", "effective_names", "top3", "top10"),
        *("reasons", "quality", "cause", "previous"),
    ),
)
POSITIONS = Family(
    name="positions",
    table="position_arrays",
    values=("flags", "reasons", "cause", "previous"),
    arrays=(
        *("lot", "symbol", "position_type", "investment_class", "quantity"),
        *("entry_price", "price", "price_date", "price_status", "market_value"),
        *("pnl", "traded", "realized_pnl"),
    ),
)
RISK = Family(
    name="risk",
    table="portfolio_risk",
    values=("cause", "previous"),
    document=(
        *("betas", "styles", "spreads", "volatility", "twr_volatility"),
        *("correlation", "sectors"),
    ),
)
SYMBOLS = Family(
    name="symbols",
    table="symbol_statistics",
    values=("cause", "previous"),
    document=(
        *("market", "interest_rate", "ridge", "spreads"),
        *("volatility", "har", "trend", "percentile"),
    ),
    of_symbols=True,
)
FAMILIES = (SNAPSHOTS, POSITIONS, RISK, SYMBOLS)
