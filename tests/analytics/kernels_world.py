"""A world of returns for the kernels: ordinary symbols, and one of each trouble."""

import numpy as np

from analytics.factors import Factors
from analytics.kernels.windows import Bools, Floats, Panel

FACTORS = Factors()
SESSIONS = 320
ORDINARY = tuple(f"S{i}" for i in range(6))
TROUBLED = (
    "GAPPY",  # one return in twenty is missing
    "YOUNG",  # listed 40 sessions before the end
    "NEW",  # ten sessions of history
    "FLAT",  # a constant price
    "STOPPED",  # does not trade any more
    "CALM",  # its drift outweighs its spread
    "PRINT",  # one price was a million times too high
    "DOUBLE",  # twice the market
    "MENDED",  # its only gap leaves the 90 sessions before the end
)
SYMBOLS = (*FACTORS.symbols, *ORDINARY, *TROUBLED)
PLACES = {symbol: place for place, symbol in enumerate(SYMBOLS)}


def matrix(seed: int = 7, sessions: int = SESSIONS) -> Floats:
    """Returns [sessions, symbols], NaN where missing."""
    rng = np.random.default_rng(seed)
    market = rng.normal(3e-4, 0.01, (sessions, 1))
    beta = rng.uniform(0.3, 1.7, len(SYMBOLS))
    r = market * beta + rng.normal(0, 0.012, (sessions, len(SYMBOLS)))
    # Volatility clusters, as HAR supposes.
    r *= np.exp(0.5 * np.sin(np.arange(sessions) / 17))[:, None]
    r[:, 0] = market[:, 0]

    def of(symbol: str) -> Floats:
        return r[:, PLACES[symbol]]

    of("GAPPY")[rng.random(sessions) < 0.05] = np.nan
    of("YOUNG")[:-40] = np.nan
    of("NEW")[:-10] = np.nan
    of("FLAT")[:] = 0.0
    of("STOPPED")[-12:] = np.nan
    of("CALM")[:] = 0.001 + 1e-6 * rng.normal(size=sessions)
    of("PRINT")[sessions - 60] = 1e6 - 1
    of("PRINT")[sessions - 59] = 1e-6 - 1
    of("DOUBLE")[:] = 2 * market[:, 0]
    of("MENDED")[sessions - 93] = np.nan
    return r


def panel_of(r: Floats) -> Panel:
    """Make a panel of a matrix with NaN."""
    present: Bools = ~np.isnan(r)
    return Panel(np.where(present, r, 0.0), present)


def bits(values: object) -> bytes:
    """Bits of an array; NaN has one form."""
    array = np.ascontiguousarray(values)
    if array.dtype == np.float64:
        array = np.where(np.isnan(array), np.nan, array)
    return array.tobytes()
