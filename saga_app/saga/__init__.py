"""The saga itself, pure: no Kafka, no clock, no network. Read `onboarding.py` first.

These are the names needed to define your own plan; see docs/how-to/build-your-own-saga.md.
"""

from saga_app.saga.messages import Message, User
from saga_app.saga.plan import Denied, Done, Fact, Outcome, Plan, Step, Words
from saga_app.saga.retry import Deferred, Permanent, Retry, Transient

__all__ = [
    "Deferred",
    "Denied",
    "Done",
    "Fact",
    "Message",
    "Outcome",
    "Permanent",
    "Plan",
    "Retry",
    "Step",
    "Transient",
    "User",
    "Words",
]
