"""The closes of the sample: 26 symbols, every session of 2014-2022."""

import csv
import gzip
import io
from functools import cache
from importlib.resources import files

_STOCKS = (
    "AAPL AMD BAC BBY CVX GE HD JNJ JPM KO LLY MRK MSFT PEP PFE PG RRC UNH WMT XOM"
)
STOCKS = _STOCKS.split()
ETFS = ["MTUM", "QUAL", "SIZE", "USMV", "VLUE"]
INDEX = "SP500"


@cache
def closes() -> dict[str, dict[str, str]]:
    """Read the closes by symbol and ISO date, as decimal text, dates ascending.

    Examples
    --------
    >>> closes()["AAPL"]["2022-12-28"], len(closes()["SP500"])
    ('125.674', 2264)
    """
    packed = files("sample").joinpath("prices.csv.gz").read_bytes()
    lines = csv.reader(io.StringIO(gzip.decompress(packed).decode()))
    symbols = next(lines)[1:]
    found: dict[str, dict[str, str]] = {symbol: {} for symbol in symbols}
    for day, *row in lines:
        for symbol, close in zip(symbols, row, strict=True):
            found[symbol][day] = close
    return found


def sessions() -> list[str]:
    """Return the dates of the sample, ascending."""
    return list(closes()[INDEX])
