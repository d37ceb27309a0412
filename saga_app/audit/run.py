"""`saga audit`: read, judge, show."""

from saga_app.audit.gather import Gathering
from saga_app.audit.judge import judge
from saga_app.audit.reader import CannotRead, read
from saga_app.audit.show import Progress, show
from saga_app.terminal import echo


def run(broker: str, settle_s: float, examples: int, as_json: bool) -> int:
    """The exit code: 0 if everything adds up, 1 if anything does not or if it cannot be read.

    `broker`: kafka://host:port, several separated by commas.
    """
    gathering = Gathering()
    try:
        with Progress() as progress:
            seen = read(broker.replace("kafka://", ""), gathering, settle_s, lambda n: progress.of("reading", n))
            report = judge(gathering, seen, progress.of("judging", len(gathering.sagas)))
    except CannotRead as error:
        echo(str(error), err=True)
        return 1
    show(report, examples, as_json)
    return 0 if report.clean else 1
