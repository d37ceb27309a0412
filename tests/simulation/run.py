"""Runs one seed until the system is idle, lets the operators settle parked sagas, and checks the result."""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from tests.simulation import counts, oracle
from tests.simulation.auditor import audit_violations
from tests.simulation.clock import VirtualLoop
from tests.simulation.operator import SETTLE_ROUNDS, Operators
from tests.simulation.parameters import Parameters
from tests.simulation.system import System

SILENT_LOGGER = structlog.make_filtering_bound_logger(logging.CRITICAL)
#: The longest virtual time until the system is idle: more than the reach of the retries of a mail (seconds).
MAX_RUN_S = 12 * 3600.0


@dataclass(slots=True)
class Result:
    """The violations of a run as sentences, and the number of events by kind."""

    seed: int
    parameters: Parameters
    violations: list[str]
    events: Counter[str]
    system: System | None = field(default=None, repr=False)


def run(seed: int, parameters: Parameters, *, keep_system: bool = False) -> Result:
    """Run one seed. With `keep_system`, the result has the system, for tests that inspect it."""
    log_configuration = structlog.get_config()
    structlog.configure(wrapper_class=SILENT_LOGGER)
    loop = VirtualLoop()
    try:
        system = System(seed, parameters, loop)
        loop.set_exception_handler(partial(_report_callback_error, system))
        operators = Operators(system)
        system.start()
        violations = _run_to_end(system, operators)
        return Result(seed, parameters, violations, system.events, system if keep_system else None)
    finally:
        loop.shut_down()
        structlog.configure(**log_configuration)


def _report_callback_error(system: System, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report an error in a callback of the loop. An error in a task is reported when the task is awaited."""
    if "handle" in context:
        system.bus.violations.append(f"unexpected error: {context.get('exception')!r}")


def _run_to_end(system: System, operators: Operators) -> list[str]:
    violations = _run_until_idle(system, operators)
    system.stop_faults()
    for _ in range(SETTLE_ROUNDS):
        if violations or not operators.settle_parked():
            break
        violations = _run_until_idle(system, operators)
    return violations or _check_end(system, operators)


def _check_end(system: System, operators: Operators) -> list[str]:
    """The violations that the oracle and `saga audit` find."""
    cases = oracle.collect_cases(system, operators.signals)
    counts.count_outcomes(system.events, cases)
    return [*oracle.check_cases(system, cases), *audit_violations(system)]


def _run_until_idle(system: System, operators: Operators) -> list[str]:
    if not system.loop.run_until_idle(MAX_RUN_S):
        system.bus.violations.append(f"the system is not idle after {MAX_RUN_S:g} s")
    return [*system.bus.violations, *oracle.check_idle(system, operators.signals)]
