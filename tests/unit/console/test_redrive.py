"""Redrive and rollback: each action is sent once, at the requested rate, with the name of the operator."""

from collections.abc import Awaitable, Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.console.index.filters import ErrorFilter
from saga_app.console.operator import action_request
from saga_app.console.operator.rate_limit import BATCH_SIZE, MIN_PAUSE_S, due, pause
from saga_app.console.redrive_headers import REDRIVEN, REDRIVEN_BY
from saga_app.saga.codec import encode, replace_fields
from saga_app.saga.messages import DEAD_LETTER
from saga_app.saga.record_id import RecordId, parse_record_id
from saga_app.web.problem import Problem
from tests.fakes.topics import FakeTopics
from tests.unit.console.index_harness import IndexHarness
from tests.unit.console.operator_harness import OperatorHarness, write_garbage, write_parked_sagas

#: Writes what the topics hold when the operator acts.
Setup = Callable[[FakeTopics], object]

MakeHarness = Callable[[Setup], OperatorHarness]


@pytest.fixture
def make_harness(sqlite_harness: IndexHarness) -> MakeHarness:
    """`make_harness(setup)` returns an operator whose topics and index hold what `setup` has written."""

    def make(setup: Setup) -> OperatorHarness:
        topics = FakeTopics()
        setup(topics)
        sqlite_harness.read(topics.sorted_records)
        return OperatorHarness(sqlite_harness, topics)

    return make


async def problem_from(request: Awaitable[object], status: int) -> Problem:
    """The problem that a request raises, after checking its status."""
    with pytest.raises(Problem) as raised:
        await request
    assert raised.value.status == status
    return raised.value


async def test_a_redrive_sends_a_signal_with_the_next_attempt_and_operator(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, "ada"))
    assert await harness.redrive(ids=["ada"], by="ana") == {"count": 1, "dry_run": False}
    (signal,) = harness.signals()
    assert (signal.kind, signal.id, signal.step, signal.service) == ("redriven", "ada", "authorize", "authorizer")
    assert (signal.attempt, signal.by, signal.at) == (2, "ana", harness.now())
    assert harness.sent[0].key == b"ada"


async def test_a_repeated_redrive_sends_nothing(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, "ada"))
    assert (await harness.redrive(filter={}))["count"] == 1
    assert await harness.redrive(ids=["ada"]) == {
        "count": 0,
        "dry_run": False,
        "left_out": {"already requested in the last seconds": 1},
    }
    await harness.run_provisioner()
    assert harness.index.index.errors == 0
    assert await harness.redrive(ids=["ada"]) == {"count": 0, "dry_run": False, "left_out": {"not parked": 1}}
    assert (await harness.redrive(filter={}))["count"] == 0
    assert harness.sent == []


async def test_a_redrive_without_effect_can_be_repeated_after_a_while(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, "ada"))
    await harness.redrive(ids=["ada"])
    harness.now_s += 31
    assert (await harness.redrive(ids=["ada"]))["count"] == 1
    assert {signal.attempt for signal in harness.signals()} == {2}  # the same attempt, which starts once


async def test_a_saga_that_fails_after_a_redrive_can_be_redriven_again(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, "ada"))
    await harness.redrive(ids=["ada"])
    await harness.run_provisioner()
    harness.write(lambda: harness.topics.park(harness.topics.records[-1], harness.now_s))
    assert harness.index.index.errors == 1
    await harness.redrive(ids=["ada"])
    assert harness.signals()[-1].attempt == 3


async def test_a_filter_redrives_matching_dead_letters_oldest_first(make_harness: MakeHarness) -> None:
    def setup(topics: FakeTopics) -> None:
        write_parked_sagas(topics, "new", at=50)
        write_parked_sagas(topics, "old", at=20)
        write_parked_sagas(topics, "other", error="Timeout")

    harness = make_harness(setup)
    criteria = {"service": "authorizer", "error": "Permanent"}
    assert await harness.redrive(filter=criteria, dry_run=True) == {"count": 2, "dry_run": True}
    assert harness.sent == []
    assert (await harness.redrive(filter=criteria))["count"] == 2
    assert [signal.id for signal in harness.signals()] == ["old", "new"]


async def test_ids_of_the_same_dead_letter_and_saga_are_redriven_once(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, "ada"))
    name = str((await harness.queries.open_letters_of(["ada"]))[0].place)
    assert (await harness.redrive(ids=[name, "ada", "ada", name]))["count"] == 1
    assert len(harness.sent) == 1


async def test_an_unreadable_record_is_resent_unchanged_and_then_resolved(make_harness: MakeHarness) -> None:
    headers = [("ce_id", b"7"), ("other", b"\xff")]
    harness = make_harness(lambda topics: write_garbage(topics, headers=headers))
    original = harness.topics.records[0]
    dead = harness.topics.records[1]
    dead.headers = [*headers, *dead.headers]
    name = str(RecordId(original.topic, original.partition, original.offset))
    assert (await harness.redrive(ids=[name], by="ana"))["count"] == 1
    (message,) = harness.sent
    assert (message.topic, message.key, message.value) == ("notify", original.key, original.value)
    assert message.partition == original.partition
    assert message.headers == [*headers, (REDRIVEN, name.encode()), (REDRIVEN_BY, b"ana")]
    await harness.run_provisioner()
    assert harness.index.index.errors == 0
    assert await harness.redrive(ids=[name]) == {"count": 0, "dry_run": False, "left_out": {"already resolved": 1}}


