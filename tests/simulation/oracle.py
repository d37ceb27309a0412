"""The oracle: checks the state of every saga against logs, devices, grants and mails, independently of the services.

Each check takes one saga and yields a sentence for each violation.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga.codec import parse
from saga_app.saga.messages import DLQ, SIGNALS, Message, Parked, Row, Signal
from saga_app.saga.times import utc
from tests.fakes.record import FakeRecord
from tests.simulation.fake_world import FOLLOW_UP, WELCOME, Mail
from tests.simulation.system import NewUser, System

STEPS = ("provision", "authorize", "notify", "complete")
COMPENSATIONS = {"provision": "deprovision", "authorize": "revoke", "notify": "retract"}
TOPICS = {"provision": "new-user", "complete": "notified"}  #: of the steps whose topic has another name
COMPENSATIONS_IN_ORDER = ("retract", "revoke", "deprovision")
FINAL_STATES = ("completed", "rolled-back", "rollback-incomplete")


@dataclass(slots=True)
class Case:
    """One saga, as it appears in the topics and the external systems."""

    id: str
    system: System
    versions: list[tuple[FakeRecord, Row]] = field(default_factory=list)  #: all versions of its row, oldest first
    requests: list[tuple[FakeRecord, Message]] = field(default_factory=list)  #: without those on `new-user`
    dead_letters: list[Parked] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)  #: of operators

    @property
    def rows(self) -> list[Row]:
        return [row for _, row in self.versions]

    @property
    def last(self) -> Row:
        return self.versions[-1][1]

    @property
    def mail(self) -> Mail:
        return self.system.fake_world.mail

    @property
    def completed_steps(self) -> int:
        """The number of steps before the first that was not done."""
        outcomes = [line.outcome for line in self.last.history]
        return next((n for n, outcome in enumerate(outcomes) if outcome != "done"), len(outcomes))

    @property
    def compensated(self) -> set[str]:
        """The compensations that are done according to the row."""
        return {
            line.step for line in self.last.history if line.step in COMPENSATIONS_IN_ORDER and line.outcome == "done"
        }

    def mails_sent(self, step: str) -> int:
        return self.mail.sent[self.id, step]

    def allowed_repeats(self, step: str) -> int:
        return self.mail.allowed_repeats[self.id, step]


# -- checks whenever the system is idle


def check_idle(system: System, signals: list[Signal]) -> Iterator[str]:
    """Every saga has ended or is parked with a dead letter, and every record is committed.

    `signals`: all signals of the operators.
    """
    for group in system.groups:
        yield from group.uncommitted()
    letters = (parse(DLQ, record.value, record.headers) for record in _records_of(system, DLQ))
    ids_with_letter = {letter.letter.id for letter in letters if isinstance(letter, Parked)}
    for id in {user.id: None for user in system.requests}:
        row = system.row(id)
        if row is None:
            yield f"{id}: was requested, and has no row"
        elif row.state == "parked":
            yield from _check_parked(row, id in ids_with_letter, signals)
        elif row.state not in FINAL_STATES:
            yield f"{id}: is {row.state} at {row.step}, but the system is idle"


def _check_parked(row: Row, has_letter: bool, signals: list[Signal]) -> Iterator[str]:
    """A parked saga has a dead letter, and no operator signal that should have changed its state."""
    if not has_letter:
        yield f"{row.id}: is parked without a dead letter"
    for signal in signals:
        if (signal.id, signal.kind, signal.step, signal.attempt) == (row.id, "redriven", row.step, row.attempt + 1):
            yield f"{row.id}: is parked at attempt {row.attempt}, although {signal.by} has redriven it"
        if (signal.id, signal.kind) == (row.id, "cancelled"):
            yield f"{row.id}: is parked, although {signal.by} has rolled it back"


def _records_of(system: System, topic: str) -> Iterator[FakeRecord]:
    return (record for record in system.bus.records if record.topic == topic)


# -- checks at the end


def check_cases(system: System, cases: list[Case]) -> Iterator[str]:
    """All violations at the end of a run."""
    yield from _check_garbage(system)
    for case in cases:
        yield from (f"{case.id}: {violation}" for check in CHECKS for violation in check(case))


def collect_cases(system: System, signals: list[Signal]) -> list[Case]:
    """Every saga that has a row, with its records. `signals`: all signals of the operators."""
    cases = {user.id: Case(user.id, system) for user in system.requests}
    for record in system.bus.records:
        if (
            record.topic in EFFECTS_CHANGELOGS.values()
            or record.topic in ("new-user", SIGNALS)
            or _is_garbage(system, record)
        ):
            continue
        body = parse(record.topic, record.value, record.headers, ROWS_CHANGELOG)
        if isinstance(body, Row):
            cases[body.id].versions.append((record, body))
        elif isinstance(body, Message):
            cases[body.id].requests.append((record, body))
        elif isinstance(body, Parked) and body.message is not None:
            cases[body.message.id].dead_letters.append(body)
    for signal in signals:
        cases[signal.id].signals.append(signal)
    return [case for case in cases.values() if case.versions]


def _is_garbage(system: System, record: FakeRecord) -> bool:
    return any(record is each or (record.topic == each.topic and record.value == each.value) for each in system.garbage)


def _check_garbage(system: System) -> Iterator[str]:
    """Every unreadable record has a dead letter, and no valid message was parked as unreadable."""
    letters = [(record, parse(DLQ, record.value, record.headers)) for record in _records_of(system, DLQ)]
    unread = [(record.value, body.letter) for record, body in letters if isinstance(body, Parked) and not body.message]
    values = [each.value for each in system.garbage]
    for each in system.garbage:
        place = each.topic, each.partition, each.offset
        if not any(place == (letter.topic, letter.partition, letter.offset) for _, letter in unread):
            yield f"garbage on {each.topic} has no dead letter"
    for value, letter in unread:
        if value not in values:
            yield f"a valid message on {letter.topic} was parked as unreadable: {letter.reason}"


def ends_once(case: Case) -> Iterator[str]:
    """Exactly one version of the row is final: the last."""
    ended = [n for n, row in enumerate(case.rows) if row.state in FINAL_STATES]
    if ended != [len(case.rows) - 1]:
        yield f"ended {len(ended)} times, with {len(case.rows) - 1 - ended[0] if ended else 0} rows after the first end"


def never_regresses(case: Case) -> Iterator[str]:
    """A rollback is never reversed, and no row has fewer completed steps or attempts than the row before it."""
    for before, after in zip(case.rows, case.rows[1:], strict=False):
        if before.state == "rolling-back" and after.state in ("running", "parked", "completed"):
            yield f"was rolling back, and then {after.state}"
        same_direction = (before.state == "rolling-back") == (after.state == "rolling-back")
        if same_direction and len(after.history) < len(before.history):
            yield f"had {len(before.history)} history entries, and then {len(after.history)}"
        if len(after.history) == len(before.history) and after.attempt < before.attempt:
            yield f"was at attempt {before.attempt}, and then at {after.attempt}"


def ends_in_the_expected_state(case: Case) -> Iterator[str]:
    """A saga is rolled back if and only if a step was denied or an operator cancelled it."""
    state, reason = case.last.state, _denial(case)
    if state == "completed" and reason:
        yield f"completed, but {reason}"
    may_roll_back = (
        reason or case.id in case.mail.randomly_refused or any(signal.kind == "cancelled" for signal in case.signals)
    )
    if state != "completed" and not may_roll_back:
        yield f"{state} without a denial or a cancellation"


def _denial(case: Case) -> str | None:
    """Why a step of this saga must be denied, or None."""
    user, world, faults = case.last.user, case.system.world, case.system.faults
    if user.department == "Unheard-of":
        return "there is no policy for its department"
    if user.email.startswith("refused"):
        return "its mail was refused"
    denied = [s for s in STEPS[:3] if world.dice(f"onboarding:{case.id}:{s}", "deny") < faults.deny]
    return f"fault injection denies {denied[0]}" if denied else None


def history_matches_state(case: Case) -> Iterator[str]:
    """A completed saga has all steps, and any other the compensations of its completed steps, newest first."""
    row = case.last
    steps, compensations = row.history[: case.completed_steps], row.history[case.completed_steps + 1 :]
    if [line.step for line in steps] != list(STEPS[: case.completed_steps]):
        yield f"completed the steps {[line.step for line in steps]}"
    if row.state == "completed":
        if case.completed_steps != len(STEPS) or compensations:
            yield f"completed with the history {[line.step for line in row.history]}"
        return
    names = [line.step for line in compensations]
    if names != sorted(names, key=COMPENSATIONS_IN_ORDER.index) or len(set(names)) < len(names):
        yield f"has the compensations {names}"
    if missing := {COMPENSATIONS[line.step] for line in steps if line.step in COMPENSATIONS} - set(names):
        yield f"lacks the compensations {sorted(missing)}"
    failed = [line.step for line in compensations if line.outcome != "done"]
    if bool(failed) != (row.state == "rollback-incomplete"):
        yield f"is {row.state} with the failed compensations {failed}"
    if failed and not _can_compensations_fail(case):
        yield f"has the failed compensations {failed}, although no fault can have caused it"


def _can_compensations_fail(case: Case) -> bool:
    parameters = case.system.parameters
    is_deferred = case.id in case.mail.deferred_until  # perhaps for longer than a follow-up mail is retried
    return (
        bool(parameters.errors or parameters.flaky or parameters.lost_replies)
        or case.last.user.email.startswith("refused")
        or is_deferred
    )


def holds_the_expected_resources(case: Case) -> Iterator[str]:
    """A completed saga holds one device and one grant; what was compensated is not held."""
    devices = case.system.fake_world.stock.devices_of(case.id)
    grants = case.system.fake_world.policy.grants_of(case.id)
    if case.last.state == "completed":
        if devices != [case.last.facts.get("device_id")]:
            yield f"holds the devices {devices}, but its row has {case.last.facts.get('device_id')}"
        if len(grants) != 1:
            yield f"completed with {len(grants)} grants"
        return
    if devices and (case.last.state == "rolled-back" or "deprovision" in case.compensated):
        yield f"{case.last.state}, but still holds {devices}"
    if grants and (case.last.state == "rolled-back" or "revoke" in case.compensated):
        yield f"{case.last.state}, but its grants are in effect"


def has_one_device(case: Case) -> Iterator[str]:
    """All messages name the same device, and the saga does not hold two."""
    named = {str(message.facts["device_id"]) for _, message in case.requests if "device_id" in message.facts}
    if len(named) > 1:
        yield f"its messages name the devices {sorted(named)}"
    if len(devices := case.system.fake_world.stock.devices_of(case.id)) > 1:
        yield f"holds {devices}"


def has_one_user(case: Case) -> Iterator[str]:
    """All messages and rows have the same user data, which one of the requests had."""
    requested = [NewUser(user.id, user.department, user.email) for user in case.system.requests if user.id == case.id]
    users = [message.user for _, message in case.requests] + [row.user for row in case.rows]
    seen = {NewUser(case.id, user.department, user.email) for user in users}
    if len(seen) != 1 or not seen <= set(requested):
        yield f"has {len(seen)} users: {sorted(map(str, seen))}"


def sends_the_expected_mails(case: Case) -> Iterator[str]:
    """A user gets one welcome mail, and a follow-up if it may have been sent and the saga was rolled back.

    A mail is repeated only if its result could not be recorded.
    """
    welcomes, follow_ups = case.mails_sent(WELCOME), case.mails_sent(FOLLOW_UP)
    for step, mails in ((WELCOME, welcomes), (FOLLOW_UP, follow_ups)):
        if mails > 1 + case.allowed_repeats(step):
            yield f"{step} sent {mails} mails, and {case.allowed_repeats(step)} repeats are allowed"
    if len(case.mail.recipients[case.id]) > 1:
        yield "its mails went to several addresses"
    if case.last.state == "completed":
        yield from (["completed without a mail"] if not welcomes else [])
        yield from (["completed, but sent a follow-up mail"] if follow_ups else [])
    elif case.last.state == "rolled-back" and welcomes and not follow_ups and not _was_repeat_refused(case):
        yield "rolled back without a follow-up to its welcome mail"
    if follow_ups and not welcomes and case.id not in case.mail.unclear and not case.mail.is_idempotent:
        yield "sent a follow-up to a welcome mail that was never sent"
    if case.id in case.mail.sent_after_tombstone:
        yield "sent its welcome mail after the compensation"


def _was_repeat_refused(case: Case) -> bool:
    """Whether the welcome mail may have been sent without a recorded result, and then been refused when repeated."""
    return case.id in case.mail.randomly_refused and bool(case.allowed_repeats(WELCOME))


def redrives_only_on_request(case: Case) -> Iterator[str]:
    """Each attempt after the first was requested by an operator, and began once."""
    requested = {(TOPICS.get(each.step, each.step), each.attempt) for each in case.signals if each.kind == "redriven"}
    begun = defaultdict(set)
    for record, message in case.requests:
        if message.attempt > 1 and (record.topic, message.attempt) not in requested:
            yield f"attempt {message.attempt} of {record.topic} was not requested"
        if message.attempt > 1:
            begun[record.topic, len(message.history), message.attempt].add(dict(record.headers)["ce_time"])
    for (topic, _, attempt), times in begun.items():
        if len(times) > 1:
            yield f"attempt {attempt} of {topic} began {len(times)} times"


def never_continues_after_a_rollback_began(case: Case) -> Iterator[str]:
    """The Provisioner does not send `authorize` after a row that is rolling back."""
    since = next((record.timestamp for record, row in case.versions if row.state == "rolling-back"), None)
    if since is None:
        return
    for record, message in case.requests:
        if record.topic == "authorize" and message.history[-1].ended_at > utc(since / 1000):
            yield "was sent to authorize after its rollback began"


def has_rows_on_one_partition(case: Case) -> Iterator[str]:
    """All versions of the row are on the same partition."""
    partitions = {record.partition for record, _ in case.versions}
    if len(partitions) > 1:
        yield f"has rows on the partitions {sorted(partitions)}"


CHECKS: tuple[Callable[[Case], Iterator[str]], ...] = (
    ends_once,
    never_regresses,
    ends_in_the_expected_state,
    history_matches_state,
    holds_the_expected_resources,
    has_one_device,
    has_one_user,
    sends_the_expected_mails,
    redrives_only_on_request,
    never_continues_after_a_rollback_began,
    has_rows_on_one_partition,
)
