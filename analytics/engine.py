"""The engine: changes in, results out. Pure, one door for each verb.

    fold_market, fold_partition    what the journal says
    derive                         what must be published now
    dump_*, load_*, set_offsets    a checkpoint
    set_said, forget_said          what others know to have been published

A result is a function of the rows folded so far (and, in ``status`` alone, of the
newest commit time): any order, batching or duplication of the same changes gives
the same bytes.
"""

from collections.abc import Collection, Iterable

from analytics import checkpoint
from analytics.book import Book
from analytics.calendar import Calendar
from analytics.deriving import Deriver, Made, Taken
from analytics.factors import Factors
from analytics.market import Market
from analytics.money import Indices, Ints
from analytics.partitions import Partition
from analytics.results import (
    ALL_FAMILIES,
    DERIVATION_VERSION,
    FAMILIES,
    MONEY_FAMILIES,
    RISK,
    SYMBOLS,
    Result,
    Revision,
)
from analytics.risk import RiskDesk
from analytics.rows import Change
from analytics.said import DOUBTED, SAID, Part, Said
from analytics.said import NOTHING as UNSAID
from analytics.scope import EVERYTHING, Scope
from analytics.spreading import Spreader
from analytics.state import Account
from analytics.symbol_cells import PartitionOf, SymbolCells
from analytics.symbol_deriving import SymbolDeriver
from analytics.validate import validate


