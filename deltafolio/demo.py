"""``deltafolio demo``: the whole way on this machine, from nothing to a check.

1. start the embedded stack in a state directory of its own;
2. make the schema, load rows;
3. start capture, intake, workers and sink; wait for the results;
4. change rows by SQL and show what was published again;
5. compare every number with the oracle; 0 differ, or the exit code is 1.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connectors.settings import Settings
    from connectors.stack import Stack
    from deltafolio.demo_screen import Screen


def register(app: typer.Typer) -> None:
    """Add ``demo`` to the command line."""
    app.command()(demo)


def demo(
    portfolios: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many synthetic portfolios [default: the sample's three]"
        ),
    ] = None,
    sessions: Annotated[
        int, typer.Option(min=2, help="Sessions with results of synthetic portfolios")
    ] = 87,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Worker processes")] = 2,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the stack running, and its data.")
    ] = False,
) -> None:
    """Show it all on this machine: rows in, results out, a correction that ripples.

    Example: deltafolio demo --portfolios 1000 --sessions 87
    """
    from connectors.settings import Settings
    from connectors.stack import Stack
    from deltafolio.demo_screen import Screen

    home = Settings().home / "demo"
    screen, stack = Screen(), Stack(home)
    code = 1
    try:
        settings = bring_up(screen, stack)
        code = asyncio.run(_play(screen, settings, portfolios, sessions, workers))
    finally:
        _leave(screen, stack, home, keep=keep)
    raise typer.Exit(code)


def bring_up(screen: Screen, stack: Stack) -> Settings:
    """Start a stack without data of an earlier demonstration."""
    from deltafolio.local_app import stack_settings

    with screen.stage("PostgreSQL, Kafka and Debezium on this machine") as stage:
        stack.down(purge=True)
        info = stack.up(stage.say)
        return stack_settings(info)


async def _play(
    screen: Screen,
    settings: Settings,
    portfolios: int | None,
    sessions: int,
    workers: int,
) -> int:
    from deltafolio.demo_scale import play_scale
    from deltafolio.demo_story import play_story

    if portfolios is None:
        return await play_story(screen, settings, workers)
    return await play_scale(screen, settings, portfolios, sessions, workers)


def _leave(screen: Screen, stack: Stack, home: Path, *, keep: bool) -> None:
    if keep:
        screen.say(
            f"\nThe stack is up with its data. Go on with\n"
            f"  export DELTAFOLIO_HOME={home}\n"
            f"  deltafolio run all      # and in another terminal:\n"
            f"  deltafolio status\n"
            f"  deltafolio down --purge"
        )
        return
    with screen.stage("Stopped and removed"):
        stack.down(purge=True)
        with contextlib.suppress(OSError):  # other things are in there
            home.parent.rmdir()
