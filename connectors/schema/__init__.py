"""SQL of the two schemas: what is captured, and where the results live.

Names that depend on settings are not in the files: tables of the source schema
stand unqualified and are found by ``search_path``.
"""

from importlib.resources import files


def read(name: str) -> str:
    """Text of ``source.sql``, ``analytics.sql``, ``risk.sql`` or the valued view's."""
    return files(__name__).joinpath(name).read_text("utf-8")
