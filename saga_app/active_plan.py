"""The plan that this process works by, and what Kafka holds for it: topics, consumer groups, changelogs.

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

VARIABLE = "SAGA_PLAN"
DEFAULT = "saga_app.saga.onboarding:ONBOARDING"


def load(environment: Mapping[str, str]) -> Plan:
    """The plan that the environment names.

    Exits with code 2 and one line if it cannot be imported, is inconsistent, or is not a `Plan`.
    """
    reference = environment.get(VARIABLE) or DEFAULT
    found = load_object(VARIABLE, reference)
    if not isinstance(found, Plan):
        _exit(
            f"{VARIABLE}={reference} is wrong: it is a {type(found).__name__}; allowed: package.module:NAME of a Plan"
        )
    return found


def load_object(variable: str, reference: str) -> Any:
    """What `package.module:NAME` refers to. Exits with code 2 and one line that names the variable if it fails."""
    module, _, name = reference.partition(":")
    if not module or not name:
        _exit(f"{variable}={reference} is wrong; allowed: package.module:NAME")
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # whatever a user's package raises when it is imported
        problem = f"{type(error).__name__}: {error}".replace("\n", " ")
        _exit(f"{variable}={reference} cannot be loaded ({problem}); is its package installed or on PYTHONPATH?")


def _exit(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    raise SystemExit(2)


PLAN = load(os.environ)

#: The services of the plan, in order.
SERVICES = PLAN.services

#: The changelog of the saga rows, which only the initiator writes. Faust names it: app id, table, "changelog".
ROWS_CHANGELOG = f"{PLAN.initiator}-sagas-changelog"

#: The changelogs of the other services' tables `effects`, by service.
EFFECTS_CHANGELOGS = {service: f"{service}-effects-changelog" for service in SERVICES if service != PLAN.initiator}

#: The topics that the consumer group of each service reads.
READS = {service: tuple(step.topic for step in PLAN.of(service)) for service in SERVICES}
READS[PLAN.initiator] += (DLQ, SIGNALS)

#: The topics in which everything that happens to a saga can be read.
TOPICS = (*PLAN.topics, SIGNALS, DLQ, ROWS_CHANGELOG)
