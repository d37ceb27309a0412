"""Offsets committed past unfinished work: a record counts as done, and nothing came of it."""

from collections.abc import Iterator, Mapping

from saga_app.active_plan import PLAN, ROWS_CHANGELOG
from saga_app.audit.case import Case, Finding, Seen
from saga_app.audit.evidence import Asked, History, Place, Told
from saga_app.audit.route import GROUP_OF, TURNED
from saga_app.saga.messages import DLQ

KIND = "unfinished"


def unfinished(case: Case) -> Iterator[Finding]:
    """A request, of all that are the same, of which nothing came though its group has committed it."""
    if not case.seen.committed:
        return
    home = case.seen.home(case.id)
    lost: dict[tuple[str, History, int], list[Place]] = {}
    for each in case.asked:
        if not case.seen.is_past(each):
            continue
        if home is not None and each.partition != home and not _was_home(case, each.partition, home):
            if not _is_parked(case, each):
                yield from _not_sent_on(case, each, home)
        elif not _led_somewhere(case, each) and _would_be_there(case, each):
            lost.setdefault((each.topic, each.history, each.attempt), []).append(each.place)
    for (topic, _, _), places in lost.items():
        nothing = f"the request to {case.route.step_of(topic)}"
        nothing += ", and nothing came of it: no next message, no dead letter, no ending"
        yield case.finding(KIND, f"the {GROUP_OF[topic]} has committed {nothing}", *places)


def _was_home(case: Case, partition: int, home: int) -> bool:
    """Whether the saga was handled on this partition until the topics were given more, and its row was copied home."""
    moved_at = min((row.at for row in case.saga.noted if row.partition == home), default=-1)
    return any(row.partition == partition and row.at <= moved_at for row in case.saga.noted)


def _not_sent_on(case: Case, each: Asked, home: int) -> Iterator[Finding]:
    """A record on another partition than its id's belongs on that one."""
    copies = (one for one in case.on(each.topic) if one.partition == home)
    if any((one.history, one.attempt) == (each.history, each.attempt) for one in copies):
        return
    if case.seen.whole(each.topic, home, each.at):
        sentence = f"has committed a record that belongs on partition {home}, and has not sent it on"
        yield case.finding(KIND, f"the {GROUP_OF[each.topic]} {sentence}", each.place)


def _led_somewhere(case: Case, each: Asked) -> bool:
    return _is_parked(case, each) or _is_answered(case, each) or _is_absorbed(case, each) or _waits(case, each)


def _waits(case: Case, each: Asked) -> bool:
    """It waits outside the partition for its next attempt, or was published again and is not committed yet."""
    copies = ((one.history, one.attempt, case.seen.is_past(one)) for one in case.on(each.topic))
    return case.awaits_retry(case.route.step_of(each.topic)) or (each.history, each.attempt, False) in copies


def _is_parked(case: Case, each: Asked) -> bool:
    """A dead letter of this record, or of the same request."""
    return any(
        letter.original == each.place or (letter.original.topic == each.topic and letter.attempt >= each.attempt)
        for letter in case.letters
    )


def _is_answered(case: Case, each: Asked) -> bool:
    """Something has the answer to it in its history."""
    step, behind = case.route.step_of(each.topic), len(each.history)
    return any(
        len(history) > behind and history[behind][0] == step and history[:behind] == each.history
        and history[behind][1] != "cancelled"
        for history in case.histories
    )  # fmt: skip


def _is_absorbed(case: Case, each: Asked) -> bool:
    """There was nothing left to do: the saga has ended, or was turned round before this step.

    Only the Provisioner knows the rows. The others go on with an undo whatever has become of its saga.
    """
    if GROUP_OF.get(each.topic) == PLAN.initiator and any(row.ended for row in case.rows):
        return True
    if each.topic in case.route.compensations:
        return False
    return any(row.state in TURNED for row in case.rows) or any(
        one.topic in case.route.compensations for one in case.asked
    )


def _would_be_there(case: Case, each: Asked) -> bool:
    """Whether what came of it could be seen."""
    return all(case.seen.whole(topic, each.partition, each.at) for topic in _topics_of(case))


def _topics_of(case: Case) -> tuple[str, ...]:
    return *case.route.topics, *case.route.compensations, DLQ, ROWS_CHANGELOG


def unheeded(case: Case) -> Iterator[Finding]:
    """An operator's signal that the Provisioner has read, and the row is still as it was before."""
    row = case.last
    for told in case.told:
        if row is None or not case.seen.is_past(told.place) or row.at >= told.at:
            continue
        if _applies(row.state, row.attempt, told):
            sentence = (
                f"the {PLAN.initiator} has committed the signal {told.kind}, but the row is {row.state} as before"
            )
            yield case.finding(KIND, sentence, told.place, row.place)


def _applies(state: str, attempt: int, told: Told) -> bool:
    if told.kind == "cancelled":
        return state in ("running", "parked")
    return state == "parked" and told.attempt == attempt + 1


def lost_records(unreadable: Mapping[Place, str], seen: Seen) -> Iterator[Finding]:
    """What is no record of ours: on the topic of a step it must have become a dead letter."""
    for place, reason in unreadable.items():
        if place.topic == ROWS_CHANGELOG:
            yield Finding("changelog", None, f"a row cannot be read: {reason}", (str(place),))
        elif place.topic == DLQ:
            yield Finding("unnoted-dead-letter", None, f"a dead letter cannot be read: {reason}", (str(place),))
        elif PLAN.on(place.topic) and seen.is_past(place) and place not in seen.buried:
            sentence = f"the {GROUP_OF[place.topic]} has committed what is no message, and there is no dead letter"
            yield Finding(KIND, None, f"{sentence}: {reason}", (str(place),))


def beyond_the_end(seen: Seen) -> Iterator[Finding]:
    """Offsets of records that are not there: a topic was made anew, or has lost its end."""
    for group, offsets in seen.committed.items():
        for (topic, partition), offset in offsets.items():
            end = seen.ends.get((topic, partition))
            if end is not None and offset > end:
                sentence = f"the {group} has committed offset {offset}, but the partition ends at {end}"
                yield Finding(KIND, None, f"{sentence}: records are lost", (str(Place(topic, partition, end)),))
