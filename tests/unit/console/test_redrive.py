"""An operator deals with dead letters: each thing is done once, at the pace that was asked for, and says who did it."""

from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.console.operator import action_request
from saga_app.console.operator.rate_limit import BATCH_SIZE, MIN_PAUSE_S, due, pause
from saga_app.console.record_id import REDRIVEN, REDRIVEN_BY, Place, place_of
from saga_app.saga.messages import DEAD_LETTER, encode
from saga_app.web.problem import Problem
from tests.fakes.record import FakeRecord
from tests.fakes.topics import FakeTopics
from tests.unit.console.filled_index import FilledIndex
from tests.unit.console.operator_harness import OperatorHarness, garbage, parked

Setup = Callable[[FakeTopics], None]


@pytest.fixture
def desk(on_sqlite: FilledIndex) -> Callable[[Setup], OperatorHarness]:
    """`desk(setup)`: what the topics hold when the operator comes."""

    def make(setup: Setup) -> OperatorHarness:
        logs = FakeTopics()
        setup(logs)
        on_sqlite.read(logs.records)
        return OperatorHarness(on_sqlite, logs)

    return make


async def refused(what: object, status: int) -> Problem:
    """The problem that an order ends with."""
    with pytest.raises(Problem) as problem:
        await what  # type: ignore[misc]
    assert problem.value.status == status
    return problem.value


async def test_a_redriven_saga_is_told_who_wants_its_next_attempt(desk: Callable[[Setup], OperatorHarness]) -> None:
    at = desk(lambda logs: parked(logs, "ada"))
    assert await at.redrive(ids=["ada"], by="ana") == {"count": 1, "dry_run": False}
    (signal,) = at.signals()
    assert (signal.kind, signal.id, signal.step, signal.service) == ("redriven", "ada", "authorize", "authorizer")
    assert (signal.attempt, signal.by, signal.at) == (2, "ana", at.iso())
    assert at.sent[0].key == b"ada"


