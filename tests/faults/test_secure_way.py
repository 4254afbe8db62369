"""The whole way, from a commit to a result, with TLS and a login everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from deltafolio.local_app import save_settings
from deltafolio.universe import make_universe
from tests.integration.test_security import WRONG, assert_no_secret, settings_of
from tests.tls_stack import BUILD, SecureStack
from tests.worlds import CAPTURE_PASSWORD, World, open_world

pytestmark = [
    pytest.mark.faults,
    pytest.mark.integration,
    pytest.mark.skipif(BUILD is None, reason="no PostgreSQL with TLS for this system"),
]

UNIVERSE = make_universe(5, 10, symbols=12, warmup=5)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureStack]:
    made = SecureStack.make(tmp_path_factory.mktemp("secure"))
    try:
        made.stack.up()
        yield made
    finally:
        made.stack.down(purge=True)


@pytest.fixture
async def world(secure: SecureStack, tmp_path: Path) -> AsyncIterator[World]:
    info = secure.stack.info()
    assert info is not None
    info = replace(info, dsn=secure.dsn)
    async with open_world(info, tmp_path, kafka=secure.kafka()) as world:
        yield world


async def test_from_a_commit_to_a_result_and_equal_to_the_oracle(secure, world):
    await world.load(UNIVERSE.tables)
    await world.caught_up()
    await world.execute("UPDATE market_data_cache SET close = close + 1")
    await world.caught_up()
    await world.assert_equal_to_the_oracle()

    rows = await world.fetch(
        "SELECT a.application_name, s.ssl FROM pg_stat_activity AS a "
        "JOIN pg_stat_ssl AS s USING (pid) WHERE a.client_port IS NOT NULL"
    )
    assert {"Debezium Streaming", "deltafolio sink snapshots"} <= {r[0] for r in rows}
    assert all(row["ssl"] for row in rows)

    layout = secure.stack.layout
    services = [layout.log(one.name) for one in secure.stack.status()]
    services += [log.with_suffix(".out") for log in services]
    ours = list((world.settings.home / "logs").glob("*.log"))
    assert len(ours) == 4
    for path in [*ours, *filter(Path.exists, services)]:
        text = path.read_text("utf-8", "replace")
        assert_no_secret(world.settings, text)
        assert CAPTURE_PASSWORD not in text, path


@pytest.mark.parametrize("process", ["intake", "worker"])
def test_a_process_that_is_refused_ends_with_the_reason(secure, tmp_path, process):
    kafka = secure.kafka(sasl_password=SecretStr(WRONG))
    settings = settings_of(secure, tmp_path, kafka)
    save_settings(settings)
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "deltafolio", "run", process],
        env={**os.environ, "DELTAFOLIO_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "refuses deltafolio by SCRAM-SHA-512" in done.stderr.splitlines()[-1]
    assert_no_secret(settings, done.stdout + done.stderr)
