"""What of everything is derived: a stretch of sessions, some portfolios.

All rows are folded whatever the scope, so that a result within it is what it would
be without one; cells outside it are never looked at.
"""

from msgspec import Struct

from analytics.book import NO_FIRST


class Scope(Struct, frozen=True):
    """Cells that are derived at all.

    Attributes
    ----------
    first, last
        Sessions, both included.
    portfolios
        Ids; None for all. Statistics of symbols are nobody's and are not bounded.

    Examples
    --------
    >>> Scope(first=3, last=5).has(4), Scope(portfolios=frozenset({7})).holds(8)
    (True, False)
    """

    first: int = 0
    last: int = NO_FIRST
    portfolios: frozenset[int] | None = None

    def has(self, session: int) -> bool:
        """Whether a session is derived."""
        return self.first <= session <= self.last

    def holds(self, portfolio: int) -> bool:
        """Whether a portfolio is derived."""
        return self.portfolios is None or portfolio in self.portfolios


EVERYTHING = Scope()
