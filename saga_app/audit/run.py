"""Runs `saga audit`: reads, checks and prints the report."""

from saga_app.audit.collector import EvidenceCollector
from saga_app.audit.judge import judge
from saga_app.audit.reader import CannotRead, read
from saga_app.audit.show import Progress, show
from saga_app.terminal import echo


def run(broker: str, settle_s: float, examples: int, as_json: bool) -> int:
    """Run the audit and print the report; returns 0 if there are no findings, else 1, also if Kafka cannot be read.

    `broker`: kafka://host:port, several separated by commas. `settle_s`: skip sagas with younger records.
    `examples`: findings to print of each kind.
    """
    collector = EvidenceCollector()
    try:
        with Progress() as progress:
            seen = read(broker.replace("kafka://", ""), collector, settle_s, lambda n: progress.of("reading", n))
            report = judge(collector, seen, progress.of("checking", len(collector.sagas)))
    except CannotRead as error:
        echo(str(error), err=True)
        return 1
    show(report, examples, as_json)
    return 0 if report.clean else 1
