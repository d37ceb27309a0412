"""The loop of a step: whatever comes in, something comes out, and the worker goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import time
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from saga_app.saga import machine
from saga_app.saga.messages import (
    DEAD_LETTER,
    DLQ,
    SIGNALS,
    DeadLetter,
    Message,
    Row,
    Signal,
    Slip,
    Visit,
    Waiting,
    changed,
    decode,
    encode,
)
from saga_app.saga.messages import Effects as EffectsRow
from saga_app.saga.onboarding import MAIL, ONBOARDING
from saga_app.saga.retry import Deferred, Permanent, Transient
from saga_app.saga.times import epoch
from saga_app.service import metrics, policy
from saga_app.service.headers import headers_for
from saga_app.service.kafka.headroom import ChangelogRoom
from saga_app.service.memory.delayed_requests import record_of
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.onboarding_world import FilePolicy, MockStock, OnboardingWorld
from saga_app.service.record import RETRY_ATTEMPT
from saga_app.service.step import StepLoop
from saga_app.stream import Fenced, partition_of
from tests.builders import at, journey
from tests.fakes.record import FakeRecord

PARTITIONS = 12
ASKED = b'{"v":1,"id":"ada","user":{"name":"Ada","email":"ada@example.com","department":"Sales"}}'


@dataclass
class Sent:
    """A receipt that keeps what was sent."""

    messages: list[tuple[str, bytes | None, bytes | None, Any]] = field(default_factory=list)

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None) -> None:
        self.messages.append((topic, key, value, headers))

    async def acknowledged(self) -> None:
        """All of it is acknowledged."""

    @property
    def topics(self) -> list[str]:
        return [message[0] for message in self.messages]


class Rowbook:
    """A table in a dict."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, bytes], bytes] = {}

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.held.get((partition, key))

    def write(self, _receipt: Any, partition: int, key: bytes, value: bytes | None) -> None:
        assert value is not None
        self.held[partition, key] = value

    async def owned(self) -> None:
        """It is."""

    @asynccontextmanager
    async def locked(self, _partition: int, _key: bytes) -> AsyncIterator[None]:
        yield

    def row(self, id: str) -> Row:
        return decode(Row, self.held[partition_of(id.encode(), PARTITIONS), id.encode()])


class Mail:
    """Fails so often, then says what it says."""

    def __init__(self, failures: int = 0, error: Exception | None = None, refused: str | None = None) -> None:
        self.failures, self.error, self.refused = failures, error or Transient("timed out"), refused

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        return self.refused


def world(mail: Any = None) -> OnboardingWorld:
    departments = policy.load()
    return OnboardingWorld(MockStock(departments), FilePolicy(departments), mail or Mail())


def handle(topic: str, value: bytes | None, **about: Any) -> tuple[Sent, Rowbook]:
    """One record through the loop of its topic."""
    step, sent, table = ONBOARDING.on(topic), about.get("sent") or Sent(), about.get("table") or Rowbook()
    assert step is not None
    rows = Rows(table) if step.service == "provisioner" else None
    effects = Effects(table) if step.service != "provisioner" else None
    loop = StepLoop(ONBOARDING, step, world(about.get("mail")), PARTITIONS, rows, effects)
    partition = about.get("partition", partition_of(b"ada", PARTITIONS))
    offset, headers = about.get("offset", 7), about.get("headers", [])
    written_at = about.get("timestamp", 1_700_000_000_000)
    record = FakeRecord(topic, partition, offset, written_at, about.get("key", b"ada"), value, headers)
    asyncio.run(to_the_end(loop, sent, record))
    return sent, table


async def to_the_end(loop: StepLoop, sent: Sent, record: FakeRecord) -> None:
    """As often as it wants; nobody waits in between."""
    later = await loop.handle(sent, None, record)
    while later is not None:
        later = await loop.handle(sent, None, record, later.state)


def on(topic: str) -> bytes:
    """The message of Ada's saga on a topic."""
    return encode(dict(stop for stop in journey() if isinstance(stop, tuple))[topic])


def remembered(table: Rowbook) -> EffectsRow:
    """The row of Ada's saga in the table `effects`."""
    return decode(EffectsRow, table.held[partition_of(b"ada", PARTITIONS), b"ada"])


def entry_of(table: Rowbook, step: str = "notify") -> Waiting | None:
    """The request that waits outside its partition."""
    return remembered(table).waiting.get(step)


