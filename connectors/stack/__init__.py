"""The embedded stack: real PostgreSQL, Kafka and Kafka Connect, from wheels and jars.

Nothing but Python is needed: no Docker, no root, no installed Java or PostgreSQL.

>>> from connectors.stack import Stack
>>> info = Stack(Path(".deltafolio")).up(print)  # doctest: +SKIP
>>> info.bootstrap  # doctest: +SKIP
'127.0.0.1:24713'
"""

from connectors.stack.errors import (
    JarError,
    LockTimeoutError,
    PrivilegeError,
    ServiceError,
    StackError,
)
from connectors.stack.layout import default_home
from connectors.stack.settings import Timeouts
from connectors.stack.stack import ServiceName, ServiceStatus, Stack, StackInfo

__all__ = [
    "JarError",
    "LockTimeoutError",
    "PrivilegeError",
    "ServiceError",
    "ServiceName",
    "ServiceStatus",
    "Stack",
    "StackError",
    "StackInfo",
    "Timeouts",
    "default_home",
]
