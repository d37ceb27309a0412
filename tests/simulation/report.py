"""A run told record by record, for the person who looks for the reason."""

from collections.abc import Iterator

from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga.messages import Body, Effects, Parked, Row, Signal, decode, parse
from tests.fakes.record import FakeRecord
from tests.simulation.clock import EPOCH
from tests.simulation.run import Result


def story(result: Result) -> Iterator[str]:
    """Every record and every death, in order."""
    assert result.system is not None
    lines = [(record.timestamp / 1000 - EPOCH, _told(record)) for record in result.system.bus.records]
    lines += [(at, f"{who} is KILLED {where}") for at, who, where in result.system.crashes.story]
    return (f"{at:9.3f}  {line}" for at, line in sorted(lines, key=lambda line: line[0]))


def _told(record: FakeRecord) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}  {_content(record)}"


def _content(record: FakeRecord) -> str:
    try:
        if record.topic in EFFECTS_CHANGELOGS.values():
            row = decode(Effects, record.value)
            return f"{row.id} answered {list(row.answers)}, undone {row.undone}, waiting {_waits(row)}"
        return _body(parse(record.topic, record.value, record.headers, ROWS_CHANGELOG))
    except ValueError as error:
        return f"unreadable: {error}"


def _waits(row: Effects) -> dict[str, tuple[int, str]]:
    return {step: (waiting.attempt, waiting.next_at) for step, waiting in row.waiting.items()}


def _body(body: Body) -> str:
    if isinstance(body, Parked):
        letter = body.letter
        return f"{letter.id} of {letter.topic}[{letter.partition}]@{letter.offset}: {letter.reason}"
    if isinstance(body, Signal):
        return f"{body.id} {body.kind} at {body.step}, attempt {body.attempt}, by {body.by}: {body.reason}"
    behind = ", ".join(f"{line.step} {line.outcome}" for line in body.history)
    where = f"{body.state} at {body.step}" if isinstance(body, Row) else ""
    return f"{body.id} {where} attempt {body.attempt}, behind it: {behind or 'nothing'}"
