"""The plan of this process, and its topics, consumer groups and changelogs in Kafka.

The plan is the onboarding, or the one that `SAGA_PLAN=package.module:PLAN` names. It is read once, when this module is
imported: the settings, the topics and the routes derive from it.
"""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NoReturn

from saga_app.saga.messages import DLQ, SIGNALS
from saga_app.saga.plan import Plan

PLAN_VARIABLE = "SAGA_PLAN"
DEFAULT_PLAN = "saga_app.saga.onboarding:ONBOARDING"


def load(environment: Mapping[str, str]) -> Plan:
    """Load the plan that the environment names.

    Exits with code 2 and one line if it cannot be imported, is inconsistent, or is not a `Plan`.
    """
    reference = environment.get(PLAN_VARIABLE) or DEFAULT_PLAN
    found = load_object(PLAN_VARIABLE, reference)
    if not isinstance(found, Plan):
        kind = type(found).__name__
        _exit(f"{PLAN_VARIABLE}={reference} is invalid: it is a {kind}; allowed: package.module:NAME of a Plan")
    return found


def load_object(variable: str, reference: str) -> Any:
    """Import the object `package.module:NAME`. On failure exits with code 2 and one line that names the variable."""
    module, _, name = reference.partition(":")
    if not module or not name:
        _exit(f"{variable}={reference} is invalid; allowed: package.module:NAME")
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # the import of a user's package can raise anything
        problem = f"{type(error).__name__}: {error}".replace("\n", " ")
        _exit(f"{variable}={reference} cannot be loaded ({problem}); is its package installed or on PYTHONPATH?")


def _exit(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    raise SystemExit(2)


PLAN = load(os.environ)

#: The services of the plan, in order.
SERVICES = PLAN.services

#: The changelog of the saga rows, which only the initiator writes. Faust builds the name from app id and table.
ROWS_CHANGELOG = f"{PLAN.initiator}-sagas-changelog"

#: The changelogs of the other services' tables `effects`, by service.
EFFECTS_CHANGELOGS = {service: f"{service}-effects-changelog" for service in SERVICES if service != PLAN.initiator}

#: The topics that the consumer group of each service reads.
READS = {service: tuple(step.topic for step in PLAN.of(service)) for service in SERVICES}
READS[PLAN.initiator] += (DLQ, SIGNALS)

#: The topics from which the history of a saga is read.
TOPICS = (*PLAN.topics, SIGNALS, DLQ, ROWS_CHANGELOG)
