"""What the C library and Python's collector do with memory."""

import ctypes
import gc

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of ``mallopt`` (malloc.h of glibc)."""
KEPT = 128 << 20
LARGE = 32 << 20
NEW_OBJECTS = 50_000
"""So many objects that may be garbage are made between two looks of the collector."""


def keep_freed() -> bool:
    """Keep memory that is freed, up to 128 MiB, for what is asked for next.

    A kernel makes and drops arrays of some hundred KB. By default glibc gives each
    back to the system and gets it anew, page by page and zeroed, which is a sixth of
    the time that risk takes.

    Returns
    -------
    bool
        Whether it could be asked for: elsewhere than with glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all([mallopt(TRIM_THRESHOLD, KEPT), mallopt(MMAP_THRESHOLD, LARGE)])


def spare_the_collector() -> None:
    """Leave what a process holds for long out of every later collection.

    Looking through the state of a thousand portfolios takes the collector 60 ms, and
    results wait; it is no garbage. What is made of records goes away by itself: a
    sink of hundreds of thousands of them spent a seventh of its time looking.
    """
    gc.unfreeze()  # what was dropped since the last time may be garbage by now
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
