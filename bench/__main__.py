"""``make bench``: every question, one after the other, in some minutes.

The arithmetic first (no server), then the running system on one rig, then the sink.
Each script can be asked alone: ``python -m bench.latency --help``.
"""

import argparse
import asyncio
import subprocess
import sys

from bench.cold_start import cold_start
from bench.latency import latency
from bench.rig import rig

ALONE = ("engine", "kernels", "intake", "backfill", "sink")
RUNNING = "rig"


async def ask_the_running_system(args: argparse.Namespace) -> None:
    """Cold start and latency on one stack with one full journal."""
    async with rig(args.portfolios, args.sessions) as made:
        await cold_start(made, 2, args.runs)
        await latency(made, 1, [200, 500, 1000], args.seconds, sink=False)


def main() -> None:
    """Ask all of them, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help=f"of {', '.join((*ALONE, RUNNING))}")
    parser.add_argument("--portfolios", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=87)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    args = parser.parse_args()
    for name in args.only or (*ALONE[:-1], RUNNING, ALONE[-1]):
        if name == RUNNING:
            asyncio.run(ask_the_running_system(args))
        else:
            command = [sys.executable, "-m", f"bench.{name}"]
            subprocess.run(command, check=True)  # noqa: S603 - our own scripts


main()
