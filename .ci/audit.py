"""Known vulnerabilities of what `requirements.lock` installs, by pip-audit and OSV.

Exit status: 0 none is known, 1 some are (they are listed), 2 it could not be audited:
the service is out of reach, or did not know of every package.

The service that pip-audit asks by default, PyPI, is not used: where a mirror stands in
for it every package is unknown there, and pip-audit calls that a success.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PIP_AUDIT = "pip-audit==2.10.1"
NONE_KNOWN, VULNERABLE, NOT_AUDITED = 0, 1, 2


def judge(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Exit status and what to say of a report of pip-audit.

    >>> judge({"dependencies": [{"name": "a", "version": "1", "vulns": []}]})
    (0, ['1 packages audited, no vulnerability is known'])
    """
    packages = report["dependencies"]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    found = list(_findings(packages))
    if found:
        return VULNERABLE, found
    if skipped or not packages:
        return NOT_AUDITED, [f"not audited: {', '.join(skipped) or 'nothing'}"]
    return NONE_KNOWN, [f"{len(packages)} packages audited, no vulnerability is known"]


def _findings(packages: list[dict[str, Any]]) -> Iterator[str]:
    for one in packages:
        for vulnerability in one.get("vulns", ()):
            names = " ".join([vulnerability["id"], *vulnerability.get("aliases", ())])
            fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no version"
            yield f"{one['name']} {one['version']}: {names}, fixed in {fixed}"


def audit(report: Path) -> str:
    """Run pip-audit; the end of what it said, for who finds no report."""
    command = [
        *(str(Path(sys.executable).with_name("uvx")), "--quiet", PIP_AUDIT),
        *("--requirement", str(ROOT / "requirements.lock"), "--disable-pip"),
        *("--vulnerability-service", "osv", "--timeout", "20"),
        *("--format", "json", "--output", str(report), "--progress-spinner", "off"),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - a command of our own
            command, capture_output=True, text=True, timeout=180, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def main() -> int:
    """Audit, say what was found."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        said = audit(report)
        try:
            status, lines = judge(json.loads(report.read_text("utf-8")))
        except (OSError, ValueError):
            status, lines = NOT_AUDITED, [f"not audited: {said}"]
    sys.stderr.write("".join(f"audit: {line}\n" for line in lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
