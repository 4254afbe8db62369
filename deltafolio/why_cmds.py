"""``deltafolio why``: what a published number is made of, and what last moved it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from connectors.settings import Settings
    from connectors.why import Answer

NOT_THERE, FAILED = 1, 2

NO_CAUSE = (
    "no change of a row is known to have moved it: time passed, or the worker took "
    "the partition over from an earlier checkpoint"
)


def register(app: typer.Typer) -> None:
    """Add ``why`` to the command line."""
    app.command()(why)


def why(
    portfolio: Annotated[int, typer.Argument(help="Id of the portfolio.")],
    session: Annotated[str, typer.Argument(help="YYYY-MM-DD, or newest.")],
    metric: Annotated[
        str,
        typer.Argument(
            help="nav, pnl, hhi …, or a path: betas.market, volatility.21, "
            "styles.Value, correlation.mean, sectors.Energy, "
            "sectors.Energy.active.SP500."
        ),
    ],
    top: Annotated[int, typer.Option(min=0, help="So many inputs.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say why a number is what it is: inputs, window, revision, the last change.

    The change is what last moved the record, whose other numbers may be what it moved.

    Exit status: 0 said, 1 there is no such number, 2 PostgreSQL cannot be asked.

    Example: deltafolio why 1 2022-12-28 betas.market --json
    """
    import asyncpg  # type: ignore[import-untyped]

    from connectors.settings import Settings
    from connectors.why import WhyError

    try:
        answer = asyncio.run(ask(Settings.load(), portfolio, session, metric, top))
    except WhyError as error:
        typer.echo(f"why: {error}", err=True)
        raise typer.Exit(NOT_THERE) from error
    except (OSError, asyncpg.PostgresError) as error:
        typer.echo(f"why failed: {type(error).__name__}: {error}", err=True)
        raise typer.Exit(FAILED) from error
    typer.echo(as_object(answer) if as_json else "\n".join(lines(answer)))


async def ask(
    settings: Settings, portfolio: int, session: str, metric: str, top: int
) -> Answer:
    """Connect, and ask."""
    from connectors.calendar import load_calendar
    from connectors.postgres import connect
    from connectors.why import Why

    dates = settings.calendar
    calendar = load_calendar(dates.name, dates.start, dates.end)
    connection = await connect(settings.postgres.dsn.get_secret_value(), "why")
    try:
        asked = Why(connection, calendar, settings.factors)
        return await asked.answer(portfolio, session, metric, top)
    finally:
        await connection.close()


def as_object(answer: Answer) -> str:
    """Write it as one JSON object; money as numbers with exact text."""
    import msgspec

    encode = msgspec.json.Encoder(decimal_format="number").encode
    return encode(answer).decode()


def lines(answer: Answer) -> Iterator[str]:
    """Write it for people, a line a thing."""
    value = f"null ({answer.reason})" if answer.value is None else shown(answer.value)
    yield f"{answer.metric} of portfolio {answer.portfolio}, {answer.session}: {value}"
    if window := answer.window:
        n = "" if window.n is None else f", n = {window.n}"
        yield (
            f"  window    {window.first} to {window.last}, "
            f"{window.sessions} sessions{n}"
        )
    revision = answer.revision
    yield (
        f"  revision  p {revision['p']}, m {revision['m']}, definitions "
        f"{revision['v']}: {answer.status}, as of {answer.as_of}"
    )
    if answer.inputs:
        yield f"  inputs    {answer.weighed}"
    for one in answer.inputs:
        parts = ", ".join(f"{k} {shown(v)}" for k, v in one.parts.items() if _says(k))
        yield f"    {one.name:<24}{shown(one.weight):>16}  {parts}"
    yield from _cause(answer.cause)


def _says(name: str) -> bool:
    """Whether a part is not in the input's name already."""
    return name not in ("lot", "symbol")


def _cause(cause: Any) -> Iterator[str]:
    if cause is None:
        yield f"  record last moved by  {NO_CAUSE}"
        return
    key = ", ".join(map(str, cause["key"]))
    yield (
        f"  record last moved by  {cause['table']} ({key}), "
        f"committed {cause['committed']}"
    )
    for column, (old, new) in cause["changed"].items():
        yield f"    {column}: {shown(old)} → {shown(new)}"


def shown(value: Any) -> str:
    """Write a value shortly; numbers with separators.

    Examples
    --------
    >>> shown(1234567.5), shown(0.123456789), shown(None), shown("priced")
    ('1,234,567.5', '0.12345679', 'null', 'priced')
    """
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:,.8g}" if abs(value) < 1e6 else f"{value:,}"
    return value if isinstance(value, str) else f"{value:,}"