def again(table: Rowbook, mail: Mail, entry: Waiting | None = None, **about: Any) -> tuple[Sent, Rowbook]:
    """The attempt that is due: the request is published again."""
    waiting = entry or entry_of(table)
    assert waiting is not None
    value, headers = record_of(waiting)
    return handle("notify", value, headers=headers, mail=mail, table=table, **about)


def test_a_new_user_gets_a_device_a_row_and_a_request_to_the_authorizer() -> None:
    sent, table = handle("new-user", ASKED)
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
def test_a_new_user_who_would_get_a_422_is_parked_with_the_same_reason(old: str, new: str, reason: str) -> None:
    sent, table = handle("new-user", ASKED.decode().replace(f'"{old}"', f'"{new}"').encode())
    assert sent.topics == [DLQ]
    assert decode(DeadLetter, dict(sent.messages[0][3])[DEAD_LETTER]).reason.startswith(reason)
    assert not table.held


@pytest.mark.field(7)
def test_a_user_is_cleaned_before_the_saga_begins() -> None:
    sent, table = handle("new-user", ASKED.decode().replace('"Ada"', '"\u202eAda\u200b "').encode())
    assert decode(Message, sent.messages[0][2]).user.name == table.row("ada").user.name == "Ada"
    again, _ = handle("new-user", ASKED.decode().replace('"Ada"', '"\u202eAda\u200b "').encode(), table=table)
    assert again.topics == ["authorize"], "a redelivered record is the same request"


def test_the_embedded_broker_refuses_new_users_before_it_drops_anything() -> None:
    room = ChangelogRoom(PARTITIONS)
    row = handle("new-user", ASKED)[1].row("ada")
    taken = 0
    while room.refusal(1) is None:
        row = replace(row, id=f"u{taken}", state="completed")
        for _ in range(3):  # as many rows as a saga writes
            room.row_written(partition_of(row.id.encode(), PARTITIONS), row, encode(row))
        taken += 1
        assert room.capacity.fill < 1
    assert taken > 5_000
    assert "silently drops" in (room.refusal(1) or "")


def test_a_record_that_is_delivered_again_sends_the_same_request_again() -> None:
    first, table = handle("new-user", ASKED)
    again, _ = handle("new-user", ASKED, table=table)
    assert again.topics == ["authorize"]
    assert dict(again.messages[0][3])["ce_id"] == dict(first.messages[0][3])["ce_id"]


def test_a_second_request_for_the_same_user_does_nothing() -> None:
    _, table = handle("new-user", ASKED)
    again, _ = handle("new-user", ASKED, table=table, offset=8)
    assert again.topics == []


@pytest.mark.field(28)
@pytest.mark.parametrize(
    ("value", "state", "reason", "level"),
    [
        (ASKED, "running", "repeated", "debug"),
        (ASKED, "rolled-back", "repeated", "info"),
        (ASKED.replace(b"Ada", b"Bob"), "running", "id-taken", "info"),
    ],
)
def test_a_second_request_is_logged_with_its_reason_and_counted(
    value: bytes, state: Any, reason: str, level: str, now: Callable[[str], None]
) -> None:
    _, table = handle("new-user", ASKED)
    partition = partition_of(b"ada", PARTITIONS)
    table.held[partition, b"ada"] = encode(changed(table.row("ada"), state=state))
    counted = metrics.SECOND_REQUESTS.labels(reason)._value.get()
    with capture_logs() as logs:
        handle("new-user", ASKED, table=table)
        again, _ = handle("new-user", value, table=table, offset=8)
    (line,) = [line for line in logs if line["event"].startswith("second request")]
    assert (line["saga"], line["reason"], line["state"], again.topics) == ("ada", reason, state, [])
    assert line["log_level"] == level
    assert metrics.SECOND_REQUESTS.labels(reason)._value.get() == counted + 1
    now(f"{level}: {line['event']}, reason {line['reason']}, {state}")


def test_the_last_message_completes_the_row_and_sends_nothing() -> None:
    sent, table = handle("notified", on("notified"))
    assert sent.topics == []
    assert table.row("ada").state == "completed"


@pytest.mark.parametrize("key", [None, b"ada", b"somebody else"])
def test_a_message_on_a_wrong_partition_is_sent_on_as_it_is_and_not_worked_on(key: bytes | None) -> None:
    wrong = (partition_of(b"ada", PARTITIONS) + 1) % PARTITIONS
    sent, table = handle("new-user", ASKED, partition=wrong, key=key, headers=[("x", b"y")])
    assert sent.messages == [("new-user", b"ada", ASKED, [("x", b"y")])]
    assert table.held == {}


