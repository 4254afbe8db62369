"""The command ``deltafolio``: its parts are registered by one module each."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

BAD_SETTINGS = 2

# In the order in which a newcomer meets them.
_PARTS = (
    "demo",
    "stack_cmds",
    "doctor_cmds",
    "run_cmds",
    "check_cmds",
    "reconcile_cmds",
    "why_cmds",
    "replay_cmds",
    "dlq_cmds",
    "schemas_cmds",
)

app = typer.Typer(
    name="deltafolio",
    help="Portfolio analytics that are always current.\n\nExample: deltafolio demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _say_version(*, asked: bool) -> None:
    if asked:
        typer.echo(version("deltafolio"))
        raise typer.Exit


@app.callback()
def _options(
    home: Annotated[
        Path | None,
        typer.Option(
            help="State directory, for every command "
            "[default: $DELTAFOLIO_HOME, else .deltafolio]"
        ),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say it."),
    ] = False,
) -> None:
    if home is not None:
        # Commands, and the processes that they start, read it from here.
        os.environ["DELTAFOLIO_HOME"] = str(home)


for _part in _PARTS:
    import_module(f"deltafolio.{_part}").register(app)


def main() -> None:
    """Run the command line; settings that cannot be are told, and exit 2."""
    try:
        app()
    except (ValidationError, SettingsError) as error:
        typer.echo(f"settings: {error}", err=True)
        raise SystemExit(BAD_SETTINGS) from error
