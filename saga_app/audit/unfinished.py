"""Checks of committed offsets: a committed record must have had an effect."""

from collections.abc import Iterator, Mapping

from saga_app.active_plan import PLAN, ROWS_CHANGELOG
from saga_app.audit.case import Case, Finding, LogState
from saga_app.audit.evidence import History, SeenAction, SeenRequest
from saga_app.audit.route import GROUP_OF
from saga_app.saga.messages import DLQ
from saga_app.saga.record_id import RecordId
from saga_app.saga.states import CANCELLABLE_STATES, ROLLED_BACK_STATES

KIND = "unfinished"


def find_unfinished(case: Case) -> Iterator[Finding]:
    """Requests that the group has committed without an effect; equal requests are one finding."""
    if not case.seen.committed:
        return
    home = case.seen.home(case.id)
    lost: dict[tuple[str, History, int], list[RecordId]] = {}
    for each in case.requests:
        if not case.seen.is_past(each):
            continue
        if home is not None and each.partition != home and not _was_home(case, each.partition, home):
            if not _is_parked(case, each):
                yield from _not_sent_on(case, each, home)
        elif not _led_somewhere(case, each) and _would_be_there(case, each):
            lost.setdefault((each.topic, each.history, each.attempt), []).append(each.place)
    for (topic, _, _), places in lost.items():
        sentence = f"the {GROUP_OF[topic]} has committed the request to {case.route.step_of(topic)} without an effect: "
        yield case.finding(KIND, sentence + "no next message, no dead letter, no end of the saga", *places)


def _was_home(case: Case, partition: int, home: int) -> bool:
    """Whether the saga was on this partition before partitions were added and its row was moved."""
    moved_at = min((row.at for row in case.saga.rows if row.partition == home), default=-1)
    return any(row.partition == partition and row.at <= moved_at for row in case.saga.rows)


def _not_sent_on(case: Case, each: SeenRequest, home: int) -> Iterator[Finding]:
    """A committed record on a wrong partition that was not forwarded to the right one."""
    copies = (one for one in case.on(each.topic) if one.partition == home)
    if any((one.history, one.attempt) == (each.history, each.attempt) for one in copies):
        return
    if case.seen.whole(each.topic, home, each.at):
        sentence = f"has committed a record that belongs on partition {home}, but has not forwarded it"
        yield case.finding(KIND, f"the {GROUP_OF[each.topic]} {sentence}", each.place)


def _led_somewhere(case: Case, each: SeenRequest) -> bool:
    return _is_parked(case, each) or _is_answered(case, each) or _is_absorbed(case, each) or _waits(case, each)


def _waits(case: Case, each: SeenRequest) -> bool:
    """Whether it waits outside the partition for its next attempt, or was published again and is not committed yet."""
    copies = ((one.history, one.attempt, case.seen.is_past(one)) for one in case.on(each.topic))
    return case.awaits_retry(case.route.step_of(each.topic)) or (each.history, each.attempt, False) in copies


def _is_parked(case: Case, each: SeenRequest) -> bool:
    """Whether there is a dead letter of this record, or of the same request."""
    return any(
        letter.original == each.place or (letter.original.topic == each.topic and letter.attempt >= each.attempt)
        for letter in case.letters
    )


def _is_answered(case: Case, each: SeenRequest) -> bool:
    """Whether its result is in the history of a message or row."""
    step, behind = case.route.step_of(each.topic), len(each.history)
    return any(
        len(history) > behind and history[behind][0] == step and history[:behind] == each.history
        and history[behind][1] != "cancelled"
        for history in case.histories
    )  # fmt: skip


def _is_absorbed(case: Case, each: SeenRequest) -> bool:
    """Whether nothing was left to do, because the saga had ended or was rolling back before this step.

    Only the Provisioner knows the rows; the other services always carry out compensations.
    """
    if GROUP_OF.get(each.topic) == PLAN.initiator and any(row.ended for row in case.rows):
        return True
    if each.topic in case.route.compensations:
        return False
    return any(row.state in ROLLED_BACK_STATES for row in case.rows) or any(
        one.topic in case.route.compensations for one in case.requests
    )


def _would_be_there(case: Case, each: SeenRequest) -> bool:
    """Whether its effects would be among the records, because none have been deleted."""
    return all(case.seen.whole(topic, each.partition, each.at) for topic in _topics_of(case))


def _topics_of(case: Case) -> tuple[str, ...]:
    return *case.route.topics, *case.route.compensations, DLQ, ROWS_CHANGELOG


def ignored_actions(case: Case) -> Iterator[Finding]:
    """An operator's signal that the Provisioner has committed without changing the row."""
    row = case.last
    for action in case.actions:
        if row is None or not case.seen.is_past(action.place) or row.at >= action.at:
            continue
        if _applies(row.state, row.attempt, action):
            sentence = f"the {PLAN.initiator} has committed the signal {action.kind}, but the row is still {row.state}"
            yield case.finding(KIND, sentence, action.place, row.place)


def _applies(state: str, attempt: int, action: SeenAction) -> bool:
    if action.kind == "cancelled":
        return state in CANCELLABLE_STATES
    return state == "parked" and action.attempt == attempt + 1


def lost_records(unreadable: Mapping[RecordId, str], seen: LogState) -> Iterator[Finding]:
    """Unreadable records. On the topic of a step, such a record must have become a dead letter."""
    for place, reason in unreadable.items():
        if place.topic == ROWS_CHANGELOG:
            yield Finding("changelog", None, f"unreadable row: {reason}", (str(place),))
        elif place.topic == DLQ:
            yield Finding("unrecorded-dead-letter", None, f"unreadable dead letter: {reason}", (str(place),))
        elif PLAN.on(place.topic) and seen.is_past(place) and place not in seen.buried:
            sentence = f"the {GROUP_OF[place.topic]} has committed an unreadable message, and there is no dead letter"
            yield Finding(KIND, None, f"{sentence}: {reason}", (str(place),))


def beyond_the_end(seen: LogState) -> Iterator[Finding]:
    """Committed offsets beyond the end of a partition: its topic was recreated or has lost records."""
    for group, offsets in seen.committed.items():
        for (topic, partition), offset in offsets.items():
            end = seen.ends.get((topic, partition))
            if end is not None and offset > end:
                sentence = f"the {group} has committed offset {offset}, but the partition ends at {end}"
                yield Finding(KIND, None, f"{sentence}: records were lost", (str(RecordId(topic, partition, end)),))
