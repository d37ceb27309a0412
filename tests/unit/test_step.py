"""The step loop: each record leads to a request, a saga row or a dead letter, and effects happen once."""

import asyncio
from collections.abc import Callable
from time import time

import orjson
import pytest
from structlog.testing import capture_logs

from saga_app.saga import operator_signals
from saga_app.saga.codec import decode, encode, replace_fields
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Message, Row, Signal, Visit
from saga_app.saga.onboarding import MAIL, ONBOARDING
from saga_app.saga.retry import Permanent
from saga_app.saga.states import State
from saga_app.saga.times import between, utc
from saga_app.service import metrics
from saga_app.service.headers import headers_for
from saga_app.service.kafka.headroom import ChangelogRoom
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.record import RETRY_ATTEMPT
from saga_app.service.step import StepLoop
from saga_app.stream import Fenced, partition_of
from tests.builders import START, at, request_to
from tests.fakes.record import FakeRecord
from tests.unit.step_harness import (
    ADAS_PARTITION,
    NEW_USER_REQUEST,
    PARTITIONS,
    TRACEPARENT,
    FakeMail,
    FakeRows,
    SentMessages,
    compensation_value,
    dead_letter_in,
    effects_row,
    fake_world,
    handle_record,
    last_visit,
    republish,
    value_on,
    waiting_request,
)


def test_a_new_user_gets_a_device_a_row_and_a_request_to_the_authorizer() -> None:
    sent, table = handle_record("new-user", NEW_USER_REQUEST)
    assert sent.topics == ["authorize"]
    assert decode(Message, sent.messages[0][2]).facts["device_id"].startswith("TB-")
    assert (table.row("ada").state, table.row("ada").step) == ("running", "authorize")


@pytest.mark.field(7, 8)
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Ada", "\u200b\u3164", "user.name: has no visible character"),
        (
            "ada@example.com",
            ".x@example.com",
            "user.email: is not a valid e-mail address: an email address cannot",
        ),
        ("Sales", "Sa\u200bles", "user.department: has an invisible character inside (ZERO WIDTH SPACE)"),
    ],
)
def test_users_that_http_refuses_are_parked_with_the_same_reason(old: str, new: str, reason: str) -> None:
    sent, table = handle_record("new-user", NEW_USER_REQUEST.decode().replace(f'"{old}"', f'"{new}"').encode())
    assert sent.topics == [DLQ]
    assert dead_letter_in(sent).reason.startswith(reason)
    assert not table.stored


@pytest.mark.field(7)
def test_user_fields_are_cleaned_before_the_saga_begins() -> None:
    request = NEW_USER_REQUEST.decode().replace('"Ada"', '"\u202eAda\u200b "').encode()
    sent, table = handle_record("new-user", request)
    assert decode(Message, sent.messages[0][2]).user.name == table.row("ada").user.name == "Ada"
    again, _ = handle_record("new-user", request, table=table)
    assert again.topics == ["authorize"], "a redelivered record was taken for a second request"


def test_new_users_are_refused_before_the_embedded_broker_drops_records() -> None:
    room = ChangelogRoom(PARTITIONS)
    row = handle_record("new-user", NEW_USER_REQUEST)[1].row("ada")
    accepted = 0
    while room.refusal(1) is None:
        row = replace_fields(row, id=f"u{accepted}", state="completed")
        for _ in range(3):  # as many rows as a saga writes
            room.row_written(partition_of(row.id.encode(), PARTITIONS), row, encode(row))
        accepted += 1
        assert room.capacity.fill < 1
    assert accepted > 5_000
    assert "silently drops" in (room.refusal(1) or "")


def test_a_redelivered_record_sends_the_same_request_again() -> None:
    first, table = handle_record("new-user", NEW_USER_REQUEST)
    again, _ = handle_record("new-user", NEW_USER_REQUEST, table=table)
    assert again.topics == ["authorize"]
    assert dict(again.messages[0][3])["ce_id"] == dict(first.messages[0][3])["ce_id"]


def test_a_second_request_for_the_same_user_sends_nothing() -> None:
    _, table = handle_record("new-user", NEW_USER_REQUEST)
    again, _ = handle_record("new-user", NEW_USER_REQUEST, table=table, offset=8)
    assert again.topics == []


