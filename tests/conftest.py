"""What tests of several rooms share: the stack, and worlds on it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings as hypothesis_settings

from connectors.stack import Stack, StackInfo

# HYPOTHESIS_PROFILE=long draws many cases; an unknown name is an error.
hypothesis_settings.register_profile("dev", deadline=None, derandomize=True)
hypothesis_settings.register_profile("long", deadline=None, max_examples=2000)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

# A developer's settings must not reach the tests.
for _name in [name for name in os.environ if name.startswith("DELTAFOLIO_")]:
    del os.environ[_name]


def pytest_configure() -> None:
    """A run that is told to end (a time limit) stops the servers that it started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Of several processes, one that was ended may have left the servers it started.

    An interrupted one has ten seconds; a stack on a busy machine needs more to stop.
    """
    if config.getoption("dist", "no") == "no" or hasattr(config, "workerinput"):
        return
    ours = f"deltafolio.service={config._tmp_path_factory.getbasetemp()}{os.sep}"
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(ours in word for word in process.cmdline()):
                process.kill()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=("embedded", "docker"),
        default="embedded",
        help="where integration tests find PostgreSQL, Kafka and Debezium",
    )
    parser.addoption("--seed", type=int, default=1, help="of the first random run")
    parser.addoption("--runs", type=int, default=200, help="how many random runs")
    parser.addoption("--only", default="", help='"disturbance/check", either empty')
    parser.addoption(
        "--away", type=float, default=150, help="seconds without PostgreSQL"
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Of several processes, each begins with what waits for servers.

    What computes then fills the end, file by file, and neither waits for the other.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("integration") is None)


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackInfo]:
    """The services, for the whole run."""
    home = tmp_path_factory.mktemp("stack")
    if request.config.getoption("--stack") == "docker":
        from tests.docker_stack import docker_stack

        with docker_stack(home) as info:
            yield info
        return
    embedded = Stack(home)
    try:
        yield embedded.up()
    finally:
        embedded.down(purge=True)


@pytest.fixture
async def open_world(
    stack: StackInfo, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Open worlds with ``await open_world(workers=3)``; they end with the test."""
    from tests.worlds import open_world as open_one

    async with AsyncExitStack() as exits:

        async def enter(workers: int = 1, **worker: Any) -> Any:
            return await exits.enter_async_context(
                open_one(stack, tmp_path, workers, **worker)
            )

        yield enter
