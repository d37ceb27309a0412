"""The stages of the processing of a record, and how to kill a process at the end of one."""

import inspect
import os
import signal
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.attempts import Attempts
from saga_app.service.memory.effects_memory import EffectsMemory
from saga_app.service.memory.initiator_memory import InitiatorMemory
from saga_app.service.step import StepLoop
from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.produce.batching_producer import BatchingProducer
from saga_app.stream.produce.outputs import Outputs
from saga_app.stream.table.table import Table

Function = Callable[..., Any]


class Stage(NamedTuple):
    """A stage is complete when one of these functions returns.

    `services`: those that reach it. `call`: the call after which a process is killed, in the middle of its first
    records. `counts`: whether to count a call, by its arguments.
    """

    functions: tuple[tuple[Any, str], ...]
    services: tuple[str, ...] = ONBOARDING.services
    call: int = 8
    counts: Function = lambda *_arguments: True


STAGES = {
    "decoded": Stage(((StepLoop, "read"),)),
    "decided": Stage(((InitiatorMemory, "decide"), (EffectsMemory, "decide"))),
    "intent recorded": Stage(((EffectsMemory, "record_intent"),), ("notifier",)),
    "acted": Stage(((Attempts, "act"),)),
    "result recorded": Stage(((EffectsMemory, "record_result"),), ("notifier",)),
    "row written": Stage(((StepLoop, "advance"),)),
    "outputs collected": Stage(((StepLoop, "send_on"),)),
    "outputs handed to librdkafka": Stage(((BatchingProducer, "_tick"),), call=3, counts=len),
    "outputs acknowledged": Stage(((Outputs, "wait_for_reports"),), call=3),
    "rows stored": Stage(((Table, "_flush"),), ("provisioner", "notifier"), call=3),
    "record finished": Stage(((Batch, "finish"),)),
    "offset committed": Stage(((Ledger, "mark_committed"),), call=2),
}


def kill_at_end_of(stage: Stage) -> None:
    """Kill this process at the end of this stage."""
    calls = count(1)
    for owner, name in stage.functions:
        setattr(owner, name, _with_kill(getattr(owner, name), stage, calls))


def _with_kill(function: Function, stage: Stage, calls: "count[int]") -> Function:
    def end_of_call(*arguments: Any) -> None:
        if stage.counts(*arguments) and next(calls) == stage.call:
            os.kill(os.getpid(), signal.SIGKILL)

    def plain(*arguments: Any) -> Any:
        result = function(*arguments)
        end_of_call(*arguments)
        return result

    async def waiting(*arguments: Any) -> Any:
        result = await function(*arguments)
        end_of_call(*arguments)
        return result

    return waiting if inspect.iscoroutinefunction(function) else plain
