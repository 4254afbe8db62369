"""The matrix of checks and disturbances; ``docs/faults.md`` has its table.

``make faults ARGS="-s -k matrix --runs 20 --seed 7"`` makes the runs of seeds 7 to 26;
``--only "SIGKILL worker/tick"`` narrows what is drawn. A run is repeated with its seed
and the same ``--only``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from connectors.stack import Stack, StackInfo
from tests.faults.matrix.network import Network, proxied_stack
from tests.faults.matrix.planted import PLANTS
from tests.faults.matrix.rig import FRESH_LIMIT_S, FoundError, open_rig
from tests.faults.matrix.run import Draw, Outcome, run
from tests.faults.matrix.table import table

pytestmark = pytest.mark.integration

PLANTED_SEEDS = (7, 1, 9, 2, 10)
"""Quiet ones in turn with others: while rows go on changing, the next change mends what
a planted bug loses; but an ignored rebalance loses what changes in the meantime."""

TOLD = 600
"""Characters of what is said of a planted bug."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A stack of our own, behind proxies."""
    with proxied_stack(tmp_path_factory.mktemp("stack")) as made:
        yield made


async def test_a_few_runs_of_the_matrix_find_nothing(
    pytestconfig: pytest.Config, stack: StackInfo, tmp_path: Path
) -> None:
    """On the stack of all tests, so without proxies; its servers stay as they are."""
    if pytestconfig.getoption("stack") == "docker":
        pytest.skip("its processes know the embedded stack alone")
    network = Network(Stack(stack.home), stack, stack)
    draws = [Draw(1, "trade", "SIGKILL worker"), Draw(2, "correct", "SIGKILL intake")]
    async with open_rig(network, tmp_path) as rig:
        for draw in draws:
            outcome = await run(rig, draw)
            assert outcome.good, (outcome.line(), outcome.verdict.why)


@pytest.mark.faults
async def test_the_matrix_finds_nothing(
    pytestconfig: pytest.Config, network: Network, tmp_path: Path
) -> None:
    seed, runs = pytestconfig.getoption("seed"), pytestconfig.getoption("runs")
    only = pytestconfig.getoption("only")
    draws = [Draw.of(seed + i, only) for i in range(runs)]
    outcomes = await run_all(network, draws, tmp_path)
    print(table(outcomes))
    bad = [outcome.line() for outcome in outcomes if not outcome.good]
    assert not bad, "\n".join(bad)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("plant", "only", "shows"),
    [
        ("acknowledgement before publishing", "SIGKILL intake/tick", "lost"),
        ("table before its results", "SIGKILL worker/tick", "wrong"),
        ("watermark per portfolio", "nothing/trade", "wrong"),
        ("ignored rebalance", "1→3→1 workers/trade", "falling"),
        ("dropped dead letter", "nothing/mistake", "lost"),
    ],
)
async def test_the_matrix_finds_a_planted_bug(
    plant: str, only: str, shows: str, network: Network, tmp_path: Path
) -> None:
    """By what it does to rows and records, not by a world that is late."""
    assert plant in PLANTS
    draws = [Draw.of(seed, only) for seed in PLANTED_SEEDS]
    with pytest.raises(FoundError) as caught:
        await run_all(network, draws, tmp_path, plant)
    print(f"{plant}: {caught.value.verdict}"[:TOLD])
    assert getattr(caught.value.verdict, shows)


@pytest.mark.faults
async def test_postgresql_may_be_away_for_long(
    pytestconfig: pytest.Config, network: Network, tmp_path: Path
) -> None:
    """Longer than everything that waits for it: what comes later comes again."""
    away = pytestconfig.getoption("away")
    async with open_rig(network, tmp_path) as rig:
        await asyncio.to_thread(rig.stack.stop_service, "postgres")
        await asyncio.sleep(away)
        await asyncio.to_thread(rig.stack.start_service, "postgres")
        fresh = await rig.seconds_to_fresh()
        verdict = await rig.verdict()
        print(f"fresh {fresh:.1f} s after PostgreSQL was away for {away:g} s")
        assert not verdict.why, verdict.why
        assert not rig.failures(), rig.failures()
        assert fresh < FRESH_LIMIT_S


async def run_all(
    network: Network, draws: Sequence[Draw], home: Path, plant: str = ""
) -> list[Outcome]:
    """Carry out runs one after the other; a world that broke is not asked again.

    With a planted bug the first run that finds something is enough: it is raised.
    """
    outcomes: list[Outcome] = []
    while len(outcomes) < len(draws):
        async with open_rig(network, home, plant) as rig:
            for draw in draws[len(outcomes) :]:
                outcome = await run(rig, draw)
                outcomes.append(outcome)
                print(outcome.line(), *outcome.failures, sep="\n", flush=True)
                if not outcome.good:
                    if plant:
                        raise FoundError(outcome.verdict)
                    print(*outcome.verdict.why, rig.world.story(), sep="\n")
                    break
    return outcomes
