"""``deltafolio run``: the processes of the application, one or all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connectors.settings import Settings

Main = Callable[["Settings", asyncio.Event], Awaitable[None]]

_run = typer.Typer(
    help="Run the application's processes in the foreground.\n\n"
    "Example: deltafolio run all --workers 2",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add ``run`` to the command line."""
    app.add_typer(_run, name="run")


@_run.command()
def capture() -> None:
    """Register the Debezium connector and watch over it.

    Example: deltafolio run capture
    """
    serve("connectors.capture_watch")


@_run.command()
def intake() -> None:
    """Validate captured rows and write the journal.

    Example: deltafolio run intake
    """
    serve("streams.intake")


@_run.command()
def worker() -> None:
    """Derive results from the journal; start as many as you like.

    Example: deltafolio run worker
    """
    serve("streams.worker")


@_run.command()
def sink() -> None:
    """Write results into PostgreSQL, schema analytics.

    Example: deltafolio run sink
    """
    serve("streams.sink")


@_run.command(name="all")
def all_(
    workers: Annotated[int, typer.Option(min=0, max=64, help="How many workers.")] = 1,
) -> None:
    """Run every process, each started again when it ends, until Ctrl-C.

    Example: deltafolio run all --workers 2
    """
    from connectors.settings import Settings
    from deltafolio.supervisor import AlreadyRunningError, Supervisor, process_names

    settings = Settings.load()
    supervisor = Supervisor(settings.home, process_names(workers), typer.echo)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        supervisor.start()
    except AlreadyRunningError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"running {', '.join(supervisor.names())}; logs in {settings.home}/logs")
    stop.wait()
    supervisor.stop()


def serve(module: str) -> None:
    """Run the ``main`` of a module until a signal, its failure, or its end."""
    import uvloop

    from connectors.settings import Settings

    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("DELTAFOLIO_LOG", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    main: Main = import_module(module).main
    try:
        uvloop.run(until_stopped(main, Settings.load()))
    except Exception:
        logging.getLogger("deltafolio").exception("%s failed", module)
        raise typer.Exit(1) from None


async def until_stopped(main: Main, settings: Settings) -> None:
    """Run ``main`` with an event that SIGTERM, SIGINT or the supervisor's end sets."""
    from deltafolio.supervised import SUPERVISED

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get(SUPERVISED):
        _watch_pipe(loop, stop)
    await main(settings, stop)


def _watch_pipe(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop when the supervisor is gone: then the pipe that it holds is closed."""

    def wait_for_end() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        with contextlib.suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
