"""Rules of the repository that no linter holds."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ROOMS = ("analytics", "connectors", "streams", "replay", "deltafolio", "sample")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

LONGEST_FILE = 400
LONGEST_BODY = 40


def locked() -> set[str]:
    return {
        canonicalize_name(name)
        for name in re.findall(r"^([A-Za-z0-9._-]+)==", LOCK, re.MULTILINE)
    }


def test_the_lock_names_no_place() -> None:
    for word in ("://", "--index", "--extra-index", "--find-links", "--trusted", "@ "):
        assert word not in LOCK, f"{word!r} in requirements.lock"


def test_every_locked_version_is_exact_and_has_a_hash() -> None:
    entries = re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())
    assert len(entries) > 50
    for entry in entries:
        first, *rest = entry.splitlines()
        assert re.match(r"[A-Za-z0-9._-]+==[^ ;]+( ; [^\\]+)? \\$", first), first
        assert rest, first
        assert all("--hash=sha256:" in line for line in rest), first


def test_the_lock_has_what_the_project_names() -> None:
    wanted = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["dev"],
        *PROJECT["build-system"]["requires"],
    ]
    names = {canonicalize_name(Requirement(line).name) for line in wanted}
    assert names <= locked()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_bodies_can_be_read_at_a_sitting(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for name, lines in bodies(ast.parse(text)):
        assert lines <= LONGEST_BODY, f"{name} has a body of {lines} lines"


def bodies(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Functions and the length of what they do (their docstring is not counted)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_bodies_sees_a_long_one() -> None:
    code = "def f():\n" + '    """Say."""\n' + "    x = 1\n" * 41
    assert list(bodies(ast.parse(code))) == [("f", 41)]


def test_rooms_import_towards_the_arithmetic() -> None:
    done = subprocess.run(  # noqa: S603
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_is_checked_and_packed() -> None:
    packed = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {f"{room}*" for room in ROOMS} == set(packed)
    assert set(ROOMS) == set(PROJECT["tool"]["mypy"]["packages"])
    assert set(ROOMS) == set(PROJECT["tool"]["importlinter"]["root_packages"])


def test_make_has_the_verbs_that_the_readme_uses() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for verb in ("demo", "test", "faults", "lint", "bench", "clean"):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb


def test_the_profile_of_hypothesis_has_one_name() -> None:
    files = [*(ROOT / "tests").rglob("*.py"), ROOT / "README.md", ROOT / "Makefile"]
    found = {
        word
        for path in files
        for word in re.findall(r"\b[A-Z_]*_PROFILE\b", path.read_text("utf-8"))
        if word != "_PROFILE"
    }
    assert found == {"HYPOTHESIS_PROFILE"}
