"""A partition of the portfolio log: its accounts, offset, clock, transactions."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from analytics.state import Account


@dataclass(slots=True)
class Partition:
    """The portfolios of a partition and how far its log has been folded.

    ``open`` says that the transaction of the last record goes on in the next.
    ``finals`` sessions (the first so many of the calendar) have been looked at as
    closed, -1 before any was; ``loaded_as`` holds, of sessions loaded from a
    checkpoint, whether they counted as closed and as part of an incomplete
    transaction. ``since`` is the market offset of what was loaded, if that must be
    caught up with.
    """

    id: int
    offset: int = 0
    clock: int = 0
    open: bool = False
    finals: int = -1
    since: int | None = None
    accounts: dict[int, Account] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)
    loaded_as: dict[int, tuple[bool, bool]] = field(default_factory=dict)
    _partial: dict[str, set[int]] = field(default_factory=dict)
    _flipped: set[int] = field(default_factory=set)

    def fold(
        self,
        named: Iterable[Account],
        next_offset: int,
        tx: str | None,
        *,
        more: bool,
        partial: bool,
    ) -> None:
        """Note a folded record that names some accounts."""
        self.offset, self.open = next_offset, more
        name = tx or ""
        for account in named:
            self.dirty.add(account.id)
            account.open_at = next_offset if more else -1
            if partial:
                self._mark(account, account.partial | {name})
                self._partial.setdefault(name, set()).add(account.id)
        if not partial and not more:
            for ident in self._partial.pop(name, ()):
                account = self.accounts[ident]
                self._mark(account, account.partial - {name})

    def _mark(self, account: Account, partial: frozenset[str]) -> None:
        if bool(partial) != bool(account.partial):
            self._flipped.add(account.id)
        account.partial = partial
        self.dirty.add(account.id)

    def take_flipped(self) -> list[Account]:
        """Accounts that became partial or complete since the last call."""
        flipped, self._flipped = self._flipped, set()
        return [self.accounts[ident] for ident in sorted(flipped)]

    def take_loaded(self, account: Account) -> None:
        """Note an account from a checkpoint."""
        self.clock = max(self.clock, account.clock)
        for tx in account.partial:
            self._partial.setdefault(tx, set()).add(account.id)

    def set_offset(self, offset: int) -> None:
        """Set the offset that the loaded accounts include."""
        self.offset = offset
        self.open = any(a.open_at == offset for a in self.accounts.values())