async def test_a_resent_record_that_fails_again_is_a_new_dead_letter(make_harness: MakeHarness) -> None:
    harness = make_harness(write_garbage)
    await harness.redrive(filter={})
    await harness.run_provisioner()
    failed = harness.topics.records[-1]
    harness.write(lambda: harness.topics.park(failed, harness.now_s, step="notify", error="BadMessage"))
    harness.topics.records[-1].headers = [*failed.headers, *harness.topics.records[-1].headers]
    letters = await harness.queries.letters_matching(ErrorFilter())
    assert [letter.place.offset for letter in letters] == [failed.offset]
    await harness.redrive(filter={})
    redriven = [value for name, value in harness.sent[0].headers or () if name == REDRIVEN]
    assert redriven == [str(letters[0].place).encode()]
    assert DEAD_LETTER not in dict(harness.sent[0].headers or ())


async def test_dead_letters_of_foreign_topics_are_left_out(make_harness: MakeHarness) -> None:
    def setup(topics: FakeTopics) -> None:
        write_garbage(topics, topic="foreign-topic")
        write_parked_sagas(topics, "ada")

    harness = make_harness(setup)
    assert await harness.redrive(filter={}) == {
        "count": 1,
        "dry_run": False,
        "left_out": {"not from the topic of a step": 1},
    }


async def test_a_dead_letter_whose_original_was_deleted_is_left_out(make_harness: MakeHarness) -> None:
    harness = make_harness(write_garbage)
    harness.topics.records.clear()
    for _ in range(2):
        assert await harness.redrive(filter={}) == {"count": 0, "dry_run": False, "left_out": {"no longer in Kafka": 1}}


async def test_any_saga_that_has_not_ended_can_be_rolled_back_once(make_harness: MakeHarness) -> None:
    def setup(topics: FakeTopics) -> None:
        write_parked_sagas(topics, "parked")
        topics.run_saga("running", steps=2)
        topics.run_saga("done")

    harness = make_harness(setup)
    answer = await harness.roll_back(ids=["parked", "running", "done"], by="ana")
    assert answer == {"count": 2, "dry_run": False, "left_out": {"already ended or rolling back": 1}}
    signals = {signal.id: (signal.kind, signal.step, signal.service, signal.by) for signal in harness.signals()}
    assert signals == {
        "parked": ("cancelled", "authorize", "authorizer", "ana"),
        "running": ("cancelled", "notify", "notifier", "ana"),
    }
    await harness.run_provisioner()
    assert harness.index.index.counts() == {"completed": 1, "rolling-back": 2}
    assert harness.index.index.errors == 0
    assert (await harness.roll_back(ids=["parked", "running"]))["count"] == 0


async def test_a_rollback_by_filter_leaves_out_unreadable_dead_letters(make_harness: MakeHarness) -> None:
    def setup(topics: FakeTopics) -> None:
        write_parked_sagas(topics, "ada", "bob")
        write_garbage(topics)

    harness = make_harness(setup)
    answer = await harness.roll_back(filter={}, by="ana")
    assert answer == {
        "count": 2,
        "dry_run": False,
        "left_out": {"its message cannot be decoded, so its saga is unknown": 1},
    }


async def test_a_request_with_unknown_ids_names_them_and_sends_nothing(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, "ada"))
    for act in (harness.redrive, harness.roll_back):
        problem = await problem_from(act(ids=["ada", "nobody", "notify[0]@99"]), 404)
        assert [(fault["index"], fault["field"]) for fault in problem.errors] == [(1, "ids"), (2, "ids")]
        assert "nobody" in problem.detail
        assert "notify[0]@99" in problem.detail
    assert harness.sent == []


async def test_a_user_who_was_just_accepted_can_be_rolled_back(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda _topics: None)
    harness.accepted.add("new")
    assert (await harness.roll_back(ids=["new"]))["count"] == 1


async def test_actions_are_sent_at_the_requested_rate(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, *(f"s{number}" for number in range(40))))
    assert (await harness.redrive(filter={}, rate=20))["count"] == 40
    assert harness.slept_s == pytest.approx(2.0, abs=0.15)
    for second in (0.5, 1.0, 1.5):
        assert sum(time <= 100 + second for time in harness.sent_at) == pytest.approx(20 * second, abs=3)


async def test_a_request_of_more_than_a_minute_is_refused_with_advice(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, *(f"s{number}" for number in range(7))))
    problem = await problem_from(harness.redrive(filter={}, rate=0.1), 422)
    assert "at most 6 actions" in problem.detail
    assert (problem.errors[0]["field"], harness.sent) == ("rate", [])
    assert (await harness.redrive(filter={}, rate=0.1, dry_run=True))["count"] == 7


