"""The parts of a worker, made once and handed to those that use them."""

from collections.abc import Callable
from dataclasses import dataclass

from analytics.calendar import Calendar
from analytics.engine import Engine
from connectors.calendar import load_calendar
from connectors.engine import make_engine
from connectors.settings import Settings
from streams.app import FaustApp, changelog_topic
from streams.catch_up import CatchUp
from streams.filler import Filler
from streams.folding import Folder
from streams.market import MarketReader
from streams.metrics import Metrics
from streams.ownership import Ownership
from streams.publisher import Publisher
from streams.record import RecordWriter, SaidReader
from streams.state import MarketState, PartitionStates
from streams.tails import Tails


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a worker is made of; each part's own module says what it does."""

    settings: Settings
    calendar: Calendar
    engine: Engine
    metrics: Metrics
    faust: FaustApp
    ownership: Ownership
    folder: Folder
    filler: Filler
    market: MarketReader
    publisher: Publisher
    states: PartitionStates
    market_state: MarketState
    tails: Tails
    catch_up: CatchUp


def assemble(settings: Settings, wake: Callable[[], None]) -> Parts:
    """Make the parts of a worker; nothing is connected yet.

    Parameters
    ----------
    settings
        Of everything.
    wake
        Called when there may be something to flush.
    """
    dates = settings.calendar
    calendar = load_calendar(dates.name, dates.start, dates.end)
    engine, metrics, faust = (
        make_engine(settings, calendar),
        Metrics(),
        FaustApp(settings),
    )
    folder = Folder(engine, settings.topics, metrics)
    filler = Filler(settings, metrics)
    ownership = Ownership(faust, settings.worker.session_timeout_s)
    publisher = Publisher(settings, RecordWriter(calendar), ownership.permit, metrics)
    return Parts(
        settings=settings,
        calendar=calendar,
        engine=engine,
        metrics=metrics,
        faust=faust,
        ownership=ownership,
        folder=folder,
        filler=filler,
        market=MarketReader(settings, engine, folder, metrics, wake),
        publisher=publisher,
        states=PartitionStates(engine, changelog_topic(settings), publisher),
        market_state=MarketState(engine, settings.topics.market_checkpoint, publisher),
        tails=Tails(engine, filler, SaidReader(calendar), metrics),
        catch_up=CatchUp(settings, calendar, metrics, publisher),
    )