@pytest.mark.field(28)
@pytest.mark.parametrize(
    ("value", "state", "reason", "level"),
    [
        (NEW_USER_REQUEST, "running", "repeated", "debug"),
        (NEW_USER_REQUEST, "rolled-back", "repeated", "info"),
        (NEW_USER_REQUEST.replace(b"Ada", b"Bob"), "running", "id-taken", "info"),
    ],
)
def test_a_second_request_is_logged_with_its_reason_and_counted(
    value: bytes, state: State, reason: str, level: str, now: Callable[[str], None]
) -> None:
    _, table = handle_record("new-user", NEW_USER_REQUEST)
    table.stored[ADAS_PARTITION, b"ada"] = encode(replace_fields(table.row("ada"), state=state))
    counted = metrics.SECOND_REQUESTS.labels(reason)._value.get()
    with capture_logs() as logs:
        handle_record("new-user", NEW_USER_REQUEST, table=table)
        again, _ = handle_record("new-user", value, table=table, offset=8)
    (line,) = [line for line in logs if line["event"].startswith("second request")]
    assert (line["saga"], line["reason"], line["state"], again.topics) == ("ada", reason, state, [])
    assert line["log_level"] == level
    assert metrics.SECOND_REQUESTS.labels(reason)._value.get() == counted + 1
    now(f"{level}: {line['event']}, reason {line['reason']}, {state}")


def test_the_last_message_completes_the_row_and_sends_nothing() -> None:
    sent, table = handle_record("notified", value_on("notified"))
    assert sent.topics == []
    assert table.row("ada").state == "completed"


@pytest.mark.parametrize("key", [None, b"ada", b"bob"])
def test_a_message_on_a_wrong_partition_is_forwarded_unprocessed(key: bytes | None) -> None:
    wrong = (ADAS_PARTITION + 1) % PARTITIONS
    sent, table = handle_record("new-user", NEW_USER_REQUEST, partition=wrong, key=key, headers=[("x", b"y")])
    assert sent.messages == [("new-user", b"ada", NEW_USER_REQUEST, [("x", b"y")])]
    assert table.stored == {}


INVALID_VALUES: list[tuple[bytes | None, str]] = [
    (None, "no value"),
    (b"\xff\x00", "not JSON"),
    (b'{"v":1,"id":7}', "id: is not a string"),
    (NEW_USER_REQUEST.replace(b'"v":1', b'"v":9'), "unknown version"),
    (b"x" * 1_000_000, "not JSON"),
    (NEW_USER_REQUEST[:-1] + b',"attempt":100000000000000000000}', "attempt: expected int"),
    (NEW_USER_REQUEST[:-1] + b',"facts":[]}', "facts: is not an object"),
]


@pytest.mark.parametrize(("value", "reason"), INVALID_VALUES)
@pytest.mark.parametrize("topic", ONBOARDING.topics)
def test_invalid_records_become_dead_letters_with_their_bytes_and_reason(
    topic: str, value: bytes | None, reason: str
) -> None:
    sent, table = handle_record(topic, value, key=b"k", headers=[("x", b"y")])
    [(to, key, kept, headers)] = sent.messages
    letter = decode(DeadLetter, dict(headers)[DEAD_LETTER])
    assert letter.id == ("ada" if b'"ada"' in (value or b"") else "k")
    assert (to, key, kept) == (DLQ, letter.id.encode(), value)
    assert reason in letter.reason
    assert (letter.topic, letter.offset, letter.error) == (topic, 7, "BadMessage")
    assert dict(headers)["x"] == b"y"
    assert table.stored == {}


def test_a_slip_with_an_unknown_topic_becomes_a_dead_letter() -> None:
    forged = orjson.loads(value_on("authorize"))
    forged["slip"]["ahead"] = ["nowhere"]
    sent, _ = handle_record("authorize", orjson.dumps(forged))
    assert sent.topics == [DLQ]
    assert "unknown topic nowhere" in dead_letter_in(sent).reason


def test_a_request_without_a_slip_becomes_a_dead_letter() -> None:
    sent, _ = handle_record("notify", NEW_USER_REQUEST)
    assert "slip: missing" in dead_letter_in(sent).reason


def test_failed_attempts_are_signalled_and_the_saga_continues() -> None:
    sent, _ = handle_record("notify", value_on("notify"), mail=FakeMail(failures=2))
    assert sent.topics == [SIGNALS, SIGNALS, "notified"]
    assert decode(Message, sent.messages[-1][2]).history[-1].attempts == 3


