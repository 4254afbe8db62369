"""The jars of Kafka, Kafka Connect and Debezium: locked, fetched, checked.

`jars.lock` holds one line a jar: the set it belongs to, its Maven coordinate, its
SHA-256 and its size. Fetching needs no dependency resolution; that is done once,
by `python -m connectors.stack.jars lock`, and its outcome is committed. Where jars
come from is jgo's business: its configuration file, its defaults.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jgo
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL, default_maven_repo
from jgo.maven import Artifact, MavenContext

from connectors.cache import cache_dir
from connectors.stack.errors import JarError
from connectors.stack.versions import DEBEZIUM, KAFKA, LOG4J, SCALA

LOCK = Path(__file__).with_name("jars.lock")

KAFKA_SET = "kafka"
"""Jars on the class path of the broker and of the Connect worker."""

PLUGIN_SET = "debezium"
"""Jars of the connector's own plugin directory."""

ROOTS = (
    (
        KAFKA_SET,
        f"org.apache.kafka:kafka_{SCALA}:{KAFKA}",
        f"org.apache.kafka:connect-runtime:{KAFKA}",
        f"org.apache.kafka:connect-transforms:{KAFKA}",
        f"org.apache.kafka:connect-json:{KAFKA}",
    ),
    # By itself: jgo lets a root's managed versions rule over those beside it.
    (KAFKA_SET, f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J}"),
    (PLUGIN_SET, f"io.debezium:debezium-connector-postgres:{DEBEZIUM}"),
)
"""What `lock` resolves, in this order: the set, then coordinates resolved together."""

PARALLEL = 8
"""Downloads at once: most jars are small, the round trip is the cost."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar: its set, Maven coordinate, SHA-256 (hex) and size in bytes."""

    set: str
    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """File name, as Maven has it."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinate(self) -> str:
        """``group:artifact:version``."""
        return f"{self.group}:{self.artifact}:{self.version}"


def read_lock(path: Path = LOCK) -> list[Jar]:
    """Read the lock file.

    Raises
    ------
    JarError
        If a line has not four fields.
    """
    jars = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 4 or fields[1].count(":") != 2:
            msg = f"{path}:{number}: expected `set group:artifact:version sha256 size`"
            raise JarError(msg)
        group, artifact, version = fields[1].split(":")
        jars.append(Jar(fields[0], group, artifact, version, fields[2], int(fields[3])))
    return jars


def jar_path(jar: Jar) -> Path:
    """Where a jar lies in the cache; its name starts with its digest's first digits.

    Two versions of this program with two locks share the cache without a clash.
    """
    return cache_dir() / "jars" / jar.sha256[:12] / jar.name


def fetch(jars: Iterable[Jar], progress: Progress | None = None) -> dict[Jar, Path]:
    """Bring jars into the cache and check each by its digest.

    Parameters
    ----------
    jars
        What is wanted.
    progress
        Called with a sentence now and then.

    Returns
    -------
    dict
        Jar to its path. Every file has the locked digest.

    Raises
    ------
    JarError
        If a jar cannot be fetched or differs from the lock.
    """
    wanted = list(jars)
    if not all(map(_is_cached, wanted)):
        with _alone(cache_dir() / "jars"):
            # Whoever we waited for may have fetched them.
            missing = [jar for jar in wanted if not _is_cached(jar)]
            if missing:
                _download_all(missing, progress or (lambda _: None))
    return {jar: jar_path(jar) for jar in wanted}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from fetching the same at once; one that dies lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


def _is_cached(jar: Jar) -> bool:
    """Check a cached jar by its digest; a wrong one is removed."""
    path = jar_path(jar)
    if not path.is_file():
        return False
    if path.stat().st_size == jar.size and digest(path) == jar.sha256:
        return True
    path.unlink(missing_ok=True)
    return False


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download_all(missing: list[Jar], progress: Progress) -> None:
    total = sum(jar.size for jar in missing)
    progress(f"fetching {len(missing)} jars, {total / 1e6:.0f} MB")
    root = cache_dir() / "jars"
    done = 0
    with (
        tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as scratch,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):
        for jar in pool.map(lambda jar: _download(jar, Path(scratch)), missing):
            before, done = done, done + jar.size
            if done * 4 // total > before * 4 // total:
                progress(f"fetched {done / 1e6:.0f} of {total / 1e6:.0f} MB")


def _download(jar: Jar, scratch: Path, tries: int = 3) -> Jar:
    """Fetch one jar into a scratch repository, check it, move it into the cache.

    A rename is the last step, so an interrupted fetch leaves nothing that looks whole.
    """
    why = "not found"
    for attempt in range(tries):
        try:
            path = _resolve(jar, scratch / str(attempt))
        except (OSError, RuntimeError) as error:
            why = f"{type(error).__name__}: {error}"
            continue
        got = digest(path)
        if got == jar.sha256:
            target = jar_path(jar)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(f".{os.getpid()}.part")
            shutil.copyfile(path, part)
            part.replace(target)
            return jar
        why = f"digest {got}, locked {jar.sha256}"
    msg = f"cannot fetch {jar.coordinate}: {why}"
    raise JarError(msg)


def _resolve(jar: Jar, repo: Path) -> Path:
    """Path of a jar in a repository of our own, or in the user's local one."""
    component = _context(repo).project(jar.group, jar.artifact)
    path: Path = component.at_version(jar.version).artifact().resolve()
    return path


def _context(repo: Path | None) -> MavenContext:
    settings = GlobalSettings.load()
    # The user's repository is read, never written: what another program left half
    # done there fails the digest and is fetched from the remote one at the next try.
    local = [default_maven_repo()] if repo and repo.name == "0" else []
    return MavenContext(
        repo_cache=repo,
        local_repos=local,
        remote_repos={"central": MAVEN_CENTRAL_URL, **settings.repositories},
        timeout=60,
    )


# --- locking: run by a maintainer, when a version changes -------------------------


def lock(progress: Progress) -> list[Jar]:
    """Resolve `ROOTS` anew, download everything, return the lock's entries.

    Whoever names an artifact first decides its version; the plugin's set has only
    what its parent class loader lacks.
    """
    entries: dict[tuple[str, str], Jar] = {}
    for name, *roots in ROOTS:
        progress(f"resolving {' '.join(roots)}")
        for artifact in jgo.resolve("+".join(roots)):
            if (artifact.groupId, artifact.artifactId) not in entries:
                entries[artifact.groupId, artifact.artifactId] = _entry(name, artifact)
    return sorted(entries.values(), key=lambda jar: (jar.set, jar.coordinate))


def _entry(name: str, artifact: Artifact) -> Jar:
    path = artifact.resolve()
    return Jar(
        set=name,
        group=artifact.groupId,
        artifact=artifact.artifactId,
        version=artifact.version,
        sha256=digest(path),
        size=path.stat().st_size,
    )


def write_lock(jars: Iterable[Jar], path: Path = LOCK) -> None:
    """Write the lock file."""
    lines = ["# Written by `python -m connectors.stack.jars lock`; do not edit."]
    lines += [f"{j.set} {j.coordinate} {j.sha256} {j.size}" for j in jars]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def main(argv: list[str]) -> int:
    """`lock` resolves and writes the lock; `fetch` fills the cache."""

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")

    if argv == ["lock"]:
        write_lock(lock(say))
        return 0
    if argv == ["fetch"]:
        fetch(read_lock(), say)
        return 0
    say("usage: python -m connectors.stack.jars lock|fetch")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
