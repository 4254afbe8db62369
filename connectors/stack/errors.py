"""Errors of the embedded stack, drawn as a tree.

::

    StackError
    ├── JarError          a jar could not be fetched, or is not the locked one
    ├── PrivilegeError    no ordinary user to run PostgreSQL as
    ├── ServiceError      a service did not start or did not stop; has its log's tail
    └── LockTimeoutError  another `up` or `down` holds the state directory
"""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    """Base of everything the embedded stack raises."""


class JarError(StackError):
    """A locked jar is missing, cannot be fetched, or has other bytes than locked.

    What to do: check the network and the mirror in jgo's configuration; a wrong
    digest that stays after a second try means the mirror serves something else.
    """


class PrivilegeError(StackError):
    """PostgreSQL refuses to run as root and no ordinary user was found."""


class ServiceError(StackError):
    """A service failed to start, to become healthy in time, or to stop.

    Attributes
    ----------
    service
        Which one: ``postgres``, ``broker`` or ``connect``.
    log
        Where its log is; the message ends with the last lines of it.
    """

    def __init__(self, service: str, why: str, log: Path, tail: str) -> None:
        super().__init__(f"{service}: {why}\n--- end of {log} ---\n{tail}")
        self.service = service
        self.log = log


class LockTimeoutError(StackError):
    """Another process is starting or stopping the same stack."""