def test_a_saga_is_parked_under_its_id_after_the_last_attempt() -> None:
    sent, table = handle_record("notify", value_on("notify"), mail=FakeMail(failures=99))
    topics = sent.topics
    while waiting_request(table):
        sent, _ = republish(table, FakeMail(failures=99))
        topics += sent.topics
    assert topics == [SIGNALS] * (MAIL.attempts - 1) + [DLQ]
    letter = decode(DeadLetter, dict(sent.messages[-1][3])[DEAD_LETTER])
    assert (letter.id, letter.attempts, letter.error) == ("ada", MAIL.attempts, "Transient")
    assert letter.reason == "timed out"
    assert sent.messages[-1][1:3] == (b"ada", value_on("notify"))
    assert RETRY_ATTEMPT not in dict(sent.messages[-1][3])


@pytest.mark.parametrize("error", [Permanent("gone"), KeyError("a bug")])
def test_permanent_errors_and_bugs_park_the_saga_without_a_retry(error: Exception) -> None:
    sent, _ = handle_record("notify", value_on("notify"), mail=FakeMail(failures=99, error=error))
    assert sent.topics == [DLQ]


def test_a_refused_mail_starts_the_rollback() -> None:
    sent, _ = handle_record("notify", value_on("notify"), mail=FakeMail(refused="550 no such user"))
    assert sent.topics == ["revoke"]


def test_the_clients_trace_context_is_continued_or_a_trace_is_started() -> None:
    theirs = [("traceparent", TRACEPARENT), ("tracestate", b"a=1")]
    headers = dict(handle_record("new-user", NEW_USER_REQUEST, headers=theirs)[0].messages[0][3])
    assert headers["traceparent"].startswith(b"00-0af7651916cd43dd8448eb211c80319c-")
    assert headers["tracestate"] == b"a=1"
    ours = dict(headers_for(decode(Message, NEW_USER_REQUEST), "authorize", "provisioner", at(0)))["traceparent"]
    assert len(ours) == 55


def test_a_duplicate_request_sends_no_second_mail_and_the_same_result() -> None:
    first, table = handle_record("notify", value_on("notify"))
    unused = FakeMail(error=Permanent("a second mail"), failures=1)
    again, _ = handle_record("notify", value_on("notify"), mail=unused, table=table)
    assert again.topics == first.topics == ["notified"]
    assert again.messages[0][2] == first.messages[0][2]


def test_results_of_an_idempotent_mailer_are_not_recorded() -> None:
    sent, table = handle_record("notify", value_on("notify"), mail=FakeMail(is_idempotent=True))
    assert (sent.topics, table.stored) == (["notified"], {})
    again, _ = handle_record("notify", value_on("notify"), mail=FakeMail(is_idempotent=True), table=table)
    assert again.topics == ["notified"]


def test_the_follow_up_of_an_idempotent_mailer_is_always_sent() -> None:
    mail = FakeMail(is_idempotent=True)
    sent, table = handle_record("retract", compensation_value(), mail=mail)
    assert mail.failures == -1
    assert last_visit(sent).reason is None
    assert effects_row(table).undone == ["notify"]


@pytest.mark.parametrize(("compensation", "step"), [("revoke", "authorize"), ("retract", "notify")])
def test_a_compensation_before_its_step_keeps_the_step_from_acting(compensation: str, step: str) -> None:
    compensated, table = handle_record(compensation, compensation_value())
    unused = FakeMail(error=Permanent("a mail after the rollback"), failures=1)
    late, _ = handle_record(step, value_on(step), mail=unused, table=table)
    assert compensated.topics == ["deprovision"]
    assert late.topics == []


def test_the_follow_up_is_sent_only_if_the_mail_may_have_been_sent() -> None:
    unused = FakeMail(error=Permanent("an unexpected mail"), failures=1)
    sent, _ = handle_record("retract", compensation_value(), mail=unused)
    assert "nothing to compensate" in (last_visit(sent).reason or "")
    _, mailed = handle_record("notify", value_on("notify"))
    _, uncertain = handle_record("notify", value_on("notify"), mail=FakeMail(error=Permanent("crashed"), failures=1))
    for table in (mailed, uncertain):
        mail = FakeMail()
        sent, _ = handle_record("retract", compensation_value(), mail=mail, table=table)
        assert (last_visit(sent).outcome, last_visit(sent).reason) == ("done", None)
        assert mail.failures == -1, "the compensation did not send exactly one mail"


