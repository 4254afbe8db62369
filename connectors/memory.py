"""What the C library does with memory that is given back to it."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of ``mallopt`` (malloc.h of glibc)."""
KEPT = 128 << 20
LARGE = 32 << 20


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
