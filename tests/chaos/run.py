"""A run of the chaos test, from the first process to the scoreboard."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from devtools.audit_command import audit
from devtools.real_kafka import RealKafka
from devtools.system import System
from devtools.wait import free_port
from saga_app.saga.codec import decode
from saga_app.saga.messages import DEAD_LETTER, DLQ, DeadLetter
from tests.chaos.fault_log import FaultLog
from tests.chaos.faults import WORKERS, FaultInjector, schedule
from tests.chaos.mailbox import Mailbox
from tests.chaos.noise import Noise
from tests.chaos.operator import OperatorBot
from tests.chaos.options import Options
from tests.chaos.page_check import differing_sagas
from tests.chaos.progress_watch import ProgressWatch
from tests.chaos.scoreboard import Scoreboard
from tests.chaos.users import Users
from tests.chaos.verdict import Evidence, judge
from tests.topics import read, rows

#: How long the system may take to become idle after the faults, and how often it is polled (seconds).
SETTLE_TIMEOUT_S, POLL_INTERVAL_S = 240.0, 2.0

#: How often the progress is printed while faults are injected (seconds).
PROGRESS_INTERVAL_S = 30.0

SERVICES = ("provisioner", "authorizer", "notifier")


@dataclass
class Environment:
    """Everything that runs during a chaos test."""

    options: Options
    broker: RealKafka
    mailbox: Mailbox
    system: System
    fault_log: FaultLog
    users: Users
    noise: Noise
    operator: OperatorBot
    watch: ProgressWatch
    fault_injector: FaultInjector


def run(options: Options, directory: Path) -> Scoreboard:
    """Inject faults, wait until the system is idle, and check the outcome. `directory`: for logs and data."""
    began = time.time()
    with environment(options, directory) as env:
        env.watch.start()
        env.users.start()
        env.noise.start()
        env.operator.start()
        env.fault_injector.start()
        wait_for_fault_phase(env)
        stop_faults(env)
        is_idle = settle(env)
        env.watch.stop()
        write_timeline(env, directory / "timeline.json")
        failures = [*env.users.failures, *env.fault_injector.failures, *env.operator.failures]
        if not is_idle:
            failures.append(f"not idle after {SETTLE_TIMEOUT_S:g} s: consumer lag {env.watch.stalls.lag}")
        return make_scoreboard(env, failures, began)


@contextmanager
def environment(options: Options, directory: Path) -> Iterator[Environment]:
    """Start a broker, a mail server and `saga up`, and stop them at the end; the output of `saga up` is kept."""
    with ExitStack() as stack:
        broker = RealKafka(directory / "kafka")
        broker.start()
        stack.callback(broker.stop)
        mailbox = stack.enter_context(Mailbox(free_port(), options.seed))
        arguments = ("--broker", f"kafka://{broker.bootstrap}", "--workers", str(WORKERS))
        data = directory / "system"
        data.mkdir()
        system = System(data, *arguments, mail=mailbox.url, **options.settings)
        stack.callback(lambda: (directory / "saga-up.log").write_text("\n".join(system.lines)))
        stack.callback(system.end)
        system.ready()
        fault_log, seed, fault_phase_s = FaultLog(), options.seed, options.fault_phase_s
        yield Environment(
            options,
            broker,
            mailbox,
            system,
            fault_log,
            Users(system.url, broker.bootstrap, options.sagas, fault_phase_s, seed),
            Noise(broker.bootstrap, options.sagas, fault_phase_s, seed),
            OperatorBot(system.url, seed),
            ProgressWatch(broker.bootstrap, worker_ports(system)),
            FaultInjector(schedule(seed, fault_phase_s), system, broker, fault_log),
        )


def worker_ports(system: System) -> list[int]:
    """The metrics ports of all workers except the console."""
    return [system.settings[f"{service}_port"] + 100 * n for service in SERVICES for n in range(WORKERS)]


def wait_for_fault_phase(env: Environment) -> None:
    """Return when the time for faults is over; print the progress until then."""
    began = printed = time.monotonic()
    while time.monotonic() - began < env.options.fault_phase_s:
        time.sleep(0.5)
        if time.monotonic() - printed > PROGRESS_INTERVAL_S:
            printed = time.monotonic()
            print_progress(env, "injecting faults")


def print_progress(env: Environment, phase: str) -> None:
    faults = sum(env.fault_log.counts_by_kind().values())
    print(
        f"{phase}: {len(env.users.accepted)} of {env.options.sagas} users accepted, {faults} faults, "
        f"consumer lag {env.watch.stalls.lag}, longest stall {env.watch.stalls.longest}",
        flush=True,
    )


def stop_faults(env: Environment) -> None:
    """Stop faults, noise and operator, and wait until all users are sent."""
    env.fault_injector.stop()
    env.noise.stop()
    env.operator.stop()
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while not env.users.all_sent and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)


def settle(env: Environment) -> bool:
    """Roll back parked sagas until no saga is parked or unfinished and all records are committed; False on timeout."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    idle_polls = 0
    while time.monotonic() < deadline:
        since = time.time()
        parked = env.operator.roll_back_parked()
        time.sleep(POLL_INTERVAL_S)
        idle_polls = idle_polls + 1 if not parked and env.watch.is_idle(since) else 0
        if idle_polls > 1 and not count_unfinished(env):
            return True
        print_progress(env, f"settling, {parked} parked")
    return False