def test_an_unreadable_effects_row_parks_the_saga() -> None:
    table = FakeRows()
    table.stored[ADAS_PARTITION, b"ada"] = b"?"
    sent, _ = handle_record("notify", value_on("notify"), table=table)
    assert sent.topics == [DLQ]


def test_a_step_cancelled_while_it_acts_sends_no_further_request() -> None:
    table = FakeRows()
    rows = Rows(table)
    world = fake_world()
    assign = world.stock.assign

    async def cancel_and_assign(key: str, department: str) -> str:
        await asyncio.sleep(0)
        row = table.row("ada")
        order = Signal(
            v=1, id="ada", saga="onboarding", kind="cancelled", step=row.step, service="provisioner", at=at(5), by="ana"
        )
        decision = operator_signals.apply_operator_signal(ONBOARDING, row, order)
        assert decision is not None
        rows.join(SentMessages(), ADAS_PARTITION, decision.row)
        return await assign(key, department)

    world.stock.assign = cancel_and_assign  # type: ignore[method-assign]
    sent = SentMessages()
    loop = StepLoop(ONBOARDING, ONBOARDING.steps[0], world, PARTITIONS, rows)
    record = FakeRecord("new-user", ADAS_PARTITION, 7, 1_700_000_000_000, b"ada", NEW_USER_REQUEST)
    asyncio.run(loop.handle(sent, None, record))
    assert sent.topics == []
    assert table.row("ada").state == "rolling-back"


def test_a_fenced_worker_sends_no_mail_and_parks_nothing() -> None:
    class FencedTable(FakeRows):
        async def wait_until_owned(self) -> None:
            raise Fenced("the lease has expired")

    mail = FakeMail()
    with pytest.raises(Fenced):
        handle_record("notify", value_on("notify"), mail=mail, table=FencedTable())
    assert mail.failures == 0, "a mail was sent"


@pytest.mark.field(2, 3)
@pytest.mark.parametrize("timestamp", [253_402_300_800_000, -1, 0, 2**63 - 1, -(2**63)])
def test_a_saga_starts_now_if_its_record_has_no_plausible_timestamp(timestamp: int, now: Callable[[str], None]) -> None:
    sent, table = handle_record("new-user", NEW_USER_REQUEST, timestamp=timestamp)
    assert sent.topics == ["authorize"]
    row, message = table.row("ada"), decode(Message, sent.messages[0][2])
    assert row.started_at == message.started_at
    assert 0 <= between(row.started_at, row.updated_at) < 60
    assert abs(time() - row.started_at.timestamp()) < 60
    now("starts now")


@pytest.mark.field(3)
@pytest.mark.parametrize("ahead", [7200.0, 172_800.0, 1e9])
def test_later_steps_accept_the_start_of_a_record_from_the_future(ahead: float) -> None:
    sent, table = handle_record("new-user", NEW_USER_REQUEST, timestamp=int((time() + ahead) * 1000))
    for topic in ("authorize", "notify", "notified"):
        assert sent.topics == [topic]
        sent, table = handle_record(topic, sent.messages[0][2], table=table if topic == "notified" else None)
    assert sent.topics == []


@pytest.mark.field(3)
def test_a_saga_with_a_start_in_the_future_completes_now() -> None:
    message = replace_fields(decode(Message, value_on("notified")), started_at=utc(253_402_300_799))
    row = handle_record("notified", encode(message))[1].row("ada")
    assert row.state == "completed"
    assert row.ended_at is not None
    assert row.started_at <= row.ended_at
    assert abs(time() - row.ended_at.timestamp()) < 60


def test_a_redelivered_request_keeps_the_start_of_its_saga() -> None:
    _, table = handle_record("new-user", NEW_USER_REQUEST, timestamp=-1)
    started_at = table.row("ada").started_at
    table.stored = {
        place: encode(replace_fields(decode(Row, row), history=[], step="provision"))
        for place, row in table.stored.items()
    }
    again, table = handle_record("new-user", NEW_USER_REQUEST, timestamp=-1, table=table)
    assert decode(Message, again.messages[0][2]).started_at == table.row("ada").started_at == started_at


