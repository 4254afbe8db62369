"""Rows that never reached the journal are found and brought there; all is real."""

from __future__ import annotations

import asyncio

from typer.testing import CliRunner

from connectors.reconcile import reconcile_until
from deltafolio.cli import app as command
from deltafolio.local_app import save_settings
from tests.integration.test_intake import (  # noqa: F401 - a fixture
    LOTS,
    PRICES,
    OpenLab,
    open_lab,
    pytestmark,
)
from tests.worlds import calendar_of

LOSS = "ALTER PUBLICATION deltafolio {} TABLE positions, market_data_cache"


async def reconcile(home: str, *options: str) -> tuple[int, str]:
    def run() -> tuple[int, str]:
        result = CliRunner().invoke(
            command, ["reconcile", *options], env={"DELTAFOLIO_HOME": home}
        )
        return result.exit_code, result.stdout

    return await asyncio.to_thread(run)


async def test_a_loss_is_found_and_repaired(open_lab: OpenLab) -> None:  # noqa: F811
    lab = await open_lab(
        f"{PRICES} ('A', '2024-01-02', 5)",
        f"{LOTS} SELECT n, n % 3 + 1, 'A', 'LONG', 'PUBLIC', 1, 1, '2024-01-02' "
        "FROM generate_series(1, 20) AS n",
    )
    save_settings(lab.settings)
    home = str(lab.settings.home)
    async with lab.intake():
        assert (await reconcile(home, "--wait", "30"))[0] == 0
        # What is committed while the publication lacks its table is never streamed.
        await lab.execute(
            LOSS.format("DROP"),
            f"{LOTS} SELECT n, n % 3 + 1, 'A', 'LONG', 'PUBLIC', 1, 1, '2024-01-02' "
            "FROM generate_series(101, 117) AS n",
            "UPDATE market_data_cache SET close = 6",
            "DELETE FROM positions WHERE id = 20",
            LOSS.format("ADD"),
        )
        found = await reconcile_until(lab.settings, calendar_of(lab.settings))
        kinds = [(len(f.missing), len(f.extra), len(f.stale)) for f in found.differing]
        assert kinds == [(17, 1, 0), (0, 0, 1)]
        code, said = await reconcile(home)
        assert code == 1
        assert "missing 101 of portfolio 3" in said
        assert "stale A 2024-01-02" in said
        # The row that is gone: its deletion is streamed once it is there again.
        await lab.execute(
            f"{LOTS} VALUES (20, 3, 'A', 'LONG', 'PUBLIC', 1, 1, '2024-01-02')",
            "DELETE FROM positions WHERE id = 20",
        )
        code, said = await reconcile(home, "--repair")
        assert "18 rows written anew" in said
        assert code == 0, said
