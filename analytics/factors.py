"""What risk is measured against: one validated value with the spec's defaults.

A factor is named by the symbol whose returns it is; a symbol without prices makes
its factor absent (``no_factor_history``) and leaves the others.
"""

from hashlib import blake2b

import msgspec
from msgspec import Struct

BASIS = 10_000
"""Shares are settings in basis points, so that they are compared in integers."""


class FactorsError(ValueError):
    """A setting of the factors is out of its bounds; the message names it."""


class Window(Struct, frozen=True):
    """``sessions`` returns, of which at least ``minimum`` must exist."""

    sessions: int
    minimum: int

    @classmethod
    def thirds(cls, sessions: int) -> "Window":
        """Build a window whose minimum is two thirds of it, rounded up.

        Examples
        --------
        >>> Window.thirds(21).minimum, Window.thirds(232).minimum
        (14, 155)
        """
        return cls(sessions, -(-2 * sessions // 3))


class Style(Struct, frozen=True):
    """A style factor: its name and the symbol that stands for it."""

    name: str
    symbol: str


class Spread(Struct, frozen=True):
    """The return of one symbol less that of another.

    Examples
    --------
    >>> Spread("VUG", "VTV").key
    'VUG-VTV'
    """

    long: str
    short: str

    @property
    def key(self) -> str:
        """Name under which the spread is published."""
        return f"{self.long}-{self.short}"


STYLES = (
    Style("Momentum", "MTUM"),
    Style("Value", "VTV"),
    Style("Growth", "VUG"),
    Style("Size", "IWM"),
    Style("Quality", "QUAL"),
    Style("Low volatility", "USMV"),
)
SPREADS = (
    Spread("VUG", "VTV"),
    Spread("MTUM", "SPY"),
    Spread("IWM", "SPY"),
    Spread("QUAL", "SPY"),
)


class Factors(Struct, frozen=True, kw_only=True):
    """Factor set, windows, minima, caps and thresholds (sections 5 to 8).

    Attributes
    ----------
    market, interest_rate
        Symbols of the two single regressors.
    beta, spread, ridge
        Windows of the regressions. ``history`` is the number of returns that a
        regressor needs (a spread: ``spread.minimum``).
    beta_cap, loading_cap
        A beta or loading beyond ±cap is clipped to it and flagged.
    ridge_alpha
        Penalty of the ridge; 0 is ordinary least squares.
    moderate, strong
        Tilt of a spread's beta: above ``moderate``, above ``strong``.
    volatility
        Windows of the annualised volatilities; the first is that of trend and
        percentile.
    har_window, har_week, har_month, har_horizon, har_minimum
        HAR: sessions used, lengths of the means, sessions ahead, rows needed.
    trend, trend_slope, trend_r2
        Values regressed on the session; a trend is steeper than ``trend_slope``
        a session and has R² above ``trend_r2``.
    percentile
        Values among which today's is ranked.
    covered
        Share of Σ|MV| (basis points) that must have a return for a session of
        the portfolio's series to count.
    correlation, name_value, name_share, cluster
        Window of a pair; |MV| (currency units) and share of gross (basis points)
        that make a name; |rho| that joins two names to a cluster.
    psd_tolerance, nearest_tolerance, nearest_rounds
        A smallest eigenvalue below ``-psd_tolerance`` is repaired (Higham 2002)
        to ``nearest_tolerance``, in at most ``nearest_rounds`` rounds.
    symbol_sessions
        Statistics of symbols have records in the newest so many sessions up to T;
        portfolios are aggregated in all of theirs.
    edition
        To be raised whenever another value here is changed after results were
        published: it is part of the version of what is derived, so that the new
        numbers replace the old ones.

    Raises
    ------
    FactorsError
        On construction and on decoding, when a value is out of its bounds.
    """

    market: str = "SPY"
    interest_rate: str = "TLT"
    styles: tuple[Style, ...] = STYLES
    spreads: tuple[Spread, ...] = SPREADS
    history: int = 30
    beta: Window = Window(90, 30)
    beta_cap: float = 5.0
    spread: Window = Window(180, 60)
    moderate: float = 0.2
    strong: float = 0.5
    ridge: Window = Window(90, 30)
    ridge_alpha: float = 1.0
    loading_cap: float = 5.0
    year: int = 252
    volatility: tuple[Window, ...] = tuple(Window.thirds(w) for w in (21, 63, 252))
    har_window: int = 252
    har_week: int = 5
    har_month: int = 22
    har_horizon: int = 21
    har_minimum: int = 63
    trend: Window = Window.thirds(21)
    trend_slope: float = 0.001
    trend_r2: float = 0.3
    percentile: Window = Window.thirds(232)
    covered: int = 9_500
    correlation: Window = Window(90, 30)
    name_value: int = 10_000
    name_share: int = 100
    cluster: float = 0.7
    psd_tolerance: float = 1e-10
    nearest_tolerance: float = 1e-12
    nearest_rounds: int = 10_000
    symbol_sessions: int = 252
    edition: int = 0

    def __post_init__(self) -> None:
        _check_symbols(self)
        _check_windows(self)
        _check_numbers(self)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol that a factor needs, each once, in order of use."""
        legs = [leg for s in self.spreads for leg in (s.long, s.short)]
        styles = [style.symbol for style in self.styles]
        return tuple(dict.fromkeys([self.market, self.interest_rate, *styles, *legs]))

    @property
    def digest(self) -> str:
        """Digest of all values but the edition: equal for equal definitions."""
        values = msgspec.json.encode(msgspec.structs.replace(self, edition=0))
        return blake2b(values, digest_size=8).hexdigest()

    @property
    def reach(self) -> int:
        """Returns up to a session on which its results can depend."""
        ranked = self.volatility[0].sessions - 1
        windows = (self.beta, self.spread, self.ridge, self.correlation)
        return max(
            *(w.sessions for w in (*windows, *self.volatility)),
            self.har_window,
            ranked + max(self.trend.sessions, self.percentile.sessions),
        )


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise FactorsError(message)


def _check_symbols(factors: Factors) -> None:
    _refuse("" in factors.symbols, "a factor without a symbol")
    symbols = [style.symbol for style in factors.styles]
    names = [style.name for style in factors.styles]
    keys = [spread.key for spread in factors.spreads]
    for what, words in (("symbol", symbols), ("name", names), ("spread", keys)):
        _refuse(len(set(words)) < len(words), f"a {what} twice: {words}")
    for spread in factors.spreads:
        _refuse(spread.long == spread.short, f"a spread of one symbol: {spread.key}")


def _check_windows(factors: Factors) -> None:
    least = {"beta": 3, "spread": 3, "ridge": 2, "trend": 3, "percentile": 1}
    for name, minimum in (least | {"correlation": 2}).items():
        _check_window(name, getattr(factors, name), minimum)
    _refuse(not factors.volatility, "volatility needs a window")
    for window in factors.volatility:
        _check_window("volatility", window, 2)
    sessions = [window.sessions for window in factors.volatility]
    _refuse(len(set(sessions)) < len(sessions), f"a volatility twice: {sessions}")
    _refuse(factors.history < 2, f"history {factors.history} below 2")
    short = min(factors.har_week, factors.har_month, factors.har_horizon)
    _refuse(short < 1, f"a HAR mean over {short} sessions")
    rows = factors.har_window - factors.har_month - factors.har_horizon + 1
    _refuse(factors.har_week > factors.har_month, "har_week longer than har_month")
    _refuse(
        not 5 <= factors.har_minimum <= rows,
        f"har_minimum {factors.har_minimum} outside 5..{rows}",
    )


def _check_window(name: str, window: Window, least: int) -> None:
    _refuse(
        not least <= window.minimum <= window.sessions <= 5_000,
        f"{name}: minimum {window.minimum} of {window.sessions} sessions "
        f"(needs {least} <= minimum <= sessions <= 5000)",
    )


def _check_numbers(factors: Factors) -> None:
    least: dict[str, tuple[float, float]] = {
        "beta_cap": (1e-9, 1e9),
        "loading_cap": (1e-9, 1e9),
        "ridge_alpha": (0, 1e9),
        "moderate": (0, factors.strong),
        "strong": (0, 1e9),
        "year": (1, 366),
        "trend_slope": (0, 1e9),
        "trend_r2": (0, 1),
        "covered": (1, BASIS),
        "name_share": (0, BASIS),
        "name_value": (0, 10**12),
        "cluster": (1e-9, 1),
        "psd_tolerance": (1e-12, 1e-2),
        "nearest_tolerance": (1e-14, 1e-2),
        "nearest_rounds": (1, 10**6),
        "symbol_sessions": (1, 10**5),
        "edition": (0, 10**4),
    }
    for name, (low, high) in least.items():
        value = getattr(factors, name)
        # Written so that NaN is refused too.
        _refuse(not low <= value <= high, f"{name} {value} outside {low}..{high}")


SAMPLE_FACTORS = Factors(
    market="SP500",
    styles=(
        Style("Momentum", "MTUM"),
        Style("Quality", "QUAL"),
        Style("Size", "SIZE"),
        Style("Low volatility", "USMV"),
        Style("Value", "VLUE"),
    ),
    spreads=(
        Spread("MTUM", "VLUE"),
        Spread("MTUM", "SP500"),
        Spread("SIZE", "SP500"),
        Spread("QUAL", "SP500"),
    ),
    symbol_sessions=63,
)
"""For the sample, which has the index and five style ETFs but no bond ETF: the
interest-rate beta is null there, ``no_factor_history``. Symbols speak of a quarter,
so that the oracle is done with them in seconds."""
