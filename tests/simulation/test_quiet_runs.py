"""Runs with little misfortune, of which it is known how they end; and the console, which reads the same records."""

import pytest

from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga import machine
from saga_app.saga.messages import Parked, Row, Signal, parse
from saga_app.saga.onboarding import ONBOARDING
from tests.fakes.record import FakeRecord
from tests.simulation.parameters import Parameters, drawn
from tests.simulation.run import run
from tests.simulation.system import System


def played(seed: int, parameters: Parameters) -> System:
    result = run(seed, parameters, keep=True)
    assert result.wrong == []
    assert result.system is not None
    return result.system


def test_without_misfortunes_everybody_gets_a_device_and_one_mail() -> None:
    system = played(1, Parameters(sagas=12))
    assert {row.state for id in system.rows if (row := system.row(id))} == {"completed"}
    assert set(system.outside.mail.sent.values()) == {1}
    assert len(set(system.outside.stock.held.values())) == 12


def test_a_user_who_is_requested_twice_is_onboarded_once() -> None:
    system = played(2, Parameters(sagas=6, again=1.0))
    assert system.happened["duplicates of new-user absorbed"] == 6
    assert set(system.outside.mail.sent.values()) == {1}


def test_a_saga_whose_step_fails_for_good_is_parked_and_goes_on_when_an_operator_redrives_it() -> None:
    system = played(3, Parameters(sagas=12, errors=0.3))
    assert system.happened["orders heeded: redriven"] == system.happened["dead letters"] > 0
    assert system.happened["ended: completed"] == 12


def test_the_same_seed_plays_the_same_run() -> None:
    first, second = (played(4, drawn(4)).bus.records for _ in range(2))
    assert first == second


@pytest.mark.parametrize("seed", range(40))
def test_the_console_tells_the_same_whatever_order_it_reads_the_topics_in(seed: int) -> None:
    system = played(seed, drawn(seed, garbage=0))
    records = list(system.bus.records)
    system.bus.dice.shuffle(records)
    expected = {id: row.state for id in system.rows if (row := system.row(id))}
    assert {id: row.state for id, row in folded(records).items()} == expected


def folded(records: list[FakeRecord]) -> dict[str, Row]:
    """The console's view: every topic, in any order."""
    rows: dict[str, Row] = {}
    for record in records:
        if record.topic in EFFECTS_CHANGELOGS.values():
            continue
        body = parse(record.topic, record.value, record.headers, ROWS_CHANGELOG)
        if isinstance(body, Signal):
            continue
        if isinstance(body, Parked):
            news = machine.row_parked(ONBOARDING, body)
        elif isinstance(body, Row):
            news = body
        else:
            news = machine.row_waiting_for(ONBOARDING, record.topic, body, "2026-01-01T00:00:00.000Z")
        if news is not None:
            rows[news.id] = machine.join(rows.get(news.id), news)
    return rows
