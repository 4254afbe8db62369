"""``make bench``: every question of the running system, on one rig, in minutes."""

import argparse
import asyncio

from bench.cold_start import cold_start
from bench.latency import latency
from bench.rig import rig


async def main() -> None:
    """Ask all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portfolios", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=87)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    args = parser.parse_args()
    async with rig(args.portfolios, args.sessions) as made:
        await cold_start(made, 2, args.runs)
        await latency(made, 1, [200, 500, 1000], args.seconds, sink=False)


asyncio.run(main())
