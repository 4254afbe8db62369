"""Real prices and three made-up portfolios to try the project on.

``README.md`` beside this file says where the prices come from and under which
licence they are here.
"""

from typing import TypeAlias

# Source table -> its columns and its rows as CSV (NULL is an empty field), as
# PostgreSQL's COPY takes them.
Tables: TypeAlias = dict[str, tuple[tuple[str, ...], bytes]]

__all__ = ["Tables"]