GARBAGE = [
    (None, "no value"),
    (b"\xff\x00", "not JSON"),
    (b'{"v":1,"id":7}', "id: Input should be a valid string"),
    (ASKED.replace(b'"v":1', b'"v":9'), "unknown version"),
    (b"x" * 1_000_000, "not JSON"),
    (ASKED[:-1] + b',"attempt":100000000000000000000}', "attempt: Input should be less than"),
    (ASKED[:-1] + b',"facts":{"n":100000000000000000000}}', "facts: cannot be serialized"),
]


@pytest.mark.parametrize(("value", "says"), GARBAGE)
@pytest.mark.parametrize("topic", ONBOARDING.topics)
def test_garbage_of_every_kind_goes_to_the_dlq_with_its_bytes_and_its_reason(
    topic: str, value: bytes, says: str
) -> None:
    sent, table = handle(topic, value, key=b"k", headers=[("x", b"y")])
    [(to, key, kept, headers)] = sent.messages
    letter = decode(DeadLetter, dict(headers)[DEAD_LETTER])
    assert letter.id == ("ada" if b'"ada"' in (value or b"") else "k")
    assert (to, key, kept) == (DLQ, letter.id.encode(), value)
    assert says in letter.reason
    assert (letter.topic, letter.offset, letter.error) == (topic, 7, "BadMessage")
    assert dict(headers)["x"] == b"y"
    assert table.held == {}


def test_a_slip_that_names_an_unknown_topic_goes_to_the_dlq() -> None:
    forged = orjson.loads(on("authorize"))
    forged["slip"]["ahead"] = ["nowhere"]
    sent, _ = handle("authorize", orjson.dumps(forged))
    assert sent.topics == [DLQ]
    assert "unknown topic nowhere" in decode(DeadLetter, dict(sent.messages[0][3])[DEAD_LETTER]).reason


def test_a_step_that_is_asked_without_a_slip_says_so() -> None:
    sent, _ = handle("notify", ASKED)
    assert "slip: missing" in decode(DeadLetter, dict(sent.messages[0][3])[DEAD_LETTER]).reason


def test_a_mail_server_that_comes_back_costs_two_signals_and_the_saga_goes_on() -> None:
    sent, _ = handle("notify", on("notify"), mail=Mail(failures=2))
    assert sent.topics == [SIGNALS, SIGNALS, "notified"]
    assert decode(Message, sent.messages[-1][2]).history[-1].attempts == 3


def test_a_mail_server_that_stays_away_parks_the_saga_under_its_id() -> None:
    sent, table = handle("notify", on("notify"), mail=Mail(failures=99))
    topics = sent.topics
    while entry_of(table):
        sent, _ = again(table, Mail(failures=99))
        topics += sent.topics
    assert topics == [SIGNALS] * (MAIL.attempts - 1) + [DLQ]
    letter = decode(DeadLetter, dict(sent.messages[-1][3])[DEAD_LETTER])
    assert (letter.id, letter.attempts, letter.error) == ("ada", MAIL.attempts, "Transient")
    assert letter.reason == "timed out"
    assert sent.messages[-1][1:3] == (b"ada", on("notify"))
    assert RETRY_ATTEMPT not in dict(sent.messages[-1][3])


@pytest.mark.parametrize("error", [Permanent("gone"), KeyError("a bug")])
def test_what_will_never_work_and_what_is_a_bug_is_parked_at_once(error: Exception) -> None:
    sent, _ = handle("notify", on("notify"), mail=Mail(failures=99, error=error))
    assert sent.topics == [DLQ]


def test_a_refused_mail_turns_the_saga_round() -> None:
    sent, _ = handle("notify", on("notify"), mail=Mail(refused="550 no such user"))
    assert sent.topics == ["revoke"]


def test_the_trace_context_of_the_client_is_carried_on_and_made_when_there_is_none() -> None:
    theirs = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", b"a=1")]
    headers = dict(handle("new-user", ASKED, headers=theirs)[0].messages[0][3])
    assert headers["traceparent"].startswith(b"00-0af7651916cd43dd8448eb211c80319c-")
    assert headers["tracestate"] == b"a=1"
    ours = dict(headers_for(decode(Message, ASKED), "authorize", "provisioner", at(0)))["traceparent"]
    assert len(ours) == 55


