"""``deltafolio up``, ``down`` and ``status``: the embedded stack and what it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connectors.settings import Settings
    from connectors.stack import StackInfo

NOT_WELL = 1


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(up)
    app.command()(down)
    app.command()(setup)
    app.command()(status)


def up() -> None:
    """Start PostgreSQL, Kafka and Debezium on this machine, with schema and topics.

    A second call changes nothing. Example: deltafolio up
    """
    from connectors.stack import Stack, default_home
    from deltafolio.local_app import other_servers, save_settings

    stack = Stack(default_home())
    expected = _expected_errors()
    try:
        info = stack.up(lambda text: typer.echo(f"  {text}"))
        settings = _settings(info)
        save_settings(settings)
        asyncio.run(_furnish(settings))
    except expected as error:
        typer.echo(f"up failed: {error}", err=True)
        raise typer.Exit(NOT_WELL) from error
    typer.echo(f"PostgreSQL   {info.dsn}")
    typer.echo(f"Kafka        {info.bootstrap}")
    typer.echo(f"Connect      {info.connect_url}")
    typer.echo(f"settings in  {info.home}/settings.json; next: deltafolio run all")
    if elsewhere := other_servers():
        typer.echo(
            f"but {', '.join(elsewhere)} in the environment win over that file in "
            "other commands: unset them to work with these servers",
            err=True,
        )


def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove the data and logs as well.")
    ] = False,
) -> None:
    """Stop what ``up`` started. Data stay, unless --purge is given.

    Example: deltafolio down --purge
    """
    from connectors.stack import Stack, StackError, default_home
    from deltafolio.supervisor import read_status

    home = default_home()
    alive = [one.name for one in read_status(home) if one.pid]
    if alive:
        typer.echo(
            f"{', '.join(alive)} still run, with nothing to work on: end them with "
            "Ctrl-C where `deltafolio run` was started",
            err=True,
        )
    try:
        Stack(home).down(purge=purge)
    except StackError as error:
        typer.echo(f"down failed: {error}", err=True)
        raise typer.Exit(NOT_WELL) from error
    typer.echo("stopped and removed" if purge else "stopped")


def setup() -> None:
    """Make schema, roles, publication and topics where the settings point.

    For a PostgreSQL and a Kafka of your own; `up` does it for those it starts. What
    is there already stays. Example: deltafolio setup
    """
    from connectors.settings import Settings

    try:
        asyncio.run(_furnish(Settings.load()))
    except _expected_errors() as error:
        typer.echo(f"setup failed: {error}", err=True)
        raise typer.Exit(NOT_WELL) from error
    typer.echo("schema and topics are there; next: deltafolio run all")


def status() -> None:
    """Show services, processes, the connector, and how far capture is behind.

    Exit status: 0 if all is well, 1 if something is not. Example: deltafolio status
    """
    from connectors.settings import Settings
    from connectors.stack import Stack
    from deltafolio.status import lines_of, look

    settings = Settings.load()
    found = asyncio.run(look(settings, Stack(settings.home)))
    for line in lines_of(found):
        typer.echo(line)
    if not found.is_well:
        raise typer.Exit(NOT_WELL)


async def _furnish(settings: Settings) -> None:
    """Make schema, roles, publication and topics."""
    from connectors.postgres import apply_schema
    from connectors.topics import ensure_topics

    await apply_schema(settings.postgres)
    await ensure_topics(settings)


def _settings(info: StackInfo) -> Settings:
    """Read the saved settings, with the addresses that the stack has now."""
    from connectors.settings import Settings
    from deltafolio.local_app import stack_settings

    fresh = stack_settings(info)
    if not (info.home / "settings.json").exists():
        return fresh
    saved = Settings.load(info.home)
    parts = {
        "postgres": {"dsn": fresh.postgres.dsn},
        "kafka": {"bootstrap": info.bootstrap},
        "connect": {"url": info.connect_url},
    }
    return saved.model_copy(
        update={
            name: getattr(saved, name).model_copy(update=changed)
            for name, changed in parts.items()
        }
    )


def _expected_errors() -> tuple[type[Exception], ...]:
    import asyncpg  # type: ignore[import-untyped]
    from aiokafka.errors import KafkaError

    from connectors.postgres import SchemaError
    from connectors.stack import StackError
    from connectors.topics import TopicError

    return (
        StackError,
        OSError,
        asyncpg.PostgresError,
        KafkaError,
        SchemaError,
        TopicError,
    )