class Engine:
    """State of a worker: the market and the portfolios of some partitions.

    Parameters
    ----------
    calendar
        Sessions of the exchange.
    version
        Version of the definitions, third part of every revision.
    families
        What is derived at all; the rest costs nothing.
    factors
        What risk is measured against.
    symbol_partition
        Partition that publishes a symbol's statistics; None: no one does.
    scope
        Sessions and portfolios that are derived at all.
    """

    def __init__(
        self,
        calendar: Calendar,
        version: int = DERIVATION_VERSION,
        *,
        families: Collection[str] = ALL_FAMILIES,
        factors: Factors | None = None,
        symbol_partition: PartitionOf | None = None,
        scope: Scope = EVERYTHING,
    ) -> None:
        self.calendar = calendar
        self.version = version
        self.market = Market(calendar)
        self.book = Book(self.market)
        self.families = tuple(f for f in ALL_FAMILIES if f in families)
        self.said = Said([f for f in FAMILIES if f in families])
        self.partitions: dict[int, Partition] = {}
        self._risk = RiskDesk(self.book, self.market, factors or Factors())
        self.symbols = SymbolCells(
            self.market,
            self._risk.factors,
            symbol_partition if SYMBOLS in self.families else None,
            scope,
        )
        self._scope = scope
        desks = (self._risk, self.symbols)
        self._spreader = Spreader(
            self.market, self.book, self.said, self.partitions, *desks, scope
        )
        self._deriver = Deriver(self.market, self.book, self.said, self._risk)
        self._symbol_deriver = SymbolDeriver(self.market, self.said, *desks)

    # --- partitions ------------------------------------------------------------

    def definitions(self) -> str:
        """Digest of what was set of the numbers' definitions, beside the version."""
        return self._risk.factors.digest

    def add_partition(self, partition: int) -> None:
        """Take a partition, empty, at offset 0. Of one that is held: nothing."""
        if partition not in self.partitions:
            self.partitions[partition] = Partition(partition)
            self.symbols.own(partition)

    def drop_partition(self, partition: int) -> None:
        """Forget a partition: rows, what was said, touches."""
        dropped = self.partitions.pop(partition, None)
        for account in dropped.accounts.values() if dropped else ():
            self._spreader.forget(account)
            self.said.drop(account.slot)
            self.book.free_slot(account.slot)
        self.said.dirty.pop(partition, None)
        self.symbols.disown(partition)

    def _account(self, partition: int, portfolio: int) -> Account:
        accounts = self.partitions[partition].accounts
        account = accounts.get(portfolio)
        if account is None:
            slot = self.book.take_slot(partition, portfolio)
            account = accounts[portfolio] = Account(portfolio, slot)
        return account

    # --- folding ---------------------------------------------------------------

    def fold_market(
        self,
        changes: Iterable[Change],
        *,
        next_offset: int,
        tx: str | None = None,
        more: bool = False,
        partial: bool = False,
    ) -> None:
        """Fold one record of the market log.

        ``more``: the next record continues its transaction; nothing is derived
        before. ``partial``: the rest may never come; until a record of the same
        ``tx`` that is neither, no session it touches is final.
        """
        since = self.market.fold(changes)
        self.market.note_record(tx, since, next_offset, more=more, partial=partial)

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
        """Fold one record of a partition; ``more`` and ``partial`` as above."""
        home = self.partitions[partition]
        named: dict[int, Account] = {}
        for change in changes:
            portfolio = change.portfolio
            if portfolio is None:
                continue
            home.clock = max(home.clock, change.ts)
            if not self._scope.holds(portfolio):
                continue
            account = named.get(portfolio)
            if account is None:
                account = named[portfolio] = self._account(partition, portfolio)
                self._spreader.settle(account)
            if account.fold(change):
                self._spreader.note(account)
            account.clock = max(account.clock, change.ts)
        home.fold(named.values(), next_offset, tx, more=more, partial=partial)
        for account in home.take_flipped():
            self.book.slots["partial"][account.slot] = bool(account.partial)
            self._spreader.touch(account)

    # --- deriving --------------------------------------------------------------

    def touched(self) -> bool:
        """Whether ``derive`` has anything to look at now."""
        return not self.market.open and self._spreader.waiting()

    def waiting(self, families: Collection[str]) -> int:
        """How many cells the next ``derive`` has of the largest of some families.

        Of what was spread: what was folded since the last ``derive`` is not in it.
        """
        return 0 if self.market.open else self._spreader.ready(families)

    def derive(
        self, families: Collection[str] = ALL_FAMILIES, limit: int | None = None
    ) -> list[Result]:
        """Results of touched cells that differ from what was last said.

        They count as said from here on. Nothing while a transaction of the market
        is incomplete; nothing of a partition while one of its is. ``limit`` bounds
        the cells looked at, by family and the newest sessions first: the others
        stay touched. Sessions before the newest, and those of symbols, are looked at
        whole, one at least. A result takes some kilobytes, a backfill has many.
        """
        if self.market.open:
            return []
        self._spreader.spread()
        found: list[Result] = []
        causes = self._spreader.causes
        # Symbols go before risk, which takes their betas from there.
        for family in (*MONEY_FAMILIES, SYMBOLS, RISK):
            if family == SYMBOLS and SYMBOLS in families:
                cells = Taken(SYMBOLS, *self.symbols.take(limit))
                found += self._symbol_deriver.derive(cells, self._revisions(), causes)
            elif family in families and family in self.said.frames:
                cells = Taken(family, *self._spreader.take(family, limit))
                found += self._deriver.derive(cells, self._revisions(), causes)
        self._spreader.clean()
        return found

    def contents(self, family: str, slot: Indices, session: Ints) -> Made:
        """Make the contents of cells that exist, as they are now."""
        return self._deriver.contents(family, slot, session, self._revisions())

    def _revisions(self) -> dict[int, tuple[Revision, int]]:
        """Revision and as-of time of each partition."""
        found = {}
        for partition, home in self.partitions.items():
            revision = Revision(home.offset, self.market.offset, self.version)
            found[partition] = (revision, max(home.clock, self.market.clock))
        return found

    def touch_all(self, partition: int, since: int | None = None) -> None:
        """Look at every cell of a partition at the next derive.

        Needed after a restore whose ``said`` was taken at another market offset
        than the one this engine is at. ``since`` is that offset: where this engine
        remembers what changed after it, only what that reaches is looked at.
        """
        home = self.partitions[partition]
        if since is not None and since >= self._spreader.history.start:
            home.since = since if home.since is None else min(since, home.since)
            self.symbols.catch_up(partition, home.since)
            return
        self.symbols.touch_all(partition)
        for account in home.accounts.values():
            self._spreader.touch(account)

    # --- what is known to be published -------------------------------------------

    def set_said(
        self,
        partition: int,
        family: str,
        owner: int | str,
        session: int,
        digest: int | None,
        revision: Revision,
    ) -> None:
        """Take note of a record published later than the checkpoint.

        ``digest`` None is a retraction. The cell is looked at again, so a record
        that was derived from a state which has passed is replaced.
        """
        values = {
            "state": UNSAID if digest is None else SAID,
            "digest": digest or 0,
            "p": revision.p,
            "m": revision.m,
            "v": revision.version,
        }
        self._note(partition, family, owner, session, values)

    def forget_said(
        self, partition: int, family: str, owner: int | str, session: int
    ) -> None:
        """Publish a cell again, or retract it: a foreign record overwrote it."""
        self._note(partition, family, owner, session, {"state": DOUBTED})

    def _note(
        self,
        partition: int,
        family: str,
        owner: int | str,
        session: int,
        values: dict[str, int],
    ) -> None:
        if isinstance(owner, str):
            self.symbols.note(partition, owner, session, values)
            self.said.dirty.setdefault(partition, set()).add(session)
            return
        account = self._account(partition, owner)
        self.said.note(partition, family, session, account.slot, values)
        self._spreader.touched.add_one(family, session, account.slot)

    def validate(self) -> None:
        """Check every invariant of the state, slowly: for tests."""
        validate(self)

    # --- checkpoint ------------------------------------------------------------

    def market_offset(self) -> int:
        """Next record of the market log."""
        return self.market.offset

    def partition_offset(self, partition: int) -> int:
        """Next record of a partition."""
        return self.partitions[partition].offset

    def set_offsets(
        self, market: int | None = None, partition: tuple[int, int] | None = None
    ) -> None:
        """Set what the loaded state includes, after the loads.

        ``partition`` is (partition, next offset).
        """
        if market is not None:
            self.market.offset = market
            self._spreader.history.restart(market)
        if partition is not None:
            self.partitions[partition[0]].set_offset(partition[1])

    def dump_portfolios(
        self, partition: int, only_dirty: bool = True
    ) -> dict[int, bytes]:
        """Rows by portfolio, of those that changed since the last dump."""
        return checkpoint.dump_accounts(self.partitions[partition], only_dirty)

    def load_portfolio(self, partition: int, portfolio: int, blob: bytes) -> None:
        """Inverse of ``dump_portfolios``."""
        account = self._account(partition, portfolio)
        checkpoint.load_account(self.partitions[partition], account, blob)
        self.book.slots["partial"][account.slot] = bool(account.partial)
        self._spreader.note(account)

    def dump_said(self, partition: int, only_dirty: bool = True) -> dict[int, bytes]:
        """Dump what was last said and what is still to be looked at, by session."""
        self._spreader.spread()
        home, part = self.partitions[partition], self.market.partial_from()
        waiting = self._spreader.touched.waiting(self.book.slots_of(partition))
        symbols = dict(self.symbols.pending(partition))
        sessions = set(
            self.said.wanted(
                partition, self.book, [*waiting, *symbols], only_dirty=only_dirty
            )
        )
        if not only_dirty:
            sessions |= self.symbols.sessions(partition)
        found = {}
        for session in sorted(sessions):
            cells = waiting.get(session, {})
            parts = self.said.dump(session, self.book, partition, cells)
            pending = symbols.get(session, [])
            parts[SYMBOLS] = self.symbols.dump(partition, session, pending)
            found[session] = checkpoint.encode_said(
                session < self._spreader.finals(home),
                part is not None and session >= part,
                parts,
            )
        return found

    def load_said(self, partition: int, session: int, blob: bytes) -> None:
        """Inverse of ``dump_said``."""
        part = checkpoint.decode_said(blob)
        for family, cells in part.families.items():
            if family == SYMBOLS:
                self.symbols.load(session, cells)
            else:
                self._load_cells(partition, family, session, cells)
        self.partitions[partition].loaded_as[session] = (part.final, part.partial)

    def _load_cells(
        self, partition: int, family: str, session: int, cells: Part
    ) -> None:
        slots = [
            self._account(partition, int(ident)).slot
            for ident in checkpoint.owners(cells)
        ]
        self.said.cover(session, session, self.book.slots.used)
        self.said.load(family, session, cells, slots)
        for ident in cells.pending:
            slot = self._account(partition, int(ident)).slot
            self._spreader.touched.add_one(family, session, slot)

    def dump_market(self, only_dirty: bool = True) -> dict[int | str, bytes]:
        """Dump closes by session, and under words what is not by session.

        The words are ``profiles``, ``weights`` and ``clock``.
        """
        return checkpoint.dump_market(self.market, only_dirty)

    def load_market(self, key: int | str, blob: bytes) -> None:
        """Inverse of ``dump_market``."""
        checkpoint.load_market(self.market, key, blob)
        self._spreader.market_loaded()