def test_a_mail_is_sent_once_though_its_request_comes_twice_and_the_answer_is_the_same() -> None:
    mail = Mail()
    first, table = handle("notify", on("notify"), mail=mail)
    again, _ = handle("notify", on("notify"), mail=Mail(error=Permanent("a second mail"), failures=1), table=table)
    assert again.topics == first.topics == ["notified"]
    assert again.messages[0][2] == first.messages[0][2]


def turned(topic: str) -> bytes:
    """The request of an undo, after an operator has turned Ada's saga round."""
    request = decode(Message, on("authorize"))
    line = replace(request.history[0], step="authorize", outcome="cancelled", reason="cancelled by ana")
    return encode(replace(request, history=[*request.history, line], slip=Slip(["deprovision"], [], undoing=True)))


@pytest.mark.parametrize(("undo", "step"), [("revoke", "authorize"), ("retract", "notify")])
def test_an_undo_that_comes_before_its_step_keeps_the_step_from_acting(undo: str, step: str) -> None:
    undone, table = handle(undo, turned(undo))
    late, _ = handle(step, on(step), mail=Mail(error=Permanent("a mail after the rollback"), failures=1), table=table)
    assert undone.topics == ["deprovision"]
    assert late.topics == []


def test_the_follow_up_mail_goes_only_to_whom_the_first_may_have_gone() -> None:
    nobody = Mail(error=Permanent("nobody knows of this"), failures=1)
    assert "nothing to compensate" in (undo_line(handle("retract", turned("retract"), mail=nobody)[0]).reason or "")
    _, sent_to = handle("notify", on("notify"))
    _, unknown = handle("notify", on("notify"), mail=Mail(error=Permanent("it has died"), failures=1))
    for sent in (
        handle("retract", turned("retract"), mail=(certain := Mail()), table=sent_to)[0],
        handle("retract", turned("retract"), mail=(perhaps := Mail()), table=unknown)[0],
    ):
        assert (undo_line(sent).outcome, undo_line(sent).reason) == ("done", None)
    assert certain.failures == perhaps.failures == -1, "each was asked to send one mail"


def undo_line(sent: Sent) -> Visit:
    """What an undo adds to the history."""
    return decode(Message, sent.messages[-1][2]).history[-1]


def test_what_is_remembered_and_cannot_be_read_parks_the_saga_and_does_nothing_twice() -> None:
    table = Rowbook()
    table.held[partition_of(b"ada", PARTITIONS), b"ada"] = b"?"
    sent, _ = handle("notify", on("notify"), table=table)
    assert sent.topics == [DLQ]


def test_a_step_that_was_turned_round_while_it_acted_sends_nothing_on() -> None:
    table = Rowbook()
    rows = Rows(table)

    outside = world()
    assign = outside.stock.assign

    async def turn_and_assign(key: str, department: str) -> str:
        await asyncio.sleep(0)  # what does not wait leaves no time for it
        row = table.row("ada")
        order = Signal(1, "ada", "onboarding", "cancelled", row.step, "provisioner", at(5), by="ana")
        turn = machine.apply_operator_signal(ONBOARDING, row, order)
        assert turn is not None
        rows.join(Sent(), partition_of(b"ada", PARTITIONS), turn.row)
        return await assign(key, department)

    outside.stock.assign = turn_and_assign  # type: ignore[method-assign]
    sent = Sent()
    loop = StepLoop(ONBOARDING, ONBOARDING.steps[0], outside, PARTITIONS, rows)
    record = FakeRecord("new-user", partition_of(b"ada", PARTITIONS), 7, 1_700_000_000_000, b"ada", ASKED)
    asyncio.run(loop.handle(sent, None, record))
    assert sent.topics == []
    assert table.row("ada").state == "rolling-back"


def test_a_worker_that_does_not_own_the_saga_any_more_sends_no_mail_and_parks_nothing() -> None:
    class Frozen(Rowbook):
        async def owned(self) -> None:
            raise Fenced("it was frozen for too long")

    mail = Mail()
    with pytest.raises(Fenced):
        handle("notify", on("notify"), mail=mail, table=Frozen())
    assert mail.failures == 0, "it was not asked"


