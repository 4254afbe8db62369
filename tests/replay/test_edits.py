"""Files of edits, and the changes that they come to."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from analytics.factors import Factors, Style
from analytics.rows import Change, Event, Lot, Price, Version
from replay.edited import records
from replay.editing import Edited, Grounds, Rows, apply
from replay.edits import parse, read_edits
from replay.errors import EditsError
from tests.analytics.engine_desk import CALENDAR, day, event_row, lot_row, price_row

ROOT = Path(__file__).parents[2]
DAY = timedelta(1)
FACTORS = Factors(market="A", styles=(Style("Value", "B"),), spreads=())


def change(row: object, order: int = 1, ts: int = 7) -> Change:
    assert isinstance(row, Lot | Event | Price)
    if isinstance(row, Price):
        key, owner, table = (row.symbol, row.date), None, "market_data_cache"
    else:
        key, owner = (row.id,), row.portfolio
        table = "positions" if isinstance(row, Lot) else "position_realized_events"
    return Change(table, key, Version(order, order, 0), ts, owner, row)


ROWS = [
    change(lot_row(11, 1, "A", 10, 20, 1)),
    change(lot_row(12, 1, "B", "0.0005", 20, 1)),
    change(lot_row(21, 2, "A", -30, 20, 1)),
    change(event_row(5, 1, 11, 3, 4, 25)),
    *(change(price_row(s, n, 10 * n + 10, 5.0)) for s in "AB" for n in range(5)),
]


def made(text: str, rows: list[Change] = ROWS) -> Edited:
    lines = "\n".join(f"  - {line}" for line in text.strip().splitlines())
    edits = parse("e.yaml", f"edits:\n{lines}\n".encode())
    return apply(edits, Grounds(Rows(rows), day(4), FACTORS, CALENDAR))


def on(session: int) -> date:
    return date.fromordinal(day(session))


# --- the file -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("edits:\n- drop: {}", r"line 2, edits\[0\]\.drop: say which lots"),
        ("edits:\n- drop: {lot: 1}\n  resize: {}", r"line 3, edits\[0\]\.resize: say"),
        (
            "edits:\n- drop: {lot: 1}\n  resize: {lot: 1, to: 1}",
            r"line 2, edits\[0\]: give one of drop, resize, price or shock",
        ),
        ("edits:\n\n- resize: {lot: 1}", "line 3.*one of to or by"),
        ("edits:\n- resize: {lot: 1, by: 10}", r"resize\.by: '10' is no percentage"),
        ("edits:\n- resize: {lot: 1, by: -100%}", r"resize\.by: .*greater than -1"),
        ("edits:\n- resize: {lot: 1, to: 1.23456}", "4 decimal places"),
        ("edits:\n- drop: {lots: 1}", r"drop\.lots: no such word"),
        ("edits:\n- drop: {lot: x}", r"drop\.lot: .*integer"),
        ("edits:\n- price: {symbol: A, date: 2022-01-03}", r"price\.close: is missing"),
        ("edits:\n- price: {symbol: A, date: 1.5., close: 1}", "no date like"),
        ("edits:\n- price: {symbol: A, date: 2022-01-03, close: nan}", "finite"),
        ("edits:\n- shock: {by: 1%, date: 2022-01-03}", "one of symbol or factor"),
        ("edits:\n- shock: {symbol: A, by: 1%}", "one of date or from"),
        (
            "edits:\n- shock: {symbol: A, by: 1%, from: 2022-01-03, to: 2022-01-02}",
            "to is the end",
        ),
        ("edits: []", "at least 1"),
        ("[]", "line 1: words and their values"),
        ("edits:\n- drop: {lot: 1, lot: 2}", "line 2: lot is given twice"),
        ("edits:\n- &a {drop: {lot: 1}}\n- *a", "line 2: an alias is not taken"),
        ("edits:\n- drop: [", "line 2: "),
        ("a: b\n--- \nc: d", "another document"),
        ("edits: " + "[" * 100 + "]" * 100, "so deep a level"),
        ("\0", "not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_path(text: str, why: str) -> None:
    with pytest.raises(EditsError, match=f"(?s)e.yaml.*({why})"):
        parse("e.yaml", text.encode())


def test_every_complaint_has_a_line() -> None:
    text = "edits:\n- drop: {lot: x}\n- drop: {lot: y}\n"
    with pytest.raises(EditsError) as caught:
        parse("e.yaml", text.encode())
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "e.yaml, line 2, edits[0].drop.lot",
        "e.yaml, line 3, edits[1].drop.lot",
    ]


def test_words_are_text_and_numbers_are_decimals() -> None:
    text = b"edits:\n- price: {symbol: NO, date: 2022-01-03, close: 0.1}\n"
    (edit,) = parse("e.yaml", text).edits
    assert edit.price
    assert (edit.price.symbol, edit.price.close) == ("NO", Decimal("0.1"))


def test_the_samples_edits_are_read_and_a_missing_file_is_said() -> None:
    assert len(read_edits(ROOT / "sample" / "edits.yaml").edits) == 5
    with pytest.raises(EditsError, match=r"none\.yaml: No such file"):
        read_edits(Path("none.yaml"))


# --- changes ------------------------------------------------------------------------


def test_a_dropped_lot_takes_its_events_along() -> None:
    found = made("drop: {lot: 11}")
    assert [(c.table, c.key, c.row) for c in found.changes] == [
        ("positions", (11,), None),
        ("position_realized_events", (5,), None),
    ]
    assert found.words == ("drop lot 11: 1 lot and 1 event",)


def test_a_change_is_one_after_that_of_its_row_and_of_its_time() -> None:
    (found,) = made("drop: {lot: 12}").changes
    assert found.version == Version(1, 1, 1)
    assert (found.ts, found.portfolio) == (7, 1)


def test_lots_are_named_by_portfolio_and_symbol() -> None:
    assert [c.key for c in made("resize: {symbol: A, by: 10%}").changes] == [
        (11,),
        (21,),
    ]
    assert [c.key for c in made("drop: {portfolio: 1, symbol: B}").changes] == [(12,)]


def quantities(text: str) -> list[int]:
    rows = [c.row for c in made(text).changes]
    return [row.quantity for row in rows if isinstance(row, Lot)]


def test_quantities() -> None:
    assert quantities("resize: {lot: 11, to: 2.5}") == [25_000]
    assert quantities("resize: {lot: 21, by: -50%}") == [-150_000]
    # Half of 0.0005 is between two quantities: to the even one.
    assert quantities("resize: {lot: 12, by: -50%}") == [2]
    assert quantities("resize: {lot: 11, by: 10%}\nresize: {lot: 11, by: 10%}") == [
        121_000
    ]


def test_what_was_sold_wholly_is_no_more_and_no_less_of_it() -> None:
    closed = change(lot_row(13, 1, "A", 0, 20, 1))
    rows = [*ROWS, closed]
    some = made("resize: {portfolio: 1, by: 50%}", rows)
    assert [c.key for c in some.changes] == [(11,), (12,)]
    with pytest.raises(EditsError, match="lot 13 would have no quantity"):
        made("resize: {lot: 13, by: 50%}", rows)


def prices(text: str) -> dict[tuple, tuple]:
    rows = [c.row for c in made(text).changes]
    return {
        (r.symbol, CALENDAR.index(r.date)): (r.close, r.adj_close)
        for r in rows
        if isinstance(r, Price)
    }


def test_prices_and_shocks() -> None:
    assert prices(f"price: {{symbol: A, date: {on(1)}, close: 40}}") == {
        ("A", 1): (40_000_000, 10.0)  # adj_close moves with it
    }
    given = f"price: {{symbol: A, date: {on(1)}, close: 40, adj_close: 3}}"
    assert prices(given) == {("A", 1): (40_000_000, 3.0)}
    assert prices(f"shock: {{factor: VALUE, date: {on(2)}, by: -10%}}") == {
        ("B", 2): (27_000_000, 4.5)
    }
    assert prices(f"shock: {{factor: market, from: {on(3)}, by: 100%}}") == {
        ("A", 3): (80_000_000, 10.0),
        ("A", 4): (100_000_000, 10.0),
    }
    assert set(prices(f"shock: {{symbol: A, from: {on(0)}, to: {on(1)}, by: 1%}}")) == {
        ("A", 0),
        ("A", 1),
    }


def test_a_price_where_there_was_none_and_one_that_was_deleted() -> None:
    gone = change(price_row("A", 2, 1), 5)
    gone = Change(gone.table, gone.key, gone.version, 9, None, None)
    rows = [*ROWS, gone, change(price_row("B", 6, 1))]
    edits = parse(
        "e.yaml",
        f"edits:\n- price: {{symbol: A, date: {on(2)}, close: 4}}\n"
        f"- price: {{symbol: A, date: {on(5)}, close: 5}}\n".encode(),
    )
    deleted, new = apply(edits, Grounds(Rows(rows), day(6), FACTORS, CALENDAR)).changes
    assert deleted.version == Version(5, 5, 1)
    assert deleted.ts == 9
    assert deleted.row == Price("A", day(2), 4_000_000, None)
    assert new.key == ("A", day(5))
    assert new.version > Version(0, 0, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("drop: {lot: 99}", r"line 2, edits\[0\]\.drop: no such lot.*lot 99"),
        ("drop: {lot: 11}\nresize: {lot: 11, to: 1}", r"line 3, edits\[1\].*no such"),
        ("drop: {portfolio: 2, symbol: B}", "portfolio 2 symbol B"),
        ("resize: {lot: 11, to: -1}", r"resize\.to: lot 11 is LONG"),
        ("resize: {lot: 21, to: 1}", "lot 21 is SHORT"),
        ("resize: {lot: 12, by: -99%}", "no quantity: drop it"),
        (f"price: {{symbol: Z, date: {on(1)}, close: 1}}", "Z has no prices"),
        (f"price: {{symbol: A, date: {on(1) + DAY}, close: 1}}", "date: .*no session"),
        (
            f"price: {{symbol: A, date: {on(5)}, close: 1}}",
            f"newest price is of {on(4)}",
        ),
        (f"shock: {{symbol: A, date: {on(5)}, by: 1%}}", "A has no close on"),
        (f"shock: {{factor: Size, date: {on(1)}, by: 1%}}", "no factor 'Size'.*Value"),
        (
            f"shock: {{factor: interest_rate, date: {on(1)}, by: 1%}}",
            "TLT has no close",
        ),
    ],
)
def test_what_cannot_be_done_is_said_with_its_line(text: str, why: str) -> None:
    with pytest.raises(EditsError, match=f"(?s)e.yaml.*{why}"):
        made(text)


def test_edits_make_the_same_records_each_time() -> None:
    from connectors.journal import decode
    from replay.logs import places_of
    from tests.replay.test_runs import settings

    places = places_of(settings(Path()).topics)
    rows = made(f"shock: {{symbol: A, from: {on(0)}, by: 1%}}\ndrop: {{symbol: A}}")
    found = list(records(rows.changes, places))
    assert found == list(records(rows.changes, places))
    assert len({place for place, _ in found}) == len(found)
    changes = [c for _, value in found for c in decode(value).changes]
    assert sorted(map(repr, changes)) == sorted(map(repr, rows.changes))
    assert found[0][0] == places[0]
    for place, value in found[1:]:
        assert all(c.portfolio is not None for c in decode(value).changes), place
