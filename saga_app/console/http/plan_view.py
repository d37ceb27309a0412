"""The plan as `GET /api/plan` returns it. The page takes its stations, lanes and texts from it."""

from saga_app.console.http.schemas import CompensationWords, PlanCompensation, PlanStep, PlanView, StepWords
from saga_app.saga.plan import Plan, Step


def plan_view(plan: Plan) -> PlanView:
    """The steps of a plan in order, and their compensations."""
    return PlanView(
        name=plan.name,
        services=list(plan.services),
        steps=[_step(plan, step) for step in plan.steps],
        compensations=[_compensation(plan, step) for step in plan.compensations],
    )


def _step(plan: Plan, step: Step) -> PlanStep:
    compensation = plan.on(step.undo) if step.undo else None
    compensated = compensation.done if compensation else None
    return PlanStep(
        name=step.name,
        topic=step.topic,
        service=step.service,
        label=step.label,
        icon=step.words.icon,
        summary=step.words.summary,
        words=StepWords(requested=step.requested, done=step.done, compensated=compensated),
        fact=step.fact.name if step.fact else None,
        fact_label=step.fact.label if step.fact else None,
        fact_shown_as=step.fact.shown_as if step.fact else None,
        compensation=compensation.name if compensation else None,
    )


def _compensation(plan: Plan, step: Step) -> PlanCompensation:
    return PlanCompensation(
        name=step.name,
        topic=step.topic,
        service=step.service,
        label=step.label,
        icon=step.words.icon,
        summary=step.words.summary,
        words=CompensationWords(requested=step.requested, done=step.done, not_needed=step.words.not_needed or None),
        compensates=[each.name for each in plan.compensated_by(step.topic)],
    )