@pytest.mark.field(2, 3)
@pytest.mark.parametrize("timestamp", [253_402_300_800_000, -1, 0, 2**63 - 1, -(2**63)])
def test_a_saga_starts_now_when_its_record_has_no_time(timestamp: int, now: Any) -> None:
    sent, table = handle("new-user", ASKED, timestamp=timestamp)
    assert sent.topics == ["authorize"]
    row, message = table.row("ada"), decode(Message, sent.messages[0][2])
    assert row.started_at == message.started_at
    assert 0 <= epoch(row.updated_at) - epoch(row.started_at) < 60
    assert abs(time() - epoch(row.started_at)) < 60
    now("starts now")


@pytest.mark.field(3)
@pytest.mark.parametrize("ahead", [7200.0, 172_800.0, 1e9])
def test_what_the_provisioner_takes_every_later_step_takes(ahead: float, now: Any) -> None:
    sent, table = handle("new-user", ASKED, timestamp=int((time() + ahead) * 1000))
    for topic in ("authorize", "notify", "notified"):
        assert sent.topics == [topic]
        sent, table = handle(topic, sent.messages[0][2], table=table if topic == "notified" else None)
    assert sent.topics == []


@pytest.mark.field(3)
def test_a_request_to_a_later_step_from_the_future_completes_now() -> None:
    message = replace(decode(Message, on("notified")), started_at="9999-12-31T23:59:59.999Z")
    row = handle("notified", encode(message))[1].row("ada")
    assert row.state == "completed"
    assert row.started_at <= (row.ended_at or "")
    assert abs(time() - epoch(row.ended_at or "")) < 60


def test_one_saga_has_one_start_however_often_its_request_is_read() -> None:
    _, table = handle("new-user", ASKED, timestamp=-1)
    began = table.row("ada").started_at
    table.held = {
        place: encode(replace(decode(Row, row), history=[], step="provision")) for place, row in table.held.items()
    }
    again, table = handle("new-user", ASKED, timestamp=-1, table=table)
    assert decode(Message, again.messages[0][2]).started_at == table.row("ada").started_at == began


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
def test_a_dead_letter_names_its_saga_if_anything_does(value: bytes | None, key: bytes | None, id: str | None) -> None:
    sent, _ = handle("authorize", value, key=key)
    [(topic, sent_key, kept, headers)] = sent.messages
    assert (topic, kept) == (DLQ, value)
    assert decode(DeadLetter, dict(headers)[DEAD_LETTER]).id == id
    assert sent_key == (id.encode() if id else key)


def test_a_slip_that_ends_where_nobody_can_note_it_is_parked() -> None:
    message = orjson.loads(on("authorize"))
    message["slip"] = {"ahead": [], "back": [], "undoing": False}
    sent, _ = handle("authorize", orjson.dumps(message))
    assert sent.topics == [DLQ]
    letter = decode(DeadLetter, dict(sent.messages[0][3])[DEAD_LETTER])
    assert (letter.id, letter.error) == ("ada", "BadMessage")


def test_the_row_of_another_saga_under_its_key_does_not_absorb_a_request() -> None:
    table = Rowbook()
    bob = handle("new-user", ASKED.replace(b'"ada"', b'"bob"'), partition=partition_of(b"bob", PARTITIONS))[1].row(
        "bob"
    )
    table.held[partition_of(b"ada", PARTITIONS), b"ada"] = encode(bob)
    sent, table = handle("new-user", ASKED, table=table)
    assert sent.topics == ["authorize"]
    assert table.row("ada").id == "ada"


def greylisted(failures: int = 99) -> Mail:
    """A server that defers so many attempts."""
    return Mail(failures=failures, error=Deferred("451 try again later"))


def deferred() -> Rowbook:
    """Ada's mail was deferred, and its request waits outside its partition."""
    sent, table = handle(
        "notify", on("notify"), mail=greylisted(), headers=[("traceparent", TRACE), ("x", b"\xff\x00")]
    )
    assert sent.topics == [SIGNALS] * 5
    return table


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.field(11)
def test_a_request_that_waits_outside_its_partition_is_published_again_as_it_was() -> None:
    entry = entry_of(deferred())
    assert entry is not None
    value, headers = record_of(entry)
    assert value == on("notify")
    assert headers == [("traceparent", TRACE), ("x", b"\xff\x00"), (RETRY_ATTEMPT, b"6")]


@pytest.mark.field(11)
def test_the_attempts_go_on_where_they_were_and_the_entry_is_gone_with_the_answer() -> None:
    sent, table = again(deferred(), greylisted(failures=1))
    assert sent.topics == [SIGNALS]
    assert decode(Signal, sent.messages[0][2]).attempt == 6
    sent, _ = again(table, Mail())
    assert sent.topics == ["notified"]
    assert decode(Message, sent.messages[0][2]).history[-1].attempts == 7
    assert entry_of(table) is None
    assert dict(sent.messages[0][3])["traceparent"].split(b"-")[1] == TRACE.split(b"-")[1], "the same trace goes on"