@pytest.mark.field(3)
@pytest.mark.parametrize(
    ("value", "key", "id"),
    [
        (b'{"v":2,"id":"ada"}', b"bob", "ada"),
        (b'{"id":"..","v":2}', b"bob", "bob"),
        (b'{"id":7}', b"bob", "bob"),
        (b"\xff", b"bob", "bob"),
        (b'["ada"]', b"bob", "bob"),
        (b"\xff", b"\xff", None),
        (b"\xff", b"a/b", None),
        (b"\xff", None, None),
        (None, b"bob", "bob"),
        (b"[" * 100_000, b"bob", "bob"),
    ],
)
def test_a_dead_letter_names_its_saga_if_value_or_key_does(
    value: bytes | None, key: bytes | None, id: str | None
) -> None:
    sent, _ = handle_record("authorize", value, key=key)
    [(topic, sent_key, kept, headers)] = sent.messages
    assert (topic, kept) == (DLQ, value)
    assert decode(DeadLetter, dict(headers)[DEAD_LETTER]).id == id
    assert sent_key == (id.encode() if id else key)


def test_a_slip_that_ends_outside_the_provisioner_is_parked() -> None:
    message = orjson.loads(value_on("authorize"))
    message["slip"] = {"ahead": [], "back": [], "undoing": False}
    sent, _ = handle_record("authorize", orjson.dumps(message))
    assert sent.topics == [DLQ]
    letter = dead_letter_in(sent)
    assert (letter.id, letter.error) == ("ada", "BadMessage")


def test_the_row_of_another_saga_does_not_absorb_a_request() -> None:
    table = FakeRows()
    request = NEW_USER_REQUEST.replace(b'"ada"', b'"bob"')
    _, bobs_table = handle_record("new-user", request, partition=partition_of(b"bob", PARTITIONS))
    table.stored[ADAS_PARTITION, b"ada"] = encode(bobs_table.row("bob"))
    sent, table = handle_record("new-user", NEW_USER_REQUEST, table=table)
    assert sent.topics == ["authorize"]
    assert table.row("ada").id == "ada"


class TickingClock:
    """A clock that is a second later each time it is read."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def visits_of_a_run(mail: FakeMail, ids: tuple[str, ...] = ("ada", "bob")) -> list[Visit]:
    """The history entries of the mails to these users, whose requests were in one run of records."""
    world = fake_world(mail, TickingClock())
    loop, sent = StepLoop(ONBOARDING, ONBOARDING.steps[2], world, 1, Effects(FakeRows())), SentMessages()

    async def handle_all() -> None:
        for offset, id in enumerate(ids):
            value = encode(replace_fields(request_to("notify"), id=id))
            await loop.handle(sent, None, FakeRecord("notify", 0, offset, 0, id.encode(), value, []))

    asyncio.run(handle_all())
    return [decode(Message, value).history[-1] for topic, _key, value, _headers in sent.messages if topic == "notified"]


def test_records_of_a_run_that_need_not_wait_share_one_reading_of_the_clock() -> None:
    one, other = visits_of_a_run(FakeMail(is_idempotent=True))
    assert one.received_at == one.started_at == one.ended_at == other.received_at == other.ended_at


def test_a_record_that_waits_ends_at_the_current_time() -> None:
    class SlowMail(FakeMail):
        async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
            await asyncio.sleep(0)
            return None

    one, other = visits_of_a_run(SlowMail(is_idempotent=True))
    assert one.received_at == one.started_at == other.received_at
    assert one.started_at < one.ended_at < other.ended_at


def test_a_request_that_waits_for_another_of_its_saga_starts_after_it() -> None:
    first_may_end = asyncio.Event()

    class BlockedMail(FakeMail):
        async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
            await first_may_end.wait()
            raise Permanent("no such mailbox")

    world = fake_world(BlockedMail(is_idempotent=True), TickingClock())
    loop, sent = StepLoop(ONBOARDING, ONBOARDING.steps[2], world, 1, Effects(FakeRows())), SentMessages()
    records = [FakeRecord("notify", 0, n, 0, b"ada", value_on("notify"), []) for n in (1, 2)]

    async def handle_both() -> None:
        handling = [asyncio.ensure_future(loop.handle(sent, None, record)) for record in records]
        await asyncio.sleep(0)
        assert not sent.messages
        first_may_end.set()
        await asyncio.gather(*handling)

    asyncio.run(handle_both())
    letters = [decode(DeadLetter, dict(headers)[DEAD_LETTER]) for _topic, _key, _value, headers in sent.messages]
    assert [letter.offset for letter in letters] == [1, 2]
    assert letters[0].at < letters[1].at