async def test_redriving_twice_does_nothing_twice_before_and_after_the_saga_goes_on(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    at = desk(lambda logs: parked(logs, "ada"))
    assert (await at.redrive(filter={}))["count"] == 1
    assert await at.redrive(ids=["ada"]) == {
        "count": 0,
        "dry_run": False,
        "left_out": {"already requested in the last seconds": 1},
    }
    await at.provisioner()
    assert at.reading.index.errors == 0
    assert await at.redrive(ids=["ada"]) == {"count": 0, "dry_run": False, "left_out": {"not parked": 1}}
    assert (await at.redrive(filter={}))["count"] == 0
    assert at.sent == []


async def test_what_nothing_came_of_can_be_asked_for_again(desk: Callable[[Setup], OperatorHarness]) -> None:
    at = desk(lambda logs: parked(logs, "ada"))
    await at.redrive(ids=["ada"])
    at.now_s += 31
    assert (await at.redrive(ids=["ada"]))["count"] == 1
    assert {signal.attempt for signal in at.signals()} == {2}  # the same attempt: it starts once


async def test_a_saga_that_fails_again_is_a_new_dead_letter_with_another_attempt(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    at = desk(lambda logs: parked(logs, "ada"))
    await at.redrive(ids=["ada"])
    await at.provisioner()
    at.write(lambda: at.logs.park(at.logs.written[-1], at.now_s))
    assert at.reading.index.errors == 1
    await at.redrive(ids=["ada"])
    assert at.signals()[-1].attempt == 3


async def test_a_group_is_redriven_by_its_service_and_error_oldest_first(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    def setup(logs: FakeTopics) -> None:
        parked(logs, "new", at=50)
        parked(logs, "old", at=20)
        parked(logs, "other", error="Timeout")

    at = desk(setup)
    wanted = {"service": "authorizer", "error": "Permanent"}
    assert await at.redrive(filter=wanted, dry_run=True) == {"count": 2, "dry_run": True}
    assert at.sent == []
    assert (await at.redrive(filter=wanted))["count"] == 2
    assert [signal.id for signal in at.signals()] == ["old", "new"]


async def test_a_dead_letter_and_its_saga_are_one_thing(desk: Callable[[Setup], OperatorHarness]) -> None:
    at = desk(lambda logs: parked(logs, "ada"))
    name = (await at.queries.open_letters_of(["ada"]))[0].place.name
    assert (await at.redrive(ids=[name, "ada", "ada", name]))["count"] == 1
    assert len(at.sent) == 1


async def test_what_nobody_can_read_is_sent_again_as_it_was_and_is_then_dealt_with(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    headers = [("ce_id", b"7"), ("other", b"\xff")]
    at = desk(lambda logs: garbage(logs, headers=headers) and None)
    original = at.logs.written[0]
    dead = at.logs.written[1]
    dead.headers = [*headers, *dead.headers]
    name = Place(original.topic, original.partition, original.offset).name
    assert (await at.redrive(ids=[name], by="ana"))["count"] == 1
    (message,) = at.sent
    assert (message.topic, message.key, message.value) == ("notify", original.key, original.value)
    assert message.partition == original.partition
    assert message.headers == [*headers, (REDRIVEN, name.encode()), (REDRIVEN_BY, b"ana")]
    await at.provisioner()
    assert at.reading.index.errors == 0
    assert await at.redrive(ids=[name]) == {"count": 0, "dry_run": False, "left_out": {"already resolved": 1}}


async def test_what_still_cannot_be_read_comes_back_as_another_dead_letter(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    at = desk(lambda logs: garbage(logs) and None)
    await at.redrive(filter={})
    await at.provisioner()
    failed = at.logs.written[-1]
    at.write(lambda: at.logs.park(failed, at.now_s, step="notify", error="BadMessage"))
    at.logs.written[-1].headers = [*failed.headers, *at.logs.written[-1].headers]
    open_ = await at.queries.letters_matching(action_request.ErrorFilter())
    assert [letter.place.offset for letter in open_] == [failed.offset]
    await at.redrive(filter={})
    told = [value for name, value in at.sent[0].headers or () if name == REDRIVEN]
    assert told == [open_[0].place.name.encode()]
    assert DEAD_LETTER not in dict(at.sent[0].headers or ())


async def test_a_letter_from_a_topic_that_is_not_ours_does_not_keep_the_others_from_going_on(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    def setup(logs: FakeTopics) -> None:
        garbage(logs, topic="somebody-elses")
        parked(logs, "ada")

    at = desk(setup)
    assert await at.redrive(filter={}) == {
        "count": 1,
        "dry_run": False,
        "left_out": {"not from the topic of a step": 1},
    }


async def test_a_letter_that_kafka_has_lost_is_left_out(desk: Callable[[Setup], OperatorHarness]) -> None:
    at = desk(lambda logs: garbage(logs) and None)
    at.logs.written.clear()
    for _ in range(2):
        assert await at.redrive(filter={}) == {"count": 0, "dry_run": False, "left_out": {"no longer in Kafka": 1}}


async def test_any_saga_that_has_not_ended_can_be_rolled_back_once(desk: Callable[[Setup], OperatorHarness]) -> None:
    def setup(logs: FakeTopics) -> None:
        parked(logs, "parked")
        logs.saga("running", steps=2)
        logs.saga("done")

    at = desk(setup)
    answer = await at.roll_back(ids=["parked", "running", "done"], by="ana")
    assert answer == {"count": 2, "dry_run": False, "left_out": {"already ended or rolling back": 1}}
    told = {signal.id: (signal.kind, signal.step, signal.service, signal.by) for signal in at.signals()}
    assert told == {
        "parked": ("cancelled", "authorize", "authorizer", "ana"),
        "running": ("cancelled", "notify", "notifier", "ana"),
    }
    await at.provisioner()
    assert at.reading.index.counts() == {"completed": 1, "rolling-back": 2}
    assert at.reading.index.errors == 0
    assert (await at.roll_back(ids=["parked", "running"]))["count"] == 0


async def test_the_sagas_of_a_group_can_be_rolled_back_but_not_what_nobody_can_read(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    def setup(logs: FakeTopics) -> None:
        parked(logs, "ada", "bob")
        garbage(logs)

    at = desk(setup)
    answer = await at.roll_back(filter={}, by="ana")
    assert answer == {
        "count": 2,
        "dry_run": False,
        "left_out": {"its message cannot be decoded, so its saga is unknown": 1},
    }


async def test_unknown_ids_are_all_named_and_nothing_is_sent(desk: Callable[[Setup], OperatorHarness]) -> None:
    at = desk(lambda logs: parked(logs, "ada"))
    for act in (at.redrive, at.roll_back):
        problem = await refused(act(ids=["ada", "nobody", "notify[0]@99"]), 404)
        assert [(fault["index"], fault["field"]) for fault in problem.errors] == [(1, "ids"), (2, "ids")]
        assert "nobody" in problem.detail
        assert "notify[0]@99" in problem.detail
    assert at.sent == []


async def test_a_user_who_was_just_accepted_can_be_rolled_back(desk: Callable[[Setup], OperatorHarness]) -> None:
    at = desk(lambda _logs: None)
    at.accepted.add("new")
    assert (await at.roll_back(ids=["new"]))["count"] == 1


async def test_many_go_at_the_rate_that_was_asked_for(desk: Callable[[Setup], OperatorHarness]) -> None:
    at = desk(lambda logs: parked(logs, *(f"s{number}" for number in range(40))))
    assert (await at.redrive(filter={}, rate=20))["count"] == 40
    assert at.asleep == pytest.approx(2.0, abs=0.15)
    for second in (0.5, 1.0, 1.5):
        assert sum(time <= 100 + second for time in at.times) == pytest.approx(20 * second, abs=3)


async def test_what_would_take_more_than_a_minute_is_refused_with_a_way_out(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    at = desk(lambda logs: parked(logs, *(f"s{number}" for number in range(7))))
    problem = await refused(at.redrive(filter={}, rate=0.1), 422)
    assert "at most 6 actions" in problem.detail
    assert (problem.errors[0]["field"], at.sent) == ("rate", [])
    assert (await at.redrive(filter={}, rate=0.1, dry_run=True))["count"] == 7


async def test_when_the_broker_goes_away_midway_it_is_said_how_many_were_sent_and_the_rest_can_follow(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    at = desk(lambda logs: parked(logs, *(f"s{number}" for number in range(10))))
    at.takes = 4
    problem = await refused(at.redrive(filter={}, rate=1), 503)
    assert problem.detail.startswith("4 of 10 were sent, then the broker became unavailable (no broker)")
    assert problem.more == {"count": 4, "total": 10}
    at.takes = 100
    assert (await at.redrive(filter={}))["count"] == 6
    assert len({signal.id for signal in at.signals()}) == len(at.sent) == 10


async def test_nothing_is_ordered_while_it_is_not_known_what_there_is_or_the_broker_is_full(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    at = desk(lambda logs: parked(logs, "ada"))
    at.full = "the embedded broker is nearly full"
    assert "nearly full" in (await refused(at.redrive(ids=["ada"]), 503)).detail
    at.waits_for = "the index is being read"
    for act in (at.redrive, at.roll_back):
        assert "being read" in (await refused(act(filter={}), 503)).detail
    assert at.sent == []


async def test_two_who_redrive_everything_at_the_same_time_send_each_saga_once(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    at = desk(lambda logs: parked(logs, *(f"s{number}" for number in range(6))))
    other = 0

    async def sleep(seconds: float) -> None:
        nonlocal other
        at.now_s += seconds
        other += (await at.redrive(filter={}))["count"]

    at.operator.sleep = sleep
    mine = (await at.redrive(filter={}, rate=1))["count"]
    assert (mine, other) == (1, 5)
    assert len({signal.id for signal in at.signals()}) == len(at.sent) == 6


@given(st.integers(1, 3000), st.floats(0.5, 5000))
def test_a_pace_sends_everything_never_too_much_and_in_the_time_that_it_takes(total: int, rate: float) -> None:
    sent, now = 0, 0.0
    while sent < total:
        upto = due(total, sent, rate, now)
        assert sent <= upto <= sent + BATCH_SIZE
        assert upto <= 1 + now * rate
        if upto == sent:
            wait = pause(sent, rate, now)
            assert wait >= MIN_PAUSE_S
            now += wait
        sent = upto
    assert now <= total / rate + MIN_PAUSE_S + 1e-6


def test_without_a_rate_all_goes_in_portions_at_once() -> None:
    assert [due(1200, sent, None, 0.0) for sent in (0, 500, 1000)] == [500, 1000, 1200]


@pytest.mark.parametrize("name", ["authorize[3]@42", "a.b-c_d[0]@0"])
def test_a_name_is_a_place_and_a_place_has_a_name(name: str) -> None:
    place = place_of(name)
    assert place is not None
    assert place.name == name


@pytest.mark.parametrize("name", ["ada", "a[1]", "a[1]@", "a[-1]@2", "[1]@2", "a[1]@2 ", "a[1]@" + "9" * 19, "a[²]@1"])
def test_what_is_no_name_of_a_place_is_an_id(name: str) -> None:
    assert place_of(name) is None


@pytest.mark.parametrize(
    ("body", "index", "field"),
    [
        (b"{}", None, None),
        (b"[]", None, None),
        (b'{"ids":["a"],"filter":{}}', None, None),
        (b'{"ids":[]}', None, "ids"),
        (b'{"ids":["a",7]}', 1, "ids"),
        (b'{"ids":"a"}', None, "ids"),
        (b'{"filter":{"servise":"x"}}', None, "filter.servise"),
        (b'{"filter":{"service":""}}', None, "filter.service"),
        (b'{"filter":{},"by":"a\\nb"}', None, "by"),
        (b'{"filter":{},"by":""}', None, "by"),
        (b'{"filter":{},"by":"' + b"x" * 65 + b'"}', None, "by"),
        (b'{"filter":{},"rate":0}', None, "rate"),
        (b'{"filter":{},"rate":-1}', None, "rate"),
        (b'{"filter":{},"dryrun":true}', None, "dryrun"),
    ],
)
def test_every_mistake_in_an_order_is_named(body: bytes, index: int | None, field: str | None) -> None:
    with pytest.raises(Problem) as problem:
        action_request.parse(orjson.loads(body))
    assert problem.value.status == 422
    assert [(fault["index"], fault["field"]) for fault in problem.value.errors] == [(index, field)]


def cut(logs: FakeTopics, value: bytes, refused_by: str | None = None, id: str | None = None) -> FakeRecord:
    """A record of which the dlq holds only the beginning, and its dead letter."""
    raw = logs.write("authorize", id, value, 5.0)
    letter = replace(logs.park(raw, 5.0), refused_by=refused_by, original_bytes=len(value), kept_bytes=3)
    logs.written[-1].value = value[:3] if id is None else logs.written[-1].value
    logs.written[-1].headers = [(DEAD_LETTER, encode(letter))]
    return raw


@pytest.mark.field(32)
async def test_what_is_stored_cut_is_redriven_from_its_original(desk: Callable[[Setup], OperatorHarness]) -> None:
    at = desk(lambda logs: cut(logs, b"\xff" * 1000) and None)
    assert (await at.redrive(filter={}))["count"] == 1
    (message,) = at.sent
    assert (message.topic, message.value) == ("authorize", b"\xff" * 1000)


@pytest.mark.field(32)
@pytest.mark.parametrize("how", ["gone", "recreated"])
async def test_what_is_stored_cut_and_is_not_there_any_more_is_not_sent(
    desk: Callable[[Setup], OperatorHarness], how: str
) -> None:
    at = desk(lambda logs: cut(logs, b"\xff" * 1000) and None)
    original = at.logs.written[0]
    if how == "gone":
        at.logs.written.remove(original)
    else:
        original.value = b"another record at the same offset"
    answer = await at.redrive(filter={})
    assert answer["left_out"] == {"stored truncated, and its original is no longer in Kafka": 1}
    assert at.sent == []


@pytest.mark.field(32)
async def test_a_saga_whose_row_is_too_large_is_redriven_from_its_record(
    desk: Callable[[Setup], OperatorHarness],
) -> None:
    def setup(logs: FakeTopics) -> None:
        logs.saga("ada", steps=1)
        request = logs.written[-2]
        letter = replace(logs.park(request, 5.0), refused_by=ROWS_CHANGELOG)
        logs.written[-1].headers = [(DEAD_LETTER, encode(letter))]

    at = desk(setup)
    assert (await at.redrive(ids=["ada"]))["count"] == 1
    (message,) = at.sent
    assert (message.topic, message.key) == ("authorize", b"ada")
