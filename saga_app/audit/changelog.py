"""Checks the last row of a saga against the topics."""

from collections.abc import Iterator

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.audit.case import Case, Finding, history_text
from saga_app.audit.evidence import SeenRow
from saga_app.audit.route import FIRST, FIRST_FACT
from saga_app.saga.messages import DLQ
from saga_app.saga.record_id import RecordId
from saga_app.saga.states import REPEATABLE_STATES, ROLLED_BACK_STATES

KIND = "changelog"


def row_disagrees(case: Case) -> Iterator[Finding]:
    """Contradictions between the last row and the topics."""
    if case.last is None:
        yield from _no_row(case)
        return
    for says in (*_state(case, case.last), *_support(case, case.last), *_values(case, case.last)):
        sentence, place = says
        yield case.finding(KIND, f"the row is {case.last.state}, but {sentence}", case.last.place, place)


Says = Iterator[tuple[str, RecordId | None]]


def _no_row(case: Case) -> Iterator[Finding]:
    """A saga without a row. Its first request may not have been processed yet, but later requests imply a row."""
    for each in case.from_services:
        if case.whole(ROWS_CHANGELOG, each.partition):
            yield case.finding(KIND, f"there is a request on {each.topic}, but no row in the changelog", each.place)
            return


def _beside_home(case: Case) -> SeenRow | None:
    """A row on another partition than the others, unless it was written before partitions were added."""
    partitions = {each.partition for each in case.saga.rows}
    home = case.seen.home(case.id)
    if home not in partitions:
        home = case.rows[-1].partition
    moved_at = min(each.at for each in case.saga.rows if each.partition == home)
    return next((each for each in case.saga.rows if each.partition != home and each.at > moved_at), None)


def _state(case: Case, row: SeenRow) -> Says:
    """Contradictions between the state and the history."""
    if (stray := _beside_home(case)) is not None:
        yield "there are rows on several partitions", stray.place
    turned = next((each for each in case.rows if each.state == "rolling-back"), None)
    if turned and not row.turned and row.state not in ROLLED_BACK_STATES:
        yield "an earlier row is rolling-back", turned.place
    if row.state == "completed":
        yield from _completed(case, row)
    elif row.state == "parked" and not _has_letter(case) and case.whole(DLQ, row.partition):
        yield "there is no dead letter", None
    elif row.state in REPEATABLE_STATES:
        yield from _rolled_back(row)


def _has_letter(case: Case) -> bool:
    return bool(case.letters or case.saga.unreadable_letters)


def _completed(case: Case, row: SeenRow) -> Says:
    if row.history != tuple((step, "done") for step in case.route.names):
        yield f"the history is {history_text(row.history)}", None
    if undo := next((each for each in case.requests if each.topic in case.route.compensations), None):
        yield f"there is a request on {undo.topic}", undo.place
    if row.device is None and FIRST_FACT:
        yield f"{FIRST_FACT} is missing", None


def _rolled_back(row: SeenRow) -> Says:
    turn = next((n for n, (_, outcome) in enumerate(row.history) if outcome != "done"), None)
    if turn is None:
        yield f"no denial or cancellation precedes the compensations: the history is {history_text(row.history)}", None
        return
    undone = all(outcome in ("done", "nothing") for _, outcome in row.history[turn + 1 :])
    if undone != (row.state == "rolled-back"):
        yield f"the history is {history_text(row.history)}", None


def _support(case: Case, row: SeenRow) -> Says:
    """Completed steps without a request."""
    asked_for = {each.topic for each in case.requests}
    for step, outcome in row.history:
        topic = case.route.topic_of(step)
        if topic not in asked_for and outcome != "cancelled" and case.whole(topic, row.partition):
            yield f"{topic} has no request for {step}", None


def _values(case: Case, row: SeenRow) -> Says:
    """Facts and user that differ from those of the messages."""
    devices = {each.device: each.place for each in case.requests if each.device is not None}
    if row.device is not None and devices and row.device not in devices:
        yield (
            f"it names the device {row.device}, and the messages name {' and '.join(sorted(devices))}",
            [*devices.values()][-1],
        )
    for name, value in row.facts:
        found = {dict(each.facts).get(name): each.place for each in case.requests if name in dict(each.facts)}
        if found and value not in found:
            yield f"the fact {name} differs from the messages", [*found.values()][-1]
    users = {each.user: each.place for each in case.from_services}
    if len(users) > 1:
        yield "the messages have different user data", [*users.values()][-1]
    if not users and case.whole(FIRST, row.partition):
        users = {each.user: each.place for each in case.requests}
    if users and row.user not in users:
        yield "the user differs from the messages", [*users.values()][-1]
