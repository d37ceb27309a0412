"""What must be so, said a second time and from the outside: by logs, devices, grants and mails, not by the code.

Each check looks at one saga and yields sentences about what is wrong with it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga.messages import DLQ, SIGNALS, Message, Parked, Row, Signal, parse
from saga_app.saga.times import iso
from tests.fakes.record import FakeRecord
from tests.simulation.fake_world import FOLLOW_UP, WELCOME, Mail
from tests.simulation.system import NewUser, System

STEPS = ("provision", "authorize", "notify", "complete")
UNDO = {"provision": "deprovision", "authorize": "revoke", "notify": "retract"}
TOPIC_OF = {"provision": "new-user", "complete": "notified"}  #: of steps that are not called like their topic
NEWEST_FIRST = ("retract", "revoke", "deprovision")
ENDINGS = ("completed", "rolled-back", "rollback-incomplete")


@dataclass(slots=True)
class Case:
    """One saga, as everybody can see it."""

    id: str
    system: System
    noted: list[tuple[FakeRecord, Row]] = field(default_factory=list)  #: its rows
    requests: list[tuple[FakeRecord, Message]] = field(default_factory=list)  #: but `new-user`
    letters: list[Parked] = field(default_factory=list)
    orders: list[Signal] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [row for _, row in self.noted]

    @property
    def last(self) -> Row:
        return self.noted[-1][1]

    @property
    def mail(self) -> Mail:
        return self.system.outside.mail

    @property
    def turn(self) -> int:
        """How many steps lie before the first "no"; all if there is none."""
        outcomes = [line.outcome for line in self.last.history]
        return next((n for n, outcome in enumerate(outcomes) if outcome != "done"), len(outcomes))

    @property
    def undone(self) -> set[str]:
        """The undos that the row says were done."""
        return {line.step for line in self.last.history if line.step in NEWEST_FIRST and line.outcome == "done"}

    def sent(self, step: str) -> int:
        return self.mail.sent[self.id, step]

    def may_be_sent_again(self, step: str) -> int:
        return self.mail.allowed[self.id, step]


# -- whenever nothing is under way


def at_rest(system: System, orders: list[Signal]) -> Iterator[str]:
    """Every saga has ended or is parked, where somebody sees it; and all that was written was read."""
    for group in system.groups:
        yield from group.behind()
    letters = {parse(DLQ, record.value, record.headers).letter.id for record in _on(system, DLQ)}  # type: ignore[union-attr]
    for id in {newcomer.id: None for newcomer in system.requests}:
        row = system.row(id)
        if row is None:
            yield f"{id}: was requested, and nobody knows of it"
        elif row.state == "parked":
            yield from _waits_for_somebody(row, id in letters, orders)
        elif row.state not in (*ENDINGS, "parked"):
            yield f"{id}: is {row.state} at {row.step}, and nothing is under way"


def _waits_for_somebody(row: Row, has_letter: bool, orders: list[Signal]) -> Iterator[str]:
    """There is a dead letter, and nobody has dealt with it already."""
    if not has_letter:
        yield f"{row.id}: is parked, but there is no dead letter"
    for order in orders:
        if (order.id, order.kind, order.step, order.attempt) == (row.id, "redriven", row.step, row.attempt + 1):
            yield f"{row.id}: is parked at attempt {row.attempt}, though {order.by} has redriven it"
        if (order.id, order.kind) == (row.id, "cancelled"):
            yield f"{row.id}: is parked, though {order.by} has rolled it back"


def _on(system: System, topic: str) -> Iterator[FakeRecord]:
    return (record for record in system.bus.records if record.topic == topic)


# -- at the end


def judge(system: System, found: list[Case]) -> Iterator[str]:
    """All that is wrong."""
    yield from _rubbish(system)
    for case in found:
        yield from (f"{case.id}: {wrong}" for check in CHECKS for wrong in check(case))


def cases(system: System, orders: list[Signal]) -> list[Case]:
    """What the logs say of each saga."""
    found = {newcomer.id: Case(newcomer.id, system) for newcomer in system.requests}
    for record in system.bus.records:
        if (
            record.topic in EFFECTS_CHANGELOGS.values()
            or record.topic in ("new-user", SIGNALS)
            or _is_rubbish(system, record)
        ):
            continue
        body = parse(record.topic, record.value, record.headers, ROWS_CHANGELOG)
        if isinstance(body, Row):
            found[body.id].noted.append((record, body))
        elif isinstance(body, Message):
            found[body.id].requests.append((record, body))
        elif isinstance(body, Parked) and body.message is not None:
            found[body.message.id].letters.append(body)
    for order in orders:
        found[order.id].orders.append(order)
    return [case for case in found.values() if case.noted]


def _is_rubbish(system: System, record: FakeRecord) -> bool:
    return any(record is each or (record.topic == each.topic and record.value == each.value) for each in system.rubbish)


def _rubbish(system: System) -> Iterator[str]:
    """What is no message becomes a dead letter, byte for byte; and nothing else does so unread."""
    letters = [(record, parse(DLQ, record.value, record.headers)) for record in _on(system, DLQ)]
    unread = [(record.value, body.letter) for record, body in letters if isinstance(body, Parked) and not body.message]
    values = [each.value for each in system.rubbish]
    for each in system.rubbish:
        place = each.topic, each.partition, each.offset
        if not any(place == (letter.topic, letter.partition, letter.offset) for _, letter in unread):
            yield f"rubbish on {each.topic} has no dead letter"
    for value, letter in unread:
        if value not in values:
            yield f"a message of ours on {letter.topic} could not be read: {letter.reason}"


def ends_once(case: Case) -> Iterator[str]:
    """The end is the last that is said, and said once."""
    ended = [n for n, row in enumerate(case.rows) if row.state in ENDINGS]
    if ended != [len(case.rows) - 1]:
        yield f"ended {len(ended)} times, and {len(case.rows) - 1 - ended[0] if ended else 0} rows came after"


def goes_only_on(case: Case) -> Iterator[str]:
    """A saga on its way back does not go forward again, and none forgets a step, or an attempt."""
    for before, after in zip(case.rows, case.rows[1:], strict=False):
        if before.state == "rolling-back" and after.state in ("running", "parked", "completed"):
            yield f"was rolling back, and then {after.state}"
        same_way = (before.state == "rolling-back") == (after.state == "rolling-back")
        if same_way and len(after.history) < len(before.history):
            yield f"had {len(before.history)} steps behind it, and then {len(after.history)}"
        if len(after.history) == len(before.history) and after.attempt < before.attempt:
            yield f"was at attempt {before.attempt}, and then at {after.attempt}"


def ends_as_it_must(case: Case) -> Iterator[str]:
    """Whom somebody denies is rolled back; whom nobody does, neither the world nor an operator, is onboarded."""
    state, why_not = case.last.state, _denied(case)
    if state == "completed" and why_not:
        yield f"completed, but {why_not}"
    wanted = why_not or case.id in case.mail.moody or any(order.kind == "cancelled" for order in case.orders)
    if state != "completed" and not wanted:
        yield f"{state}, and nobody wanted that"


def _denied(case: Case) -> str | None:
    user, world, faults = case.last.user, case.system.world, case.system.faults
    if user.department == "Unheard-of":
        return "there is no policy for its department"
    if user.email.startswith("refused"):
        return "its mail was refused"
    denied = [s for s in STEPS[:3] if world.dice(f"onboarding:{case.id}:{s}", "deny") < faults.deny]
    return f"the mock world denies {denied[0]}" if denied else None


def history_fits(case: Case) -> Iterator[str]:
    """Completed: all steps. Rolled back: after the "no" the undos, newest first, each done, and none is missing."""
    row = case.last
    steps, compensations = row.history[: case.turn], row.history[case.turn + 1 :]
    if [line.step for line in steps] != list(STEPS[: case.turn]):
        yield f"went {[line.step for line in steps]}"
    if row.state == "completed":
        if case.turn != len(STEPS) or compensations:
            yield f"completed after {[line.step for line in row.history]}"
        return
    names = [line.step for line in compensations]
    if names != sorted(names, key=NEWEST_FIRST.index) or len(set(names)) < len(names):
        yield f"undid {names}"
    if missing := {UNDO[line.step] for line in steps if line.step in UNDO} - set(names):
        yield f"did not undo: {sorted(missing)}"
    failed = [line.step for line in compensations if line.outcome != "done"]
    if bool(failed) != (row.state == "rollback-incomplete"):
        yield f"is called {row.state}, undos that failed: {failed}"
    if failed and not _undos_can_fail(case):
        yield f"the undos {failed} failed, and nothing was wrong"


def _undos_can_fail(case: Case) -> bool:
    parameters = case.system.parameters
    deferred = case.id in case.mail.deferred_until  # for longer than a follow-up mail is attempted
    return (
        bool(parameters.errors or parameters.flaky or parameters.lost)
        or case.last.user.email.startswith("refused")
        or deferred
    )


def holds_what_it_should(case: Case) -> Iterator[str]:
    """Devices and grants in effect: one each if completed, none if they were taken back."""
    held, granted = case.system.outside.stock.of(case.id), case.system.outside.policy.of(case.id)
    if case.last.state == "completed":
        if held != [case.last.facts.get("device_id")]:
            yield f"holds the devices {held}, its row says {case.last.facts.get('device_id')}"
        if len(granted) != 1:
            yield f"completed with {len(granted)} grants"
        return
    if held and (case.last.state == "rolled-back" or "deprovision" in case.undone):
        yield f"{case.last.state}, and holds {held}"
    if granted and (case.last.state == "rolled-back" or "revoke" in case.undone):
        yield f"{case.last.state}, and its grants hold"


def has_one_device(case: Case) -> Iterator[str]:
    """All messages name the same device, and a saga never holds two."""
    named = {str(message.facts["device_id"]) for _, message in case.requests if "device_id" in message.facts}
    if len(named) > 1:
        yield f"its messages name the devices {sorted(named)}"
    if len(held := case.system.outside.stock.of(case.id)) > 1:
        yield f"holds {held}"


def is_one_user(case: Case) -> Iterator[str]:
    """Who was requested first is onboarded, whoever requests the same id later."""
    asked = [NewUser(user.id, user.department, user.email) for user in case.system.requests if user.id == case.id]
    told = [message.user for _, message in case.requests] + [row.user for row in case.rows]
    seen = {NewUser(case.id, user.department, user.email) for user in told}
    if len(seen) != 1 or not seen <= set(asked):
        yield f"is {len(seen)} users: {sorted(map(str, seen))}"


def gets_the_right_mails(case: Case) -> Iterator[str]:
    """One welcome, a second one only if its note was cut off; a follow-up to whom it was sent, and to nobody else."""
    welcomes, follow_ups = case.sent(WELCOME), case.sent(FOLLOW_UP)
    for step, mails in ((WELCOME, welcomes), (FOLLOW_UP, follow_ups)):
        if mails > 1 + case.may_be_sent_again(step):
            yield f"got {mails} mails of {step}, {case.may_be_sent_again(step)} windows were cut"
    if len(case.mail.to[case.id]) > 1:
        yield "its mails went to several people"
    if case.last.state == "completed":
        yield from (["completed without a mail"] if not welcomes else [])
        yield from (["completed, and got a follow-up"] if follow_ups else [])
    elif case.last.state == "rolled-back" and welcomes and not follow_ups and not _nobody_knows(case):
        yield "rolled back, and its mail stands"
    if follow_ups and not welcomes and case.id not in case.mail.unclear:
        yield "was told that a mail is void which it never got"
    if case.id in case.mail.after_tombstone:
        yield "was welcomed after its onboarding was cancelled"


def _nobody_knows(case: Case) -> bool:
    """A mail that could not be noted, and that was refused when it was tried again."""
    return case.id in case.mail.moody and bool(case.may_be_sent_again(WELCOME))


def redrives_were_asked_for(case: Case) -> Iterator[str]:
    """Each attempt was wanted by an operator, and begun by one only."""
    asked = {(TOPIC_OF.get(each.step, each.step), each.attempt) for each in case.orders if each.kind == "redriven"}
    begun = defaultdict(set)
    for record, message in case.requests:
        if message.attempt > 1 and (record.topic, message.attempt) not in asked:
            yield f"nobody asked for attempt {message.attempt} of {record.topic}"
        if message.attempt > 1:
            begun[record.topic, len(message.history), message.attempt].add(dict(record.headers)["ce_time"])
    for (topic, _, attempt), times in begun.items():
        if len(times) > 1:
            yield f"attempt {attempt} of {topic} was begun by {len(times)} orders"


def stays_turned_round(case: Case) -> Iterator[str]:
    """Once its row says that it goes back, the Provisioner does not send it forward."""
    turned = next((place.timestamp for place, row in case.noted if row.state == "rolling-back"), None)
    if turned is None:
        return
    for record, message in case.requests:
        if record.topic == "authorize" and message.history[-1].ended_at > iso(turned / 1000):
            yield "was sent forward after it was turned round"


def is_where_it_belongs(case: Case) -> Iterator[str]:
    """Rows of one saga are on one partition."""
    places = {record.partition for record, _ in case.noted}
    if len(places) > 1:
        yield f"has rows on the partitions {sorted(places)}"


CHECKS: tuple[Callable[[Case], Iterator[str]], ...] = (
    ends_once,
    goes_only_on,
    ends_as_it_must,
    history_fits,
    holds_what_it_should,
    has_one_device,
    is_one_user,
    gets_the_right_mails,
    redrives_were_asked_for,
    stays_turned_round,
    is_where_it_belongs,
)
