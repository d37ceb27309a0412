"""The last row of a saga against what the topics say."""

from collections.abc import Iterator

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.audit.case import Case, Finding, shown
from saga_app.audit.evidence import Noted, Place
from saga_app.audit.route import FIRST, FIRST_FACT, TURNED
from saga_app.saga.messages import DLQ

KIND = "changelog"


def row_disagrees(case: Case) -> Iterator[Finding]:
    """Whatever the row says that the topics do not, or the other way round."""
    if case.last is None:
        yield from _no_row(case)
        return
    for says in (*_state(case, case.last), *_support(case, case.last), *_values(case, case.last)):
        sentence, place = says
        yield case.finding(KIND, f"its row says {case.last.state}, but {sentence}", case.last.place, place)


Says = Iterator[tuple[str, Place | None]]


def _no_row(case: Case) -> Iterator[Finding]:
    """Its first request may not have been taken up; any other comes from a service, which has noted it."""
    for each in case.beyond_first:
        if case.whole(ROWS_CHANGELOG, each.partition):
            yield case.finding(KIND, f"it was asked to {each.topic}, but the changelog has no row of it", each.place)
            return


def _beside_home(case: Case) -> Noted | None:
    """A row on another partition than the others; not one from before the topics were given more partitions."""
    partitions = {each.partition for each in case.saga.noted}
    home = case.seen.home(case.id)
    if home not in partitions:
        home = case.rows[-1].partition
    moved_at = min(each.at for each in case.saga.noted if each.partition == home)
    return next((each for each in case.saga.noted if each.partition != home and each.at > moved_at), None)


def _state(case: Case, row: Noted) -> Says:
    """Each state has a history that leads to it."""
    if (stray := _beside_home(case)) is not None:
        yield "it has rows on several partitions", stray.place
    turned = next((each for each in case.rows if each.state == "rolling-back"), None)
    if turned and not row.turned and row.state not in TURNED:
        yield "it was on its way back before", turned.place
    if row.state == "completed":
        yield from _completed(case, row)
    elif row.state == "parked" and not _has_letter(case) and case.whole(DLQ, row.partition):
        yield "there is no dead letter of it", None
    elif row.state in ("rolled-back", "rollback-incomplete"):
        yield from _rolled_back(row)


def _has_letter(case: Case) -> bool:
    return bool(case.letters or case.saga.unreadable_letters)


def _completed(case: Case, row: Noted) -> Says:
    if row.history != tuple((step, "done") for step in case.route.names):
        yield f"its history is {shown(row.history)}", None
    if undo := next((each for each in case.asked if each.topic in case.route.compensations), None):
        yield f"it was asked to {undo.topic}", undo.place
    if row.device is None and FIRST_FACT:
        yield f"it has no {FIRST_FACT}", None


def _rolled_back(row: Noted) -> Says:
    turn = next((n for n, (_, outcome) in enumerate(row.history) if outcome != "done"), None)
    if turn is None:
        yield f"nothing turned it round: its history is {shown(row.history)}", None
        return
    undone = all(outcome in ("done", "nothing") for _, outcome in row.history[turn + 1 :])
    if undone != (row.state == "rolled-back"):
        yield f"its history is {shown(row.history)}", None


def _support(case: Case, row: Noted) -> Says:
    """Every step that the row says is behind it has been asked for."""
    asked_for = {each.topic for each in case.asked}
    for step, outcome in row.history:
        topic = case.route.topic_of(step)
        if topic not in asked_for and outcome != "cancelled" and case.whole(topic, row.partition):
            yield f"nothing on {topic} asks for {step}", None


def _values(case: Case, row: Noted) -> Says:
    """Facts and user are those of a message."""
    devices = {each.device: each.place for each in case.asked if each.device is not None}
    if row.device is not None and devices and row.device not in devices:
        yield f"names the device {row.device}, and the topics {' and '.join(sorted(devices))}", [*devices.values()][-1]
    for name, value in row.facts:
        found = {dict(each.facts).get(name): each.place for each in case.asked if name in dict(each.facts)}
        if found and value not in found:
            yield f"its {name} are not those of the topics", [*found.values()][-1]
    users = {each.user: each.place for each in case.beyond_first}
    if len(users) > 1:
        yield "its messages are of several users", [*users.values()][-1]
    if not users and case.whole(FIRST, row.partition):
        users = {each.user: each.place for each in case.asked}
    if users and row.user not in users:
        yield "its user is not the one of the topics", [*users.values()][-1]
