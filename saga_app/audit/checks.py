"""A saga's way: begun and ended, once, with one device, one step after the other, and its dead letters noted."""

from collections.abc import Iterator

from saga_app.audit.case import Case, Finding, iso, shown, span
from saga_app.audit.evidence import Asked, History, Letter
from saga_app.audit.plan import STEP_OF, STEPS, TOPIC_OF, UNDO_OF, UNDOS


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
        where = f"it has no row, it was last asked to {STEP_OF[newest.topic]}"
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
        if lacks := missing_before(each.topic, each.history):
            sentence = f"asked to {STEP_OF[each.topic]} without {lacks}: its history is {shown(each.history)}"
            yield case.finding("no-predecessor", sentence, each.place)
    for step, each in _unsupported(case).items():
        sentence = f"asked to {STEP_OF[each.topic]} after {step}, but nothing on {TOPIC_OF[step]} asks for {step}"
        yield case.finding("no-predecessor", sentence, each.place)


def missing_before(topic: str, history: History) -> str | None:
    """What should be in the history of a message on this topic and is not, in words."""
    if topic not in UNDOS:
        wanted = tuple((step, "done") for step in STEPS[: STEPS.index(STEP_OF[topic])])
        absent = [step for step, outcome in wanted if (step, outcome) not in history]
        if absent:
            return f"{' and '.join(absent)} done"
        return None if history == wanted else "this and nothing else behind it"
    turn = next((n for n, (_, outcome) in enumerate(history) if outcome != "done"), None)
    if turn is None:
        return 'a "no" that turned it round'
    if tuple(step for step, _ in history[: turn + 1]) != STEPS[: turn + 1]:
        return "its steps in order"
    return _missing_undo(topic, history[:turn], tuple(step for step, _ in history[turn + 1 :]))


def _missing_undo(topic: str, done: History, undone: tuple[str, ...]) -> str | None:
    """The way back goes from the newest step to the oldest and leaves out nothing that is done."""
    way = [*undone, topic]
    if [undo for undo in UNDOS if undo in way] != way:
        return "the undos in their order"
    newer = UNDOS[: UNDOS.index(topic)]
    absent = [UNDO_OF[step] for step, _ in done if UNDO_OF.get(step) in newer and UNDO_OF[step] not in undone]
    return f"{' and '.join(absent)} before it" if absent else None


def _unsupported(case: Case) -> dict[str, Asked]:
    """Steps that a message says are behind it, though nothing that is still there has asked for them."""
    asked_for = {each.topic for each in case.asked}
    found: dict[str, Asked] = {}
    for each in case.beyond_first:
        for step, outcome in each.history:
            topic = TOPIC_OF.get(step, step)
            if topic in asked_for or outcome == "cancelled":  # a step that was cancelled may not have been asked for
                continue
            if step in TOPIC_OF and case.whole(topic, each.partition):
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
