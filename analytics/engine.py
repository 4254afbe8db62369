"""The engine: changes in, results out. Pure, one door for each verb.

    fold_market, fold_partition    what the journal says
    derive                         what must be published now
    dump_*, load_*, set_offsets    a checkpoint
    set_said, forget_said          what others know to have been published

Skeleton: the signatures are final.
"""

from collections.abc import Collection, Iterable

from analytics.calendar import Calendar
from analytics.results import DERIVATION_VERSION, FAMILIES, Result, Revision
from analytics.rows import Change


class Engine:
    """State of a worker: the market and the portfolios of some partitions."""

    def __init__(self, calendar: Calendar, version: int = DERIVATION_VERSION) -> None:
        self.calendar = calendar
        self.version = version

    def add_partition(self, partition: int) -> None:
        """Take a partition, empty, at offset 0. Of one that is held: nothing."""
        raise NotImplementedError

    def drop_partition(self, partition: int) -> None:
        """Forget a partition: rows, what was said, touches."""
        raise NotImplementedError

    def fold_market(
        self,
        changes: Iterable[Change],
        *,
        next_offset: int,
        tx: str | None = None,
        more: bool = False,
        partial: bool = False,
    ) -> None:
        """Fold one record of the market log."""
        raise NotImplementedError

    def fold_partition(
        self,
        partition: int,
        changes: Iterable[Change],
        *,
        next_offset: int,
        tx: str | None = None,
        more: bool = False,
        partial: bool = False,
    ) -> None:
        """Fold one record of a partition of the portfolio log."""
        raise NotImplementedError

    def derive(self, families: Collection[str] = FAMILIES) -> list[Result]:
        """Results of touched cells that differ from what was last said."""
        raise NotImplementedError

    def touched(self) -> bool:
        """Whether ``derive`` has anything to look at."""
        raise NotImplementedError

    def market_offset(self) -> int:
        """Next record of the market log."""
        raise NotImplementedError

    def partition_offset(self, partition: int) -> int:
        """Next record of a partition."""
        raise NotImplementedError

    def set_offsets(
        self, market: int | None = None, partition: tuple[int, int] | None = None
    ) -> None:
        """After loads: the offsets that the loaded state includes;
        ``partition`` is (partition, next offset)."""
        raise NotImplementedError

    def dump_portfolios(
        self, partition: int, only_dirty: bool = True
    ) -> dict[int, bytes]:
        """Rows by portfolio, of those that changed since the last dump."""
        raise NotImplementedError

    def load_portfolio(self, partition: int, portfolio: int, blob: bytes) -> None:
        """Inverse of ``dump_portfolios``."""
        raise NotImplementedError

    def dump_said(self, partition: int, only_dirty: bool = True) -> dict[int, bytes]:
        """What was last said, by session."""
        raise NotImplementedError

    def load_said(self, partition: int, session: int, blob: bytes) -> None:
        """Inverse of ``dump_said``."""
        raise NotImplementedError

    def dump_market(self, only_dirty: bool = True) -> dict[int | str, bytes]:
        """Closes by session, and under words what is not by session
        (``profiles``, ``weights``, ``clock``)."""
        raise NotImplementedError

    def load_market(self, key: int | str, blob: bytes) -> None:
        """Inverse of ``dump_market``."""
        raise NotImplementedError

    def touch_all(self, partition: int) -> None:
        """Look at every cell of a partition at the next derive: after a restore
        whose ``said`` was taken at another market offset than the market's."""
        raise NotImplementedError

    def set_said(
        self,
        partition: int,
        family: str,
        portfolio: int,
        session: int,
        digest: int | None,
        revision: Revision,
    ) -> None:
        """A record published later than the checkpoint; None: a retraction."""
        raise NotImplementedError

    def forget_said(
        self, partition: int, family: str, portfolio: int, session: int
    ) -> None:
        """A foreign record overwrote this one: publish it again."""
        raise NotImplementedError
