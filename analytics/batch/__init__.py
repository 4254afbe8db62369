"""The oracle: every published number again, from all rows, in plain code.

Independent of the engine on purpose. It shares the calendar and the names of
the published fields, and nothing else: not the row types, not the door's rules,
not the kernels. It is slow and holds nothing back between two calls.
"""

from analytics.batch.derive import Oracle, Tables, derive

__all__ = ["Oracle", "Tables", "derive"]
