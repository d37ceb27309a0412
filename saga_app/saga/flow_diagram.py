"""The diagram and the tables of a saga's flow, generated from its plan for the README and the documentation.

python -m saga_app.saga.flow_diagram
"""

from itertools import accumulate

from saga_app.saga.onboarding import FOLLOW_UP, MAIL, ONBOARDING
from saga_app.saga.plan import Plan
from saga_app.saga.retry import Deferred, Retry
from saga_app.saga.times import span

ARROW = " ─► "


def flow_diagram(plan: Plan, asker: str = "New User") -> str:
    """The flow in three lines: the steps, and below them the compensations. `asker` is what starts the saga."""
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


def retry_table(plan: Plan) -> str:
    """A Markdown table of the steps: service, compensation, deadline and retry limits."""
    lines = [
        "| step | service | compensation | deadline | attempts | reach | retry budget |",
        "|---|---|---|---|---|---|---|",
    ]
    for step in plan.steps + plan.compensations:
        about = (step.name, step.service.capitalize(), step.undo or "–", f"{step.deadline:g} s")
        lines.append(
            f"| {' | '.join(about)} | {step.retry.attempts} | {span(step.retry.reach)} | {step.retry.budget:g} s |"
        )
    return "\n".join(lines)


def attempt_times(retry: Retry) -> str:
    """The start of each attempt in seconds after the first, if attempts take no time and delays are the longest."""
    delays = [retry.delay(attempt, Deferred(), 1.0) or 0.0 for attempt in range(1, retry.attempts)]
    return ", ".join(f"{at:g}" for at in accumulate(delays, initial=0.0))


if __name__ == "__main__":
    print(flow_diagram(ONBOARDING), retry_table(ONBOARDING), attempt_times(MAIL), attempt_times(FOLLOW_UP), sep="\n\n")