@pytest.mark.field(11)
def test_duplicates_of_a_request_that_waits_do_nothing() -> None:
    table = deferred()
    original, _ = handle("notify", on("notify"), mail=Mail(), table=table)
    older = entry_of(table)
    assert again(table, greylisted(failures=1))[0].topics == [SIGNALS]
    stale, _ = again(table, Mail(), older)
    assert (original.topics, stale.topics) == ([], [])
    assert again(table, Mail())[0].topics == ["notified"]
    late, _ = again(table, Mail(failures=1, error=Permanent("a second mail")), older)
    assert late.topics == ["notified"], "the answer is sent once more, the mail is not"


@pytest.mark.field(11)
def test_a_publication_that_comes_after_its_saga_was_parked_does_nothing() -> None:
    table = deferred()
    entry = entry_of(table)
    assert again(table, Mail(failures=1, error=Permanent("gone")))[0].topics == [DLQ]
    assert entry_of(table) is None
    assert again(table, Mail(), entry)[0].topics == []


@pytest.mark.field(11)
def test_an_undo_ends_the_wait_and_a_user_who_certainly_got_no_mail_gets_no_follow_up() -> None:
    table = deferred()
    entry = entry_of(table)
    sent, _ = handle("retract", turned("retract"), mail=Mail(failures=1, error=Permanent("a mail")), table=table)
    assert "nothing to compensate" in (undo_line(sent).reason or "")
    assert entry_of(table) is None
    assert again(table, Mail(), entry)[0].topics == []


@pytest.mark.field(11)
def test_a_user_who_may_have_got_the_mail_is_told_that_it_is_void_though_its_request_waits() -> None:
    sent, table = handle("notify", on("notify"), mail=Mail(failures=99))
    assert sent.topics == [SIGNALS] * 5
    sent, _ = handle("retract", turned("retract"), mail=(mail := Mail()), table=table)
    assert (mail.failures, undo_line(sent).outcome, undo_line(sent).reason) == (-1, "done", None)


@pytest.mark.field(11)
def test_a_user_whose_mail_was_deferred_until_it_was_parked_gets_no_follow_up() -> None:
    table = deferred()
    while entry_of(table):
        again(table, greylisted())
    sent, _ = handle("retract", turned("retract"), mail=Mail(failures=1, error=Permanent("a mail")), table=table)
    assert "nothing to compensate" in (undo_line(sent).reason or "")


@pytest.mark.field(11)
def test_a_redrive_begins_with_the_first_attempt_whatever_waits() -> None:
    table = deferred()
    redriven = replace(decode(Message, on("notify")), attempt=2)
    sent, _ = handle("notify", encode(redriven), mail=greylisted(failures=1), table=table)
    assert sent.topics == [SIGNALS, "notified"]
    assert decode(Signal, sent.messages[0][2]).attempt == 1
    assert entry_of(table) is None


@pytest.mark.field(11)
@pytest.mark.parametrize("error", [Deferred("451"), Permanent("gone")])
def test_a_crash_before_the_acknowledgement_of_what_follows_leaves_the_request_waiting(error: Exception) -> None:
    class Unacknowledged(Sent):
        async def acknowledged(self) -> None:
            if DLQ in self.topics or SIGNALS in self.topics:
                raise ConnectionError("killed")

    table = deferred()
    entry = entry_of(table)
    with pytest.raises(ConnectionError):
        again(table, Mail(failures=1, error=error), sent=Unacknowledged())
    assert entry_of(table) == entry
    assert again(table, Mail())[0].topics == ["notified"], "its record comes again"


@pytest.mark.parametrize("value", [b"\xff", b"", b"-1", b"1.5", b"9" * 5000, "٣".encode(), None])
def test_a_header_of_ours_that_holds_no_attempt_is_ignored(value: bytes | None) -> None:
    sent, _ = handle("notify", on("notify"), headers=[(RETRY_ATTEMPT, value)])
    assert sent.topics == ["notified"]


def test_a_row_of_a_release_without_waiting_requests_is_read() -> None:
    assert decode(EffectsRow, b'{"v":1,"id":"ada","undone":["notify"]}').waiting == {}
