"""One run: everything begins, everything comes to rest, operators tidy up, and the oracle has its say."""

import logging
from collections import Counter
from dataclasses import dataclass, field

import structlog

from tests.simulation import counts, oracle
from tests.simulation.auditor import audited
from tests.simulation.clock import VirtualLoop
from tests.simulation.operator import ROUNDS, Operators
from tests.simulation.parameters import Parameters
from tests.simulation.system import System

SILENT = structlog.make_filtering_bound_logger(logging.CRITICAL)
#: The longest that a run may take until nothing is under way: the reach of a mail's retries, and more (seconds).
LONGEST_S = 12 * 3600.0


@dataclass(slots=True)
class Result:
    """What was wrong, sentence by sentence, and what happened."""

    seed: int
    parameters: Parameters
    wrong: list[str]
    happened: Counter[str]
    system: System | None = field(default=None, repr=False)


def run(seed: int, parameters: Parameters, *, keep: bool = False) -> Result:
    """Play it. `keep`: the system, too, to look at."""
    logs = structlog.get_config()
    structlog.configure(wrapper_class=SILENT)
    loop = VirtualLoop()
    try:
        system = System(seed, parameters, loop)
        operators = Operators(system)
        system.begin()
        wrong = _play(system, operators)
        return Result(seed, parameters, wrong, system.happened, system if keep else None)
    finally:
        loop.end()
        structlog.configure(**logs)


def _play(system: System, operators: Operators) -> list[str]:
    wrong = _rest(system, operators)
    system.calm()
    for _ in range(ROUNDS):
        if wrong or not operators.finish():
            break
        wrong = _rest(system, operators)
    return wrong or _judged(system, operators)


def _judged(system: System, operators: Operators) -> list[str]:
    """By our own oracle, and by the one that ships."""
    cases = oracle.cases(system, operators.orders)
    counts.count(system.happened, cases)
    return [*oracle.judge(system, cases), *audited(system)]


def _rest(system: System, operators: Operators) -> list[str]:
    """Until nothing is under way: then every saga has ended or waits for somebody."""
    if not system.loop.until_idle(LONGEST_S):
        system.bus.wrong.append("it does not come to rest")
    return [*system.bus.wrong, *oracle.at_rest(system, operators.orders)]
