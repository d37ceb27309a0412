"""Checks of the course of a saga: it ends once, uses one device, follows its route, and its dead letters are known."""

from collections.abc import Iterator

from saga_app.audit.case import Case, Finding, duration_text, history_text, iso
from saga_app.audit.evidence import History, Letter, SeenRequest
from saga_app.audit.route import Route, name_on


def never_ended(case: Case) -> Iterator[Finding]:
    """A saga that has neither ended nor is parked, and that waits for no planned attempt."""
    if case.state not in ("running", "rolling-back", "requested") or case.is_retrying:
        return
    late = ", overdue" if case.last and case.last.overdue else ""
    since = (
        f"began {iso(case.saga.began)}, {duration_text(case.seen.now - case.saga.began)} ago, and has not ended{late}"
    )
    newest = case.requests[-1].place if case.requests else None
    if case.last:
        where = f"{case.last.state}, waiting for {case.last.step}"
    elif newest:
        where = f"no row, last request to {case.route.step_of(newest.topic)}"
    else:
        where = "only a dead letter exists"
    letter = f"; dead letter: {case.letters[-1].error} at {case.letters[-1].step}" if case.letters else ""
    places = [case.last.place if case.last else None, newest, *(letter.place for letter in case.letters[-1:])]
    yield case.finding("never-ended", f"{since}: {where}{letter}", *places)


def ended_twice(case: Case) -> Iterator[Finding]:
    """A row after the final one, unless it repeats the final row."""
    ending = next((n for n, row in enumerate(case.rows) if row.ended), len(case.rows))
    if after := case.rows[ending + 1 :]:
        ended, then = case.rows[ending], after[-1]
        sentence = f"{ended.state} at {iso(ended.updated_at)}, then {then.state} at {iso(then.updated_at)}"
        yield case.finding("ended-twice", sentence, ended.place, then.place)


def two_devices(case: Case) -> Iterator[Finding]:
    """Messages that name different devices."""
    named = {each.device: each.place for each in reversed(case.requests) if each.device is not None}
    if len(named) > 1:
        yield case.finding("two-devices", f"the messages name {' and '.join(sorted(named))}", *named.values())


def no_predecessor(case: Case) -> Iterator[Finding]:
    """A message whose history lacks a preceding step, or names a step without a request."""
    for each in {(each.topic, each.history): each for each in case.from_services}.values():
        if lacks := missing_before(case.route, each.topic, each.history):
            history = history_text(each.history)
            sentence = f"request to {case.route.step_of(each.topic)} without {lacks}: the history is {history}"
            yield case.finding("no-predecessor", sentence, each.place)
    for step, each in _unsupported(case).items():
        topic = case.route.topic_of(step)
        sentence = f"request to {case.route.step_of(each.topic)} after {step}, but {topic} has no request for {step}"
        yield case.finding("no-predecessor", sentence, each.place)


def missing_before(route: Route, topic: str, history: History) -> str | None:
    """What the history of a message on this topic lacks, in words; None if it is complete."""
    if topic not in route.compensations:
        if topic not in route.topics:
            return "being on the route"
        wanted = tuple((step, "done") for step in route.names[: route.topics.index(topic)])
        absent = [step for step, outcome in wanted if (step, outcome) not in history]
        if absent:
            return f"{' and '.join(absent)} done"
        return None if history == wanted else "exactly the preceding steps"
    turn = next((n for n, (_, outcome) in enumerate(history) if outcome != "done"), None)
    if turn is None:
        return "a denial or cancellation"
    if tuple(step for step, _ in history[: turn + 1]) != route.names[: turn + 1]:
        return "the steps in order"
    return _missing_compensation(
        route, topic, history[:turn], [route.topic_of(step) for step, _ in history[turn + 1 :]]
    )


def _missing_compensation(route: Route, topic: str, done: History, compensated: list[str]) -> str | None:
    """What a rollback lacks: it compensates all completed steps, newest first. `compensated`: topics."""
    way = [*compensated, topic]
    if [undo for undo in route.compensations if undo in way] != way:
        return "the compensations in order"
    newer = route.compensations[: route.compensations.index(topic)]
    wanted = [route.undo_of(step) for step, _ in done]
    absent = [name_on(undo) for undo in wanted if undo in newer and undo not in compensated]
    return f"{' and '.join(absent)} before it" if absent else None


def _unsupported(case: Case) -> dict[str, SeenRequest]:
    """Steps that a message names as completed, though no request for them exists."""
    asked_for = {each.topic for each in case.requests}
    found: dict[str, SeenRequest] = {}
    for each in case.from_services:
        for step, outcome in each.history:
            topic = case.route.topic_of(step)
            if topic in asked_for or outcome == "cancelled":  # a cancelled step may never have been requested
                continue
            if case.route.knows(step) and case.whole(topic, each.partition):
                found.setdefault(step, each)
    return found


def unrecorded_dead_letter(case: Case) -> Iterator[Finding]:
    """A dead letter that the row does not reflect, so that operators do not see it."""
    unrecorded = {letter.original: letter for letter in case.letters if not _is_recorded(case, letter)}
    for letter in unrecorded.values():
        row = f"the row is {case.last.state} at {case.last.step}" if case.last else "there is no row"
        sentence = f"{letter.original} is a dead letter ({letter.error} at {letter.step}), but {row}"
        yield case.finding("unrecorded-dead-letter", sentence, letter.place, case.last.place if case.last else None)


def _is_recorded(case: Case, letter: Letter) -> bool:
    """Whether a row reflects the letter. A row that is further along may have replaced the parked one."""
    parked = False, False, len(letter.history), letter.attempt, True
    return any(row.rank >= parked for row in case.rows)
