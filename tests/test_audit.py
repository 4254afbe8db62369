"""The audit of dependencies: what is a finding, and what is no answer."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
BAD = {
    "name": "bad",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2"], "fix_versions": ["2.1"]}],
}
SKIPPED = {"name": "odd", "skip_reason": "not found"}


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([SOUND], 0, "1 packages audited"),
        ([SOUND, BAD], 1, "bad 2.0: PYSEC-1 CVE-2, fixed in 2.1"),
        ([BAD, SKIPPED], 1, "bad 2.0"),
        ([SOUND, SKIPPED], 2, "not audited: odd"),
        ([], 2, "not audited: nothing"),
    ],
)
def test_a_finding_fails_and_no_answer_is_not_taken_for_none(
    audit, packages, status, said
):
    found, lines = audit.judge({"dependencies": packages})
    assert found == status
    assert said in "\n".join(lines)


def test_a_service_out_of_reach_is_said_and_is_another_status(
    audit, monkeypatch, capsys
):
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "a trace\nno route\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == 2
    assert capsys.readouterr().err == "audit: not audited: no route\n"


def test_ci_goes_on_without_an_answer_and_not_with_a_finding(tmp_path: Path):
    """The line of .ci/run, with an audit that ends as told."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    [line] = [line for line in script.splitlines() if "audit.py" in line]
    for status, goes_on in {0: True, 1: False, 2: True, 126: False}.items():
        told = line.replace(".venv/bin/python .ci/audit.py", f"(exit {status})")
        assert told != line
        done = subprocess.run(  # noqa: S603 - lines of our own
            ["/bin/bash", "-c", f"set -euo pipefail\n{told}\necho on"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout == "on\n") == goes_on, status
