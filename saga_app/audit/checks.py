"""A saga's way: begun and ended, once, with one device, one step after the other, and its dead letters noted."""

from collections.abc import Iterator

from saga_app.audit.case import Case, Finding, iso, shown, span
from saga_app.audit.evidence import Asked, History, Letter
from saga_app.audit.route import Route, name_on


def never_ended(case: Case) -> Iterator[Finding]:
    """Begun, and neither ended nor parked, where somebody would see it; nor is its next attempt planned."""
    if case.state not in ("running", "rolling-back", "requested") or case.is_retrying:
        return
    late = ", overdue" if case.last and case.last.overdue else ""
    since = f"began {iso(case.saga.began)}, {span(case.seen.now - case.saga.began)} ago, and has not ended{late}"
    newest = case.asked[-1].place if case.asked else None
    if case.last:
        where = f"{case.last.state}, its row waits for {case.last.step}"
    elif newest:
        where = f"it has no row, it was last asked to {case.route.step_of(newest.topic)}"
    else:
        where = "all that there is of it is a dead letter"
    letter = f"; a dead letter of it is {case.letters[-1].error} at {case.letters[-1].step}" if case.letters else ""
    places = [case.last.place if case.last else None, newest, *(letter.place for letter in case.letters[-1:])]
    yield case.finding("never-ended", f"{since}: {where}{letter}", *places)


def ended_twice(case: Case) -> Iterator[Finding]:
    """Two endings, or something after the ending; an ending that was only written once more is one."""
    ending = next((n for n, row in enumerate(case.rows) if row.ended), len(case.rows))
    if after := case.rows[ending + 1 :]:
        ended, then = case.rows[ending], after[-1]
        sentence = f"{ended.state} at {ended.updated_at}, and after that {then.state} at {then.updated_at}"
        yield case.finding("ended-twice", sentence, ended.place, then.place)


def two_devices(case: Case) -> Iterator[Finding]:
    """Messages that name different devices."""
    named = {each.device: each.place for each in reversed(case.asked) if each.device is not None}
    if len(named) > 1:
        yield case.finding("two-devices", f"its messages name {' and '.join(sorted(named))}", *named.values())


def no_predecessor(case: Case) -> Iterator[Finding]:
    """A message whose history lacks a step that must come before, or of whose history there is no trace."""
    for each in {(each.topic, each.history): each for each in case.beyond_first}.values():
        if lacks := missing_before(case.route, each.topic, each.history):
            sentence = (
                f"asked to {case.route.step_of(each.topic)} without {lacks}: its history is {shown(each.history)}"
            )
            yield case.finding("no-predecessor", sentence, each.place)
    for step, each in _unsupported(case).items():
        topic = case.route.topic_of(step)
        sentence = f"asked to {case.route.step_of(each.topic)} after {step}, but nothing on {topic} asks for {step}"
        yield case.finding("no-predecessor", sentence, each.place)


def missing_before(route: Route, topic: str, history: History) -> str | None:
    """What should be in the history of a message on this topic and is not, in words."""
    if topic not in route.compensations:
        if topic not in route.topics:
            return "being on its route"
        wanted = tuple((step, "done") for step in route.names[: route.topics.index(topic)])
        absent = [step for step, outcome in wanted if (step, outcome) not in history]
        if absent:
            return f"{' and '.join(absent)} done"
        return None if history == wanted else "this and nothing else behind it"
    turn = next((n for n, (_, outcome) in enumerate(history) if outcome != "done"), None)
    if turn is None:
        return 'a "no" that turned it round'
    if tuple(step for step, _ in history[: turn + 1]) != route.names[: turn + 1]:
        return "its steps in order"
    return _missing_compensation(
        route, topic, history[:turn], [route.topic_of(step) for step, _ in history[turn + 1 :]]
    )


def _missing_compensation(route: Route, topic: str, done: History, compensated: list[str]) -> str | None:
    """A rollback compensates the newest step first, and leaves out none that is done. `compensated`: topics."""
    way = [*compensated, topic]
    if [undo for undo in route.compensations if undo in way] != way:
        return "the compensations in their order"
    newer = route.compensations[: route.compensations.index(topic)]
    wanted = [route.undo_of(step) for step, _ in done]
    absent = [name_on(undo) for undo in wanted if undo in newer and undo not in compensated]
    return f"{' and '.join(absent)} before it" if absent else None


def _unsupported(case: Case) -> dict[str, Asked]:
    """Steps that a message says are behind it, though nothing that is still there has asked for them."""
    asked_for = {each.topic for each in case.asked}
    found: dict[str, Asked] = {}
    for each in case.beyond_first:
        for step, outcome in each.history:
            topic = case.route.topic_of(step)
            if topic in asked_for or outcome == "cancelled":  # a step that was cancelled may not have been asked for
                continue
            if case.route.knows(step) and case.whole(topic, each.partition):
                found.setdefault(step, each)
    return found


def unnoted_letter(case: Case) -> Iterator[Finding]:
    """A dead letter that the saga's row has not heard of: nobody is told that it waits for somebody."""
    unheard = {letter.original: letter for letter in case.letters if not _is_noted(case, letter)}
    for letter in unheard.values():
        row = f"its row says {case.last.state} at {case.last.step}" if case.last else "it has no row"
        sentence = f"{letter.original} is a dead letter ({letter.error} at {letter.step}), but {row}"
        yield case.finding("unnoted-dead-letter", sentence, letter.place, case.last.place if case.last else None)


def _is_noted(case: Case, letter: Letter) -> bool:
    """A row that is further along than parked with this letter may have taken the place of one that was."""
    parked = False, False, len(letter.history), letter.attempt, True
    return any(row.rank >= parked for row in case.rows)
