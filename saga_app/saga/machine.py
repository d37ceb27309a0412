"""The state machine of a saga: pure functions that decide, for the loop of a service to carry out.

`decide` says what to do with a request, judged by the row of its saga; `answer_of` is the result of a step, and
`next_after` where the saga goes after it. Requests are admitted in admission.py; rows are built and joined in
saga_row.py; signals are applied in operator_signals.py.
"""

from datetime import datetime
from typing import Literal

from saga_app.saga import saga_row
from saga_app.saga.codec import replace_fields
from saga_app.saga.decisions import ABSORB, ACT, Decision, End, Next, Resume
from saga_app.saga.messages import Answer, Message, Row, Slip, Visit
from saga_app.saga.plan import Denied, Outcome, Plan, Step
from saga_app.saga.states import State


def decide(plan: Plan, row: Row, request: Message) -> Decision:
    """What to do with a request to the initiator, judged by the row of its saga."""
    if is_past(row, request):
        return ABSORB
    onward = resume_after(plan, row, request)
    return Resume(onward, row.updated_at) if onward else ACT


def is_past(row: Row, request: Message) -> bool:
    """Whether the saga is past the step that this request is for, so that the request can be ignored.

    A saga that is exactly one step further is not past it: its row may have been written without the next request
    having been sent, see `resume_after`.
    """
    if row.ended or not saga_row.is_rolling_back(row):
        return row.ended or len(row.history) > len(request.history) + 1
    return not is_compensating(request) or len(row.history) > len(request.history) + 1


def is_compensating(request: Message) -> bool:
    """Whether a request is part of a rollback."""
    return request.slip is not None and request.slip.undoing


def resume_after(plan: Plan, row: Row, request: Message) -> Next | None:
    """The next request of a saga whose row is exactly one step past `request`; None in all other cases.

    The caller sends it again, because it may not have been sent.
    """
    if row.state != "running" or is_compensating(request) or len(row.history) != len(request.history) + 1:
        return None
    return Next(saga_row.topic_of(plan, row), saga_row.request_of(row))


def answer_of(
    step: Step,
    outcome: Outcome,
    attempts: int,
    received_at: datetime,
    started_at: datetime,
    ended_at: datetime,
    failed: bool = False,
) -> Answer:
    """The result of a step: a history entry and facts.

    `failed`: a denial counts as a failure, because all attempts were used up. The times are put in order in case the
    clock was set back.
    """
    started_at = max(received_at, started_at)
    ended_at = max(started_at, ended_at)
    no: Literal["failed", "denied"] = "failed" if failed else "denied"
    line = Visit(
        step=step.name,
        service=step.service,
        attempts=attempts,
        received_at=received_at,
        started_at=started_at,
        ended_at=ended_at,
        outcome=no if isinstance(outcome, Denied) else "done",
        reason=outcome.reason if isinstance(outcome, Denied) else outcome.remark,
    )
    return Answer(line, {} if isinstance(outcome, Denied) else outcome.facts)


def next_after(request: Message, step: Step, answer: Answer) -> Next | End:
    """Decide where the saga goes after a step.

    A completed step leads to the next topic of the slip. A step that was denied or failed starts the rollback: the
    compensations of the completed steps become the topics ahead.
    """
    slip = request.slip or Slip([], [])
    history, facts = [*request.history, answer.visit], request.facts | answer.facts
    if slip.undoing:
        ahead, back, undoing = slip.ahead, slip.back, True
    elif answer.visit.outcome != "done":
        ahead, back, undoing = slip.back, [], True
    else:
        ahead, back, undoing = slip.ahead, [step.undo, *slip.back] if step.undo else slip.back, False
    onward = Slip(ahead[1:], back, undoing)
    message = replace_fields(request, attempt=1, facts=facts, slip=onward, history=history)
    return Next(ahead[0], message) if ahead else End(_end_state(message, undoing), message)


def _end_state(message: Message, undoing: bool) -> State:
    """The final state. Entries after the first denial are compensations; all must be done for a complete rollback."""
    if not undoing:
        return "completed"
    outcomes = [line.outcome for line in message.history]
    turn = next((i for i, outcome in enumerate(outcomes) if outcome != "done"), len(outcomes))
    return "rolled-back" if all(outcome == "done" for outcome in outcomes[turn + 1 :]) else "rollback-incomplete"