def count_unfinished(env: Environment) -> int:
    """The number of accepted users whose saga has not ended according to the changelog."""
    has_ended = {id: versions[-1].ended for id, versions in rows(env.broker.bootstrap).items()}
    return sum(not has_ended.get(id, False) for id in env.users.accepted)


def make_scoreboard(env: Environment, failures: list[str], began: float) -> Scoreboard:
    """Read all topics with an independent client, and judge the run. `failures`: of the test itself."""
    bootstrap = env.broker.bootstrap
    versions = rows(bootstrap)
    verdict = judge(
        Evidence(
            accepted=env.users.accepted,
            versions=versions,
            copies=env.mailbox.copies,
            garbage=frozenset(env.noise.garbage),
            dead_letters=frozenset(read_dead_letter_positions(bootstrap)),
            faults=env.fault_log.faults,
            deadline_s=env.options.settings["deadline"],
            checked_at=time.time(),
        )
    )
    stall = env.watch.stalls.longest
    return Scoreboard(
        options={"sagas": env.options.sagas, "minutes": env.options.minutes, "seed": env.options.seed},
        accepted=len(env.users.accepted),
        verdict=verdict,
        longest_stall=stall,
        faults_during_stall=env.fault_log.overlapping(stall.until - stall.seconds, stall.until),
        absorbed=env.watch.counters.total("saga_duplicates_total"),
        forwarded=env.watch.counters.total("saga_forwarded_total"),
        faults=dict(env.fault_log.counts_by_kind()),
        noise=dict(env.noise.counts),
        operator=dict(env.operator.accepted),
        mails=sum(map(len, env.mailbox.copies.values())),
        differing_in_console=differing_sagas(env.system.url, {id: all[-1].state for id, all in versions.items()}),
        audit=audit(bootstrap),
        failures=failures,
        fault_phase_s=env.options.fault_phase_s,
        duration_s=time.time() - began,
    )


def read_dead_letter_positions(bootstrap: str) -> Iterator[tuple[str, int, int]]:
    """Topic, partition and offset of the original record of each dead letter."""
    for record in read(bootstrap, DLQ):
        if DEAD_LETTER in record.headers:
            letter = decode(DeadLetter, record.headers[DEAD_LETTER])
            yield letter.topic, letter.partition, letter.offset


def write_scoreboard(scoreboard: Scoreboard, file: Path) -> None:
    """Write the scoreboard as JSON."""
    file.write_text(json.dumps(scoreboard.to_json(), indent=2, default=str) + "\n")


def write_timeline(env: Environment, file: Path) -> None:
    """Write all faults and mails and the accepted users as JSON, to find the cause of a failure."""
    timeline = {
        "faults": [asdict(fault) for fault in env.fault_log.faults],
        "mails": {id: [asdict(copy) for copy in copies] for id, copies in env.mailbox.copies.items()},
        "accepted": env.users.accepted,
    }
    file.write_text(json.dumps(timeline, indent=1))
