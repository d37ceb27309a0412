"""Runs with few kinds of faults, whose results are known in advance, and the console's view of the same records."""

import pytest

from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga import saga_row
from saga_app.saga.codec import parse
from saga_app.saga.messages import Parked, Row, Signal
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.times import utc
from tests.fakes.record import FakeRecord
from tests.simulation.parameters import Parameters, draw_parameters
from tests.simulation.run import run
from tests.simulation.system import System


def run_system(seed: int, parameters: Parameters) -> System:
    """The system at the end of a run without violations."""
    result = run(seed, parameters, keep_system=True)
    assert result.violations == []
    assert result.system is not None
    return result.system


def test_without_faults_every_user_gets_one_device_and_one_mail() -> None:
    system = run_system(1, Parameters(sagas=12))
    assert {row.state for id in system.rows if (row := system.row(id))} == {"completed"}
    assert set(system.fake_world.mail.sent.values()) == {1}
    assert len(set(system.fake_world.stock.assigned.values())) == 12


def test_a_user_who_is_requested_twice_is_onboarded_once() -> None:
    system = run_system(2, Parameters(sagas=6, repeated_users=1.0))
    assert system.events["duplicates of new-user absorbed"] == 6
    assert set(system.fake_world.mail.sent.values()) == {1}


def test_a_saga_parked_by_a_permanent_failure_continues_when_redriven() -> None:
    system = run_system(3, Parameters(sagas=12, errors=0.3))
    assert system.events["operator signals applied: redriven"] == system.events["dead letters"] > 0
    assert system.events["ended: completed"] == 12


def test_the_same_seed_gives_the_same_records() -> None:
    first, second = (run_system(4, draw_parameters(4)).bus.records for _ in range(2))
    assert first == second


@pytest.mark.parametrize("seed", range(40))
def test_the_console_shows_the_same_states_in_any_order_of_records(seed: int) -> None:
    system = run_system(seed, draw_parameters(seed, garbage=0))
    records = list(system.bus.records)
    system.bus.dice.shuffle(records)
    expected = {id: row.state for id in system.rows if (row := system.row(id))}
    assert {id: row.state for id, row in join_rows(records).items()} == expected


def join_rows(records: list[FakeRecord]) -> dict[str, Row]:
    """The saga rows that the console computes from the records of all topics, in any order."""
    rows: dict[str, Row] = {}
    for record in records:
        if record.topic in EFFECTS_CHANGELOGS.values():
            continue
        body = parse(record.topic, record.value, record.headers, ROWS_CHANGELOG)
        if isinstance(body, Signal):
            continue
        if isinstance(body, Parked):
            news = saga_row.row_parked(ONBOARDING, body)
        elif isinstance(body, Row):
            news = body
        else:
            news = saga_row.row_waiting_for(ONBOARDING, record.topic, body, utc(1_767_225_600))
        if news is not None:
            rows[news.id] = saga_row.join(rows.get(news.id), news)
    return rows