async def test_an_interrupted_redrive_reports_its_progress_and_can_resume(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, *(f"s{number}" for number in range(10))))
    harness.max_sent = 4
    problem = await problem_from(harness.redrive(filter={}, rate=1), 503)
    assert problem.detail.startswith("4 of 10 were sent, then the broker became unavailable (no broker)")
    assert problem.more == {"count": 4, "total": 10}
    harness.max_sent = 100
    assert (await harness.redrive(filter={}))["count"] == 6
    assert len({signal.id for signal in harness.signals()}) == len(harness.sent) == 10


async def test_actions_are_refused_without_an_index_or_room_in_the_broker(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, "ada"))
    harness.no_room_reason = "the embedded broker is nearly full"
    assert "nearly full" in (await problem_from(harness.redrive(ids=["ada"]), 503)).detail
    harness.not_ready_reason = "the index is being read"
    for act in (harness.redrive, harness.roll_back):
        assert "being read" in (await problem_from(act(filter={}), 503)).detail
    assert harness.sent == []


async def test_two_concurrent_redrives_send_each_saga_once(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_parked_sagas(topics, *(f"s{number}" for number in range(6))))
    second = 0

    async def sleep(seconds: float) -> None:
        nonlocal second
        harness.now_s += seconds
        second += (await harness.redrive(filter={}))["count"]

    harness.operator.sleep = sleep
    first = (await harness.redrive(filter={}, rate=1))["count"]
    assert (first, second) == (1, 5)
    assert len({signal.id for signal in harness.signals()}) == len(harness.sent) == 6


@given(st.integers(1, 3000), st.floats(0.5, 5000))
def test_the_rate_limit_is_kept_and_everything_is_sent_in_time(total: int, rate: float) -> None:
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


def test_without_a_rate_full_batches_are_due_immediately() -> None:
    assert [due(1200, sent, None, 0.0) for sent in (0, 500, 1000)] == [500, 1000, 1200]


@pytest.mark.parametrize("name", ["authorize[3]@42", "a.b-c_d[0]@0"])
def test_a_record_id_can_be_parsed_and_formatted(name: str) -> None:
    assert str(parse_record_id(name)) == name


@pytest.mark.parametrize("name", ["ada", "a[1]", "a[1]@", "a[-1]@2", "[1]@2", "a[1]@2 ", "a[1]@" + "9" * 19, "a[²]@1"])
def test_other_text_is_not_parsed_as_a_record_id(name: str) -> None:
    assert parse_record_id(name) is None


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
def test_an_invalid_field_of_a_request_is_named(body: bytes, index: int | None, field: str | None) -> None:
    with pytest.raises(Problem) as problem:
        action_request.parse(orjson.loads(body))
    assert problem.value.status == 422
    assert [(fault["index"], fault["field"]) for fault in problem.value.errors] == [(index, field)]


def write_truncated(topics: FakeTopics, value: bytes) -> None:
    """Write a record, and a dead letter that holds only the first 3 bytes of its value."""
    record = topics.write("authorize", None, value, 5.0)
    letter = replace_fields(topics.park(record, 5.0), original_bytes=len(value), kept_bytes=3)
    topics.records[-1].value = value[:3]
    topics.records[-1].headers = [(DEAD_LETTER, encode(letter))]


@pytest.mark.field(32)
async def test_a_truncated_dead_letter_is_redriven_from_its_original(make_harness: MakeHarness) -> None:
    harness = make_harness(lambda topics: write_truncated(topics, b"\xff" * 1000))
    assert (await harness.redrive(filter={}))["count"] == 1
    (message,) = harness.sent
    assert (message.topic, message.value) == ("authorize", b"\xff" * 1000)


@pytest.mark.field(32)
@pytest.mark.parametrize("loss", ["deleted", "recreated"])
async def test_a_truncated_dead_letter_without_its_original_is_not_sent(make_harness: MakeHarness, loss: str) -> None:
    harness = make_harness(lambda topics: write_truncated(topics, b"\xff" * 1000))
    original = harness.topics.records[0]
    if loss == "deleted":
        harness.topics.records.remove(original)
    else:
        original.value = b"another record at the same offset"
    answer = await harness.redrive(filter={})
    assert answer["left_out"] == {"stored truncated, and its original is no longer in Kafka": 1}
    assert harness.sent == []


@pytest.mark.field(32)
async def test_a_saga_whose_row_is_too_large_is_redriven_from_its_record(make_harness: MakeHarness) -> None:
    def setup(topics: FakeTopics) -> None:
        topics.run_saga("ada", steps=1)
        request = topics.records[-2]
        letter = replace_fields(topics.park(request, 5.0), refused_by=ROWS_CHANGELOG)
        topics.records[-1].headers = [(DEAD_LETTER, encode(letter))]

    harness = make_harness(setup)
    assert (await harness.redrive(ids=["ada"]))["count"] == 1
    (message,) = harness.sent
    assert (message.topic, message.key) == ("authorize", b"ada")
