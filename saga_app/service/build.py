"""Creates the agents of a service, one per step, and its external systems."""

from faust import StreamT

from saga_app.active_plan import PLAN, load_object
from saga_app.environment import WrongEnvironment
from saga_app.saga.plan import Plan
from saga_app.service.app import App
from saga_app.service.fault_injection import FaultInjection
from saga_app.service.kafka.broker_clock import BrokerClock
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.republisher import Republisher, Schedule
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.service.step import StepLoop
from saga_app.service.world import World
from saga_app.settings import Settings
from saga_app.stream import Pool, Table


def make_world(settings: Settings) -> World:
    """Create the external systems with the factory that SAGA_WORLD names.

    Ends the process with one line if it cannot be loaded; raises `WrongEnvironment` if it does not return a `World`.
    """
    made = load_object("SAGA_WORLD", settings.world)(settings)
    if not isinstance(made, World):
        raise WrongEnvironment(
            f"SAGA_WORLD={settings.world} is invalid: it returns a {type(made).__name__}; allowed: a function from the "
            "settings to a saga_app.service.World"
        )
    return made


def serve_steps(app: App, kept: Rows | Table, broker_clock: BrokerClock | None = None, plan: Plan = PLAN) -> None:
    """Add an agent for each step of this service. Its help text is the docstring of the step function.

    `kept`: the saga rows, at the initiator; the table `effects`, at the other services.
    """
    outside, faults = make_world(app.settings), FaultInjection.of(app.settings)
    app.close_hooks.append(outside.close)
    rows = kept if isinstance(kept, Rows) else add_effects(app, plan, kept, outside)
    for step in plan.of(app.conf.id):
        partitions, refusals = app.settings.partitions, app.refusals
        loop = StepLoop(
            plan,
            step,
            outside,
            partitions,
            rows,
            refusals,
            broker_clock,
            faults,
            other_topics=app.gate.topics.existing,
        )
        listen(app, step.topic, step.act.__doc__ or "", step.name, loop)


def add_effects(app: App, plan: Plan, table: Table, outside: World) -> Effects:
    """Add the timer for delayed requests to a service, and return the rows of its table `effects`."""
    schedule = Schedule(outside.clock)
    effects = Effects(table, schedule.row_written)
    app.service(Republisher(app, plan, table, effects.get, schedule))  # type: ignore[arg-type]  # an instance is fine
    return effects


def listen(app: App, topic: str, help: str, name: str, listener: StepLoop | Observer) -> None:
    """Add an agent that passes every record of a topic to `listener` through the stream layer."""

    async def agent(stream: StreamT[bytes]) -> None:
        together = listener.handle_run if isinstance(listener, StepLoop) else None
        pool = Pool(app, listener.handle, timeout_s=None, on_refusal=listener.on_refusal, together=together)
        await pool.run(stream)

    agent.__doc__, agent.__name__ = help, name
    source = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    app.agent(source, name=name)(agent)
