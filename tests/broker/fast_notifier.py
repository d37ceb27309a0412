"""A Notifier that retries mails after seconds, not minutes; its retries still wait outside their partition."""

from dataclasses import replace

from saga_app import workers
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Plan, Step
from saga_app.saga.retry import Retry
from saga_app.service import build
from tables.effects import effects

SHORT_RETRIES = Retry(attempts=12, timeout=20.0, delays=(0.2, 20.0, 3.0), jitter=0.25, hold=0.5)


def with_short_retries(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps, with `SHORT_RETRIES` for those of the Notifier."""
    return tuple(replace(step, retry=SHORT_RETRIES) if step.service == "notifier" else step for step in steps)


app = workers.service("notifier")
build.serve_steps(
    app,
    effects(app),
    plan=Plan(ONBOARDING.name, with_short_retries(ONBOARDING.steps), with_short_retries(ONBOARDING.compensations)),
)
