"""``deltafolio schemas``: JSON Schemas and the AsyncAPI document of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add ``schemas`` to the command line."""
    app.command(name="schemas")(schemas)


def schemas(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where the files are.")
    ] = Path("schemas"),
    write: Annotated[
        bool, typer.Option("--write", help="Write what differs from the models.")
    ] = False,
) -> None:
    """Compare the schemas of the results topics with the models, or write them.

    Exit code 1 if a file differs and was not written.

    Example: deltafolio schemas --write
    """
    from connectors import schemas as documents

    names = documents.write(directory) if write else documents.differing(directory)
    for name in names:
        typer.echo(f"{'written' if write else 'differs'}: {directory / name}")
    if not names:
        typer.echo(f"{directory}: as the models say")
    if names and not write:
        raise typer.Exit(1)
