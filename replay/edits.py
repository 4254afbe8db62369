"""A file of edits: YAML, read strictly, every complaint with its line and path.

Scalars are read as the text that they are (no ``NO`` that turns into false, no double
where a decimal stands), and models say what each must be. ``docs/operations.md`` has
the words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, TypeAlias

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from replay.errors import EditsError

LARGEST = 1024 * 1024
"""Bytes of a file."""
DEEPEST = 8
"""Levels of a file; three are used."""
_PERCENT = re.compile(r"([+-]?[0-9]+(?:[.][0-9]+)?) ?%")

Path_: TypeAlias = tuple[str | int, ...]


def _percent(text: object) -> Decimal:
    """Read ``-10%`` as -0.1."""
    found = _PERCENT.fullmatch(str(text))
    if found is None:
        message = f"{text!r} is no percentage like -10%"
        raise ValueError(message)
    return Decimal(found[1]) / 100


def _date(text: object) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        message = f"{text!r} is no date like 2022-10-31"
        raise ValueError(message) from None


Percent = Annotated[Decimal, BeforeValidator(_percent), Field(gt=-1, le=100)]
Day = Annotated[date, BeforeValidator(_date)]
Symbol = Annotated[str, Field(min_length=1, max_length=10_000)]
Quantity = Annotated[Decimal, Field(max_digits=16, decimal_places=4)]
Close = Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=6)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lots(_Strict):
    """Which lots: all that have what is given; something must be."""

    lot: int | None = None
    portfolio: int | None = None
    symbol: Symbol | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.lot is None and self.portfolio is None and self.symbol is None:
            message = "say which lots: lot, portfolio, symbol"
            raise ValueError(message)
        return self


class Drop(Lots):
    """Lots, and their events, that never were."""


class Resize(Lots):
    """Lots of another quantity (the row's: what is left after its events)."""

    to: Quantity | None = None
    by: Percent | None = None

    @model_validator(mode="after")
    def _says_how(self) -> Self:
        _one("to or by", self.to, self.by)
        return self


class NewPrice(_Strict):
    """Another close of a symbol on a session.

    ``adj_close`` moves with it unless it is given too.
    """

    symbol: Symbol
    date: Day
    close: Close
    adj_close: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Shock(_Strict):
    """Closes of a symbol, or of the symbol that stands for a factor, times 1 + by.

    Of one date, or from a date on: to another, or for good.
    """

    symbol: Symbol | None = None
    factor: str | None = None
    date: Day | None = None
    first: Day | None = Field(None, alias="from")
    last: Day | None = Field(None, alias="to")
    by: Percent

    @model_validator(mode="after")
    def _says_what_and_when(self) -> Self:
        _one("symbol or factor", self.symbol, self.factor)
        _one("date or from", self.date, self.first)
        if self.last is not None and (self.first is None or self.last < self.first):
            message = "to is the end of a range that begins with from"
            raise ValueError(message)
        return self


class Edit(_Strict):
    """One edit: what is done is its only key."""

    drop: Drop | None = None
    resize: Resize | None = None
    price: NewPrice | None = None
    shock: Shock | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = (self.drop, self.resize, self.price, self.shock)
        _one("drop, resize, price or shock", *given)
        return self


class _File(_Strict):
    edits: Annotated[list[Edit], Field(min_length=1)]


def _one(words: str, *given: object) -> None:
    if sum(one is not None for one in given) != 1:
        message = f"give one of {words}"
        raise ValueError(message)


class Edits(NamedTuple):
    """Edits in their order, and where in the file each thing stands.

    Attributes
    ----------
    name
        Name of the file.
    edits
        What it says.
    lines
        Line of each path (``("edits", 2, "shock", "by")``), counted from 1.
    """

    name: str
    edits: tuple[Edit, ...]
    lines: dict[Path_, int]

    def where(self, *path: str | int) -> str:
        """Say where something stands.

        >>> Edits("e.yaml", (), {("edits", 0): 3}).where("edits", 0, "drop")
        'e.yaml, line 3, edits[0].drop'
        """
        at = path
        while at and at not in self.lines:
            at = at[:-1]
        words = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
        place = f", {words.lstrip('.')}" if path else ""
        return f"{self.name}, line {self.lines.get(at, 1)}{place}"


def read_edits(path: Path) -> Edits:
    """Read a file of edits.

    Raises
    ------
    EditsError
        When it cannot be read, is not YAML, or says something that is no edit. The
        message has a line for each complaint.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise EditsError(message) from error
    if len(content) > LARGEST:
        message = f"{path}: {len(content)} bytes, {LARGEST} are taken"
        raise EditsError(message)
    return parse(path.name, content)


def parse(name: str, content: bytes) -> Edits:
    """Read the content of a file; as ``read_edits``."""
    lines: dict[Path_, int] = {}
    try:
        node = yaml.compose(content, Loader=yaml.BaseLoader)
        given = _plain(node, (), lines, set())
    except yaml.YAMLError as error:
        raise EditsError(_not_yaml(name, error)) from error
    except RecursionError:
        message = f"{name}: too deep"
        raise EditsError(message) from None
    found = Edits(name, (), lines)
    try:
        return found._replace(edits=tuple(_File.model_validate(given).edits))
    except ValidationError as error:
        raise EditsError("\n".join(_complaints(found, error))) from error


def _plain(
    node: yaml.Node | None, path: Path_, lines: dict[Path_, int], seen: set[int]
) -> Any:
    """Make values of nodes, and note the line of each."""
    if node is None:
        return None
    lines[path] = node.start_mark.line + 1
    if id(node) in seen or len(path) > DEEPEST:
        what = "an alias" if id(node) in seen else "so deep a level"
        raise yaml.MarkedYAMLError(
            problem=f"{what} is not taken", problem_mark=node.start_mark
        )
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        parts = enumerate(node.value)
        return [_plain(part, (*path, at), lines, seen) for at, part in parts]
    if not isinstance(node, yaml.MappingNode):
        return node.value
    found: dict[str, Any] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in found or not isinstance(key, yaml.ScalarNode):
            problem = f"{name} is given twice" if name in found else "no word"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        found[name] = _plain(value, (*path, name), lines, seen)
        lines[*path, name] = key.start_mark.line + 1
    return found


def _not_yaml(name: str, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{name}, line {error.problem_mark.line + 1}: {error.problem}"
    return f"{name} is not YAML: {error}"


def _complaints(found: Edits, error: ValidationError) -> Iterator[str]:
    for one in error.errors():
        text = one["msg"].removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            text = "no such word"
        elif one["type"] == "missing":
            text = "is missing"
        elif one["type"] == "model_type":
            text = "words and their values are expected here"
        yield f"{found.where(*one['loc'])}: {text}"
