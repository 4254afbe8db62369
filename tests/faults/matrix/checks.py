"""Checks: what users do to their rows while something is disturbed.

Each is one step, repeated at its pace for as long as the disturbance lasts. The tables
are kept small: what a step adds is taken away by later ones.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from connectors.postgres import Connection
from deltafolio.loading import load
from tests.faults.matrix.database import (
    GUESTS,
    LIVE,
    NEWEST,
    PORTFOLIOS,
    STAYS,
    UNIVERSE,
    Database,
)

MOST_LOTS, MOST_FLOWS, MOST_EVENTS = 120, 40, 60
RESUMES = 8
RUN = re.compile(r"^run (\S+)", re.MULTILINE)
SINCE = LIVE[-3]
"""First session of guests: what the oracle has to do is bounded, too."""
ONBOARDED = 200
LOADED = 20

Step = Callable[[Database, Random], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """A step and the pause after it, in seconds."""

    step: Step
    pause: float = 0.02


async def tick(db: Database, chance: Random) -> None:
    """Closes of the newest session move."""
    await db.execute(
        "UPDATE market_data_cache SET close = close + $1 "
        "WHERE date = $2 AND symbol = ANY($3)",
        Decimal(chance.randrange(-20, 21)) / 100,
        NEWEST,
        chance.sample(UNIVERSE.symbols, 3),
    )


async def correct(db: Database, chance: Random) -> None:
    """A close of the past is another one, is removed, or comes late."""
    symbol, day = chance.choice(UNIVERSE.symbols), chance.choice(LIVE[:-1])
    if chance.random() < 0.2:
        await db.execute(
            "DELETE FROM market_data_cache WHERE symbol = $1 AND date = $2", symbol, day
        )
        return
    usual = int(UNIVERSE.closes[0, UNIVERSE.symbols.index(symbol)])
    close = Decimal(usual * chance.randrange(98, 103)) / 10_000
    if chance.random() < 0.1:
        close = Decimal(chance.randrange(1, 10**8)) / 100
    await db.execute(
        "INSERT INTO market_data_cache (symbol, date, close, adj_close) "
        "VALUES ($1, $2, $3, $4) ON CONFLICT (symbol, date) "
        "DO UPDATE SET close = excluded.close, adj_close = excluded.adj_close",
        symbol,
        day,
        close,
        float(close) * 0.99 if chance.random() < 0.5 else None,
    )


async def trade(db: Database, chance: Random) -> None:
    """A lot is bought; or a part of one sold: a smaller lot and an event, together."""
    lots = await db.column(f"SELECT id FROM positions WHERE {STAYS} ORDER BY id")
    if len(lots) < MOST_LOTS and chance.random() < 0.4:
        await _buy(db, chance)
        return
    lot = chance.choice(lots)
    if len(lots) >= MOST_LOTS:
        await db.together(
            ("DELETE FROM position_realized_events WHERE position_id = $1", lot),
            ("DELETE FROM positions WHERE id = $1", lot),
        )
        return
    await db.together(
        (
            "DELETE FROM position_realized_events WHERE id IN (SELECT id FROM "
            "position_realized_events ORDER BY id DESC OFFSET $1)",
            MOST_EVENTS,
        ),
        ("UPDATE positions SET quantity = quantity - 1 WHERE id = $1", lot),
        (
            "INSERT INTO position_realized_events (portfolio_id, position_id, "
            "trade_date, quantity_closed, exit_price) "
            "SELECT portfolio_id, id, $2, 1, $3 FROM positions WHERE id = $1",
            lot,
            chance.choice(LIVE),
            Decimal(chance.randrange(1000, 30000)) / 100,
        ),
    )


async def _buy(db: Database, chance: Random) -> None:
    short = chance.random() < 0.2
    quantity = chance.randrange(1, 500)
    await db.execute(
        "INSERT INTO positions (portfolio_id, symbol, position_type, investment_class, "
        "quantity, entry_price, entry_date) VALUES ($1, $2, $3, 'PUBLIC', $4, $5, $6)",
        chance.randrange(1, PORTFOLIOS + 1),
        chance.choice(UNIVERSE.symbols),
        "SHORT" if short else "LONG",
        -quantity if short else quantity,
        Decimal(chance.randrange(1000, 30000)) / 100,
        chance.choice(LIVE),
    )


async def move(db: Database, chance: Random) -> None:
    """A lot goes to another portfolio, so to another partition."""
    lots = await db.column(f"SELECT id FROM positions WHERE {STAYS} ORDER BY id")
    await db.execute(
        "UPDATE positions SET portfolio_id = $2 WHERE id = $1",
        chance.choice(lots),
        chance.randrange(1, PORTFOLIOS + 1),
    )


async def delete(db: Database, chance: Random) -> None:
    """A lot is deleted, marked as deleted, or comes back; a new one takes its place."""
    lots = await db.column(f"SELECT id FROM positions WHERE {STAYS} ORDER BY id")
    lot, kind = chance.choice(lots), chance.random()
    if kind < 0.3:
        await db.execute("DELETE FROM positions WHERE id = $1", lot)
        await _buy(db, chance)
    elif kind < 0.6:
        await db.execute("UPDATE positions SET deleted_at = now() WHERE id = $1", lot)
    else:
        await db.execute(
            "UPDATE positions SET deleted_at = NULL WHERE id = (SELECT id FROM "
            "positions WHERE deleted_at IS NOT NULL ORDER BY id LIMIT 1)"
        )


async def flow(db: Database, chance: Random) -> None:
    """Money comes or goes; an entry is restated or removed."""
    flows = await db.column("SELECT id FROM equity_changes ORDER BY id")
    kind = chance.random()
    if len(flows) > MOST_FLOWS or (flows and kind < 0.3):
        await db.execute(
            "DELETE FROM equity_changes WHERE id = $1", chance.choice(flows)
        )
    elif flows and kind < 0.5:
        await db.execute(
            "UPDATE equity_changes SET amount = $2 WHERE id = $1",
            chance.choice(flows),
            Decimal(chance.randrange(1, 10**6)) / 100,
        )
    else:
        await db.execute(
            "INSERT INTO equity_changes (portfolio_id, change_type, amount, "
            "change_date) VALUES ($1, $2, $3, $4)",
            chance.randrange(1, PORTFOLIOS + 1),
            chance.choice(("CONTRIBUTION", "WITHDRAWAL")),
            Decimal(chance.randrange(1, 10**6)) / 100,
            chance.choice(LIVE),
        )


async def bulk_load(db: Database, chance: Random) -> None:
    """COPY of portfolios with their lots, in one transaction; others go."""
    first = GUESTS + chance.randrange(10) * LOADED
    ids = range(first, first + LOADED)
    portfolios, lots = io.StringIO(), io.StringIO()
    for portfolio in ids:
        portfolios.write(f"{portfolio},guest,{SINCE},100000\n")
        for _ in range(5):
            lots.write(",".join(map(str, _guest_lot(portfolio, chance))) + "\n")
    tables = {
        "portfolios": (
            ("id", "name", "inception_date", "equity_balance"),
            portfolios.getvalue().encode(),
        ),
        "positions": (GUEST_LOT, lots.getvalue().encode()),
    }

    async def work(connection: Connection) -> None:
        async with connection.transaction():
            await connection.execute("DELETE FROM portfolios WHERE id >= $1", GUESTS)
            await connection.execute(
                "DELETE FROM positions WHERE portfolio_id >= $1", GUESTS
            )
            await load(connection, tables)

    await db.do(work)


async def onboarding(db: Database, chance: Random) -> None:
    """Two hundred portfolios come, each in a transaction of its own; others go."""
    await send_guests_away(db)
    for portfolio in range(GUESTS, GUESTS + ONBOARDED):
        names = ", ".join(GUEST_LOT)
        slots = ", ".join(f"${i + 1}" for i in range(len(GUEST_LOT)))
        lot = f"INSERT INTO positions ({names}) VALUES ({slots})"
        await db.together(
            (
                "INSERT INTO portfolios (id, name, inception_date, equity_balance) "
                "VALUES ($1, 'guest', $2, 100000) ON CONFLICT (id) DO NOTHING",
                portfolio,
                SINCE,
            ),
            *((lot, *_guest_lot(portfolio, chance)) for _ in range(3)),
        )


GUEST_LOT = (
    "portfolio_id",
    "symbol",
    "position_type",
    "investment_class",
    "quantity",
    "entry_price",
    "entry_date",
)


def _guest_lot(portfolio: int, chance: Random) -> tuple[object, ...]:
    return (
        portfolio,
        chance.choice(UNIVERSE.symbols),
        "LONG",
        "PUBLIC",
        chance.randrange(1, 500),
        chance.randrange(10, 300),
        chance.choice(LIVE[-3:]),
    )


async def send_guests_away(db: Database) -> None:
    """Delete the portfolios that came, with their lots."""
    await db.together(
        ("DELETE FROM positions WHERE portfolio_id >= $1", GUESTS),
        ("DELETE FROM portfolios WHERE id >= $1", GUESTS),
    )


async def mistake(db: Database, chance: Random) -> None:
    """A lot that the door refuses: there must be a dead letter; then it is gone."""
    lots = await db.column(
        "INSERT INTO positions (portfolio_id, symbol, position_type, investment_class, "
        "quantity, entry_price, entry_date) "
        "VALUES ($1, 'SPY', 'SIDEWAYS', 'PUBLIC', 1, 1, $2) RETURNING id",
        chance.randrange(1, PORTFOLIOS + 1),
        chance.choice(LIVE),
    )
    db.mistakes.update(lots)
    await db.execute("DELETE FROM positions WHERE id = ANY($1)", lots)


async def replay(db: Database, chance: Random) -> None:
    """History is derived again beside the live system, and resumed until it is done."""
    first, last = sorted(chance.sample(LIVE, 2))
    words = ["run", "--from", first.isoformat(), "--to", last.isoformat()]
    words += chance.choice(([], ["--publish"]))
    code, said = await _command(db, *words)
    name = RUN.search(said)
    for _ in range(RESUMES):
        if not code:
            break
        await asyncio.sleep(1)
        # One that had not begun yet, because Kafka was away, is asked for again.
        code, said = await _command(db, *(("resume", name[1]) if name else words))
        name = name or RUN.search(said)
    if code:
        db.complaints.append(f"replay ended with {code}: {said}")
    await _command(db, "clean")


async def _command(db: Database, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deltafolio", "replay", *words),
        env=os.environ | {"DELTAFOLIO_HOME": str(db.home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


CHECKS: dict[str, Check] = {
    "load": Check(bulk_load, 1.5),
    "tick": Check(tick, 0.01),
    "correct": Check(correct),
    "trade": Check(trade),
    "move": Check(move),
    "delete": Check(delete),
    "flow": Check(flow),
    "mistake": Check(mistake, 0.05),
    "replay": Check(replay, 60.0),
    "onboarding": Check(onboarding, 60.0),
}
