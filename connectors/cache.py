"""Where what can be made again is kept between two runs."""

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """Directory of the cache.

    ``DELTAFOLIO_CACHE`` if set, else the user's cache directory of this platform.
    """
    given = os.environ.get("DELTAFOLIO_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("deltafolio")
