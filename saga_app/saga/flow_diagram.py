"""The flow of a saga, drawn from its plan: what the README shows is what the code does.

python -m saga_app.saga.flow_diagram
"""

from itertools import accumulate

from saga_app.saga.onboarding import FOLLOW_UP, MAIL, ONBOARDING
from saga_app.saga.plan import Plan
from saga_app.saga.retry import Deferred, Retry
from saga_app.saga.times import span

ARROW = " ─► "


def picture(plan: Plan, asker: str = "New User") -> str:
    """Three lines: the way there, and below it the way back."""
    there, centres = asker, []
    for step in plan.steps:
        there += f"{ARROW}{step.topic}{ARROW}"
        centres.append(len(there) + len(step.service) // 2)
        there += step.service.upper()
    there += f" ({plan.steps[-1].name})"
    ends, back = [" "] * len(there), [" "] * len(there)
    for step, here, next_one in zip(plan.steps, centres, centres[1:], strict=False):
        if step.undo:
            left, right = here + 1, next_one - 1
            ends[left], ends[right] = "▲", "│"
            back[left : right + 1] = "└" + f" {step.undo} ◄".center(right - left - 1, "─") + "┘"
    return "\n".join("".join(line).rstrip() for line in (list(there), ends, back))


def patience(plan: Plan) -> str:
    """A table of the steps, as Markdown: who does it, what undoes it, and for how long it is tried (seconds)."""
    lines = [
        "| step | who | undone by | deadline | attempts | reach | retry budget |",
        "|---|---|---|---|---|---|---|",
    ]
    for step in plan.steps + plan.compensations:
        about = (step.name, step.service.capitalize(), step.undo or "–", f"{step.deadline:g} s")
        lines.append(
            f"| {' | '.join(about)} | {step.retry.attempts} | {span(step.retry.reach)} | {step.retry.budget:g} s |"
        )
    return "\n".join(lines)


def schedule(retry: Retry) -> str:
    """When each attempt begins if none takes any time: seconds since the first, at the longest delays."""
    delays = [retry.delay(attempt, Deferred(), 1.0) or 0.0 for attempt in range(1, retry.attempts)]
    return ", ".join(f"{at:g}" for at in accumulate(delays, initial=0.0))


if __name__ == "__main__":
    print(picture(ONBOARDING), patience(ONBOARDING), schedule(MAIL), schedule(FOLLOW_UP), sep="\n\n")
