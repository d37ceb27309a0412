"""A run from its first process to its scoreboard."""

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
from saga_app.saga.messages import DEAD_LETTER, DLQ, DeadLetter, decode
from tests.chaos.fault_log import FaultLog
from tests.chaos.faults import WORKERS, FaultInjector, schedule
from tests.chaos.mailbox import Mailbox
from tests.chaos.noise import Noise
from tests.chaos.operator import OperatorBot
from tests.chaos.options import Options
from tests.chaos.page_check import differing
from tests.chaos.progress_watch import ProgressWatch
from tests.chaos.scoreboard import Scoreboard
from tests.chaos.users import Users
from tests.chaos.verdict import Evidence, judge
from tests.topics import read, rows

#: After the storm: the longest that everything may take to end; how often it is looked at (seconds).
REST_WITHIN_S, LOOK_S = 240.0, 2.0

SERVICES = ("provisioner", "authorizer", "notifier")


@dataclass
class Stage:
    """Everybody who takes part."""

    options: Options
    broker: RealKafka
    mailbox: Mailbox
    system: System
    fault_log: FaultLog
    users: Users
    noise: Noise
    hand: OperatorBot
    watch: ProgressWatch
    weather: FaultInjector


def run(options: Options, directory: Path) -> Scoreboard:
    """Storm, rest, count."""
    began = time.time()
    with stage(options, directory) as on:
        on.watch.start()
        for each in (on.users, on.noise, on.hand, on.weather):
            each.start()
        storm(on)
        clear(on)
        rested = rest(on)
        on.watch.stop()
        write_story(on, directory / "story.json")
        failures = [*on.users.failures, *on.weather.failures, *on.hand.refused]
        failures += [] if rested else [f"not at rest after {REST_WITHIN_S:g} s: lag {on.watch.stillness.lag}"]
        return count(on, failures, began)


@contextmanager
def stage(options: Options, directory: Path) -> Iterator[Stage]:
    """A broker, a mail server and `saga up`, ended for certain; its output is in saga-up.log."""
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
        fault_log, seed, storm_s = FaultLog(), options.seed, options.storm_s
        yield Stage(
            options,
            broker,
            mailbox,
            system,
            fault_log,
            Users(system.url, broker.bootstrap, options.sagas, storm_s, seed),
            Noise(broker.bootstrap, options.sagas, storm_s, seed),
            OperatorBot(system.url, seed),
            ProgressWatch(broker.bootstrap, ports(system)),
            FaultInjector(schedule(seed, storm_s), system, broker, fault_log),
        )


def ports(system: System) -> list[int]:
    """Of all workers that count."""
    return [system.settings[f"{service}_port"] + 100 * n for service in SERVICES for n in range(WORKERS)]


def storm(on: Stage) -> None:
    """Until its time is over; says now and then how it goes."""
    began = said = time.monotonic()
    while time.monotonic() - began < on.options.storm_s:
        time.sleep(0.5)
        if time.monotonic() - said > 30:
            said = time.monotonic()
            say(on, "storm")


def say(on: Stage, when: str) -> None:
    """A line on the way."""
    faults = sum(on.fault_log.counted().values())
    print(
        f"{when}: {len(on.users.accepted)} of {on.options.sagas} users accepted, {faults} faults, "
        f"lag {on.watch.stillness.lag}, a partition stood still for {on.watch.stillness.longest}",
        flush=True,
    )


def clear(on: Stage) -> None:
    """No more misfortunes, noise and orders; who still has to be accepted is."""
    on.weather.clear()
    on.noise.stop()
    on.hand.stop()
    deadline = time.monotonic() + REST_WITHIN_S
    while not on.users.all_sent and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def rest(on: Stage) -> bool:
    """The operator rolls back whoever is parked, until nobody is and all is read; False if that does not come."""
    deadline = time.monotonic() + REST_WITHIN_S
    quiet = 0
    while time.monotonic() < deadline:
        since = time.time()
        parked = on.hand.settle()
        time.sleep(LOOK_S)
        quiet = quiet + 1 if not parked and on.watch.at_rest(since) else 0
        if quiet > 1 and not going_on(on):
            return True
        say(on, f"rest, {parked} parked")
    return False


def going_on(on: Stage) -> int:
    """Sagas that have not ended, by the changelog."""
    last = {id: versions[-1].ended for id, versions in rows(on.broker.bootstrap).items()}
    return sum(not last.get(id, False) for id in on.users.accepted)


def count(on: Stage, failures: list[str], began: float) -> Scoreboard:
    """The evidence is read anew, by a client that is not ours."""
    bootstrap = on.broker.bootstrap
    versions = rows(bootstrap)
    found = judge(
        Evidence(
            accepted=on.users.accepted,
            versions=versions,
            copies=on.mailbox.copies,
            garbage=frozenset(on.noise.garbage),
            letters=frozenset(letters(bootstrap)),
            entries=on.fault_log.entries,
            deadline_s=on.options.settings["deadline"],
            over_at=time.time(),
        )
    )
    still = on.watch.stillness.longest
    return Scoreboard(
        options={"sagas": on.options.sagas, "minutes": on.options.minutes, "seed": on.options.seed},
        accepted=len(on.users.accepted),
        reckoning=found,
        still=still,
        still_during=on.fault_log.around(still.until - still.seconds, still.until),
        absorbed=on.watch.counted.total("saga_duplicates_total"),
        forwarded=on.watch.counted.total("saga_forwarded_total"),
        misfortunes=dict(on.fault_log.counted()),
        noise=dict(on.noise.made),
        operator=dict(on.hand.done),
        mails=sum(map(len, on.mailbox.copies.values())),
        console_wrong=differing(on.system.url, {id: all[-1].state for id, all in versions.items()}),
        audit=audit(bootstrap),
        failures=failures,
        storm_s=on.options.storm_s,
        took_s=time.time() - began,
    )


def letters(bootstrap: str) -> Iterator[tuple[str, int, int]]:
    """Where the originals of all dead letters stood."""
    for record in read(bootstrap, DLQ):
        if DEAD_LETTER in record.headers:
            letter = decode(DeadLetter, record.headers[DEAD_LETTER])
            yield letter.topic, letter.partition, letter.offset


def write(board: Scoreboard, file: Path) -> None:
    """As JSON."""
    file.write_text(json.dumps(board.json(), indent=2, default=str) + "\n")


def write_story(on: Stage, file: Path) -> None:
    """What was done, and every mail: for whoever looks for the cause of something."""
    mails = {id: [asdict(copy) for copy in copies] for id, copies in on.mailbox.copies.items()}
    story = {
        "fault_log": [asdict(entry) for entry in on.fault_log.entries],
        "mails": mails,
        "accepted": on.users.accepted,
    }
    file.write_text(json.dumps(story, indent=1))
