"""Bugs that are injected into the production code, to prove that the simulation detects them.

A mutation takes the original function and returns its replacement. Its docstring describes the bug.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from faust.types import TP

from saga_app.saga import machine, operator_signals, saga_row
from saga_app.saga.codec import replace_fields
from saga_app.saga.messages import Effects as Remembered
from saga_app.saga.messages import Message, Row, Signal
from saga_app.saga.states import State
from saga_app.service import observer, step
from saga_app.service.memory import delayed_requests, effects_memory, initiator_memory
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.initiator_memory import InitiatorMemory
from saga_app.service.memory.republisher import Schedule
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.consume.run import Run
from saga_app.stream.produce.outputs import Outputs
from saga_app.stream.table.key_lock import KeyLock

Function = Callable[..., Any]
Mutate = Callable[[Function], Function]
MUTATIONS: dict[str, "Mutation"] = {}


class Mutation(NamedTuple):
    """`places`: the owners and names of the replaced functions. `parameters`: of runs in which the bug is likely."""

    places: tuple[tuple[Any, str], ...]
    mutate: Mutate
    parameters: dict[str, float]


def mutation(*places: tuple[Any, str], **parameters: float) -> Callable[[Mutate], Mutate]:
    """Register a mutation under its name."""

    def register(mutate: Mutate) -> Mutate:
        MUTATIONS[mutate.__name__.replace("_", "-")] = Mutation(places, mutate, parameters)
        return mutate

    return register


@contextmanager
def active(name: str | None) -> Iterator[None]:
    """Apply a mutation inside the `with` block; None applies none."""
    if name is None:
        yield
        return
    originals = [(owner, attribute, getattr(owner, attribute)) for owner, attribute in MUTATIONS[name].places]
    try:
        for owner, attribute, original in originals:
            setattr(owner, attribute, MUTATIONS[name].mutate(original))
        yield
    finally:
        for owner, attribute, original in originals:
            setattr(owner, attribute, original)


def do_nothing(*_arguments: Any) -> None:
    """Replaces a function whose effect is omitted."""


# -- the stream layer


@mutation((Outputs, "wait_for_reports"))
def finished_before_acknowledged(_original: Function) -> Function:
    """A record is finished before its outputs are acknowledged."""

    async def wait_for_reports(_self: Outputs) -> None:
        pass

    return wait_for_reports


@mutation((Ledger, "committable"))
def committed_past_unfinished_records(_original: Function) -> Function:
    """The offset after the last finished record is committed, although earlier records are unfinished."""

    def committable(self: Ledger) -> dict[TP, int]:
        offsets = {}
        for tp, batches in self._open.items():
            finished = [batch.offset + 1 for batch in batches if not batch.left]
            for batch in batches:
                first = batch.offset + 1 - len(batch.records)
                finished += [first + n + 1 for n in range(len(batch.records)) if batch._done[n]]
            if max(finished, default=0) > self._committed.get(tp, 0):
                offsets[tp] = max(finished)
        return offsets

    return committable


@mutation((Run, "retry"))
def delayed_records_finished(_original: Function) -> Function:
    """A record that is to be handled again later counts as handled."""
    return do_nothing


@mutation((Run, "leave"), idempotent_mail=1, duplicates=0.5, deferred_mails=0.9)
def left_records_finished(_original: Function) -> Function:
    """A record that is left to the handler of single records counts as handled."""
    return do_nothing


# -- the tables of the services


@mutation((initiator_memory, "is_second_request"))
def second_request_accepted(_original: Function) -> Function:
    """A second request for a user is handled like the first."""
    return lambda *_arguments: False


@mutation((Effects, "record_tombstone"))
def compensation_without_tombstone(_original: Function) -> Function:
    """A step whose request arrives after its compensation acts."""
    return do_nothing


@mutation((Effects, "get"))
def tombstones_not_read(original: Function) -> Function:
    """Tombstones are written, but ignored."""
    return lambda *arguments: replace_fields(original(*arguments), undone=[])


@mutation((Effects, "record_result"))
def results_not_recorded(_original: Function) -> Function:
    """A duplicate request sends a second mail."""
    return do_nothing


@mutation((Effects, "get"))
def next_request_not_resent(original: Function) -> Function:
    """A request with a recorded result is absorbed, although the next request may not have been sent."""

    def get(*arguments: Any) -> Remembered:
        row: Remembered = original(*arguments)
        return replace_fields(row, undone=[*row.undone, *row.answers])

    return get


@mutation((Effects, "_write"))
def effects_rows_not_acknowledged(original: Function) -> Function:
    """Tombstones and results are not acknowledged before their record is committed."""

    class IgnoredOutputs:
        def expect(self) -> Function:
            return do_nothing

    return lambda self, _outputs, partition, row: original(self, IgnoredOutputs(), partition, row)


@mutation((Effects, "lock"), (Rows, "lock"))
def sagas_not_locked(_original: Function) -> Function:
    """Two requests of a saga are handled at the same time."""

    def lock(*_arguments: Any) -> KeyLock:
        return KeyLock({}, (0, b""))

    return lock


@mutation((effects_memory, "may_have_acted"))
def follow_up_to_a_refused_mail(_original: Function) -> Function:
    """A follow-up is sent to users whose welcome mail was refused."""
    return lambda remembered, name: name in remembered.answers or name in remembered.begun


@mutation((effects_memory, "may_have_acted"))
def follow_up_only_with_a_result(_original: Function) -> Function:
    """No follow-up is sent to users whose welcome mail has an intent record, but no result."""
    return lambda remembered, name: name in remembered.answers and remembered.answers[name].visit.outcome == "done"


@mutation((Effects, "record_intent"))
def intent_not_recorded(_original: Function) -> Function:
    """After a crash while a mail is sent, its compensation assumes that it was not sent."""
    return do_nothing


@mutation((Outputs, "acknowledged"))
def compensation_before_its_tombstone(_original: Function) -> Function:
    """A step acts or sends before the rows that it has written are acknowledged. Its record still waits for them."""

    async def acknowledged(_self: Outputs) -> None:
        pass

    return acknowledged


# -- delayed requests


@mutation((Schedule, "row_written"), deferred_mails=0.9)
def delayed_requests_not_scheduled(_original: Function) -> Function:
    """Delayed requests are in the table, but not in the schedule."""
    return do_nothing


@mutation((delayed_requests, "decide"), deferred_mails=0.9, crashes=4)
def republished_requests_absorbed(original: Function) -> Function:
    """A request whose next attempt is due is absorbed as a duplicate."""

    def decide(*arguments: Any) -> delayed_requests.Decision:
        decision: delayed_requests.Decision = original(*arguments)
        return delayed_requests.Decision.ABSORB if decision is delayed_requests.Decision.RESUME else decision

    return decide


# -- saga rows


@mutation(
    (InitiatorMemory, "begin_compensation"),
    instant=1,
    sagas=3,
    crashes=4,
    denials=0.9,
    errors=0.0,
    flaky=0.0,
    lost_replies=0.0,
)
def device_returned_before_its_row(_original: Function) -> Function:
    """After a crash between the return of a device and the row, the repeated request assigns another device."""

    async def begin_compensation(*_arguments: Any) -> None:
        pass

    return begin_compensation


@mutation((saga_row, "join"))
def last_message_wins(_original: Function) -> Function:
    """The latest information replaces the row, even if the row is further along."""
    return lambda _row, news: news


@mutation((saga_row, "rank"))
def rollback_not_ranked(original: Function) -> Function:
    """A late result of a step reverses the rollback of a cancelled saga."""

    def rank(row: Row) -> Any:
        found = original(row)
        return found[0], *found[2:]

    return rank


@mutation((saga_row, "join"))
def origin_lost_at_a_redrive(original: Function) -> Function:
    """After a redrive, a second request for the user is not recognised."""

    def join(row: Row | None, news: Row) -> Row:
        joined: Row = original(row, news)
        return replace_fields(joined, origin=None) if row is not None and news.attempt > row.attempt else joined

    return join


@mutation((machine, "is_past"))
def late_messages_processed(_original: Function) -> Function:
    """A late request, or a duplicate of `notified`, restarts a saga that has ended."""
    return lambda _row, _request: False


@mutation((machine, "is_past"))
def request_after_the_row_not_resent(original: Function) -> Function:
    """A request whose result is in the row is absorbed, although the next request may not have been sent."""
    return lambda row, request: original(row, request) or len(row.history) > len(request.history)


@mutation((Observer, "apply_dead_letter"))
def parked_sagas_not_recorded(_original: Function) -> Function:
    """A saga has a dead letter, but its row is not parked."""
    return do_nothing


@mutation((step, "park"))
def dead_letters_not_sent(_original: Function) -> Function:
    """A request that cannot be handled is dropped."""
    return do_nothing


@mutation((step, "forward_if_misplaced"), (observer, "forward_if_misplaced"))
def wrong_partition_accepted(_original: Function) -> Function:
    """A saga has rows on the partition that another client's hash has selected."""
    return lambda *_arguments: False


# -- the order of steps and compensations


@mutation((machine, "next_after"))
def denial_ignored(original: Function) -> Function:
    """A saga continues after a denial."""

    def next_after(request: Message, step: Any, answer: Any) -> Any:
        return original(request, step, replace_fields(answer, visit=replace_fields(answer.visit, outcome="done")))

    return next_after


@mutation((machine, "next_after"))
def oldest_step_compensated_first(original: Function) -> Function:
    """The device is returned before the authorizations are revoked."""

    def next_after(request: Message, step: Any, answer: Any) -> Any:
        slip = request.slip
        assert slip is not None
        is_turn = answer.visit.outcome != "done" and not slip.undoing
        changed = replace_fields(request, slip=replace_fields(slip, back=slip.back[::-1])) if is_turn else request
        return original(changed, step, answer)

    return next_after


@mutation((machine, "_end_state"))
def failed_compensation_ignored(original: Function) -> Function:
    """A saga with a failed compensation ends as rolled-back."""

    def end_state(*arguments: Any) -> str:
        state: str = original(*arguments)
        return "rolled-back" if state == "rollback-incomplete" else state

    return end_state


@mutation((Message, "key"))
def key_depends_on_the_attempt(_original: Function) -> Function:
    """A redrive gets a second device, because it has another idempotency key."""
    return lambda self, name: f"{self.saga}:{self.id}:{name}:{self.attempt}"


@mutation((initiator_memory, "was_cancelled"))
def continued_after_a_cancellation(_original: Function) -> Function:
    """A step that finishes after its saga was cancelled sends the next request."""
    return lambda *_arguments: False


# -- operators


def _with_arguments(change: Callable[[Row, Signal], tuple[Row, Signal]]) -> Mutate:
    """Replace the row and the signal that `apply_operator_signal` gets."""

    def mutate(original: Function) -> Function:
        return lambda plan, row, signal: original(plan, *change(row, signal))

    return mutate


@mutation((operator_signals, "apply_operator_signal"))
def completed_saga_rolled_back(original: Function) -> Function:
    """An onboarded user loses the device."""
    return _with_arguments(lambda row, signal: (_with_state(row, "completed", "running"), signal))(original)


@mutation((operator_signals, "apply_operator_signal"))
def rolled_back_twice(original: Function) -> Function:
    """A second rollback begins while the first runs."""
    return _with_arguments(lambda row, signal: (_with_state(row, "rolling-back", "running"), signal))(original)


@mutation((operator_signals, "apply_operator_signal"))
def redrive_of_any_attempt(original: Function) -> Function:
    """When two operators redrive a saga, both redrives are applied."""

    def change(row: Row, signal: Signal) -> tuple[Row, Signal]:
        return row, replace_fields(signal, attempt=row.attempt + 1) if signal.kind == "redriven" else signal

    return _with_arguments(change)(original)


@mutation((operator_signals, "apply_operator_signal"))
def rollback_ignored(original: Function) -> Function:
    """A saga continues although an operator rolls it back."""
    return lambda plan, row, signal: None if signal.kind == "cancelled" else original(plan, row, signal)


@mutation((operator_signals, "apply_operator_signal"))
def redrive_of_any_step(original: Function) -> Function:
    """A redrive of one step is applied to a later step."""
    return _with_arguments(lambda row, signal: (row, replace_fields(signal, step=row.step)))(original)


@mutation((operator_signals, "mark_signal"))
def early_redrive_forgotten(original: Function) -> Function:
    """A redrive that is read before its dead letter is lost."""
    return lambda row, signal: row if signal.kind == "redriven" else original(row, signal)


@mutation(
    (operator_signals, "_awaited"),
    sagas=3,
    crashes=4,
    duplicates=0.4,
    errors=0.6,
    redrives=0.9,
    second_signals=0.9,
    denials=0.0,
)
def older_redrive_awaited(_original: Function) -> Function:
    """An older redrive replaces the one that applies to the saga."""
    return lambda row, signal: [signal] if signal.kind == "redriven" else row.awaited


@mutation((Rows, "rewrite"), sagas=3, extra_workers=0, crashes=4, duplicates=0.6, rollbacks=3)
def row_of_a_repeated_signal_not_acknowledged(_original: Function) -> Function:
    """A duplicate of an operator signal sends the compensation before the row is in the changelog."""
    return do_nothing


@mutation((machine, "resume_after"), sagas=3, crashes=4, lost_replies=0.6)
def provisioned_again_after_a_crash(_original: Function) -> Function:
    """A redelivered request runs again, and its result can differ from the one in the row."""
    return do_nothing


@mutation((operator_signals, "apply_operator_signal"))
def signal_not_resumed_after_a_crash(original: Function) -> Function:
    """After a crash between the row and the request of an operator signal, the request is not sent."""
    return _with_arguments(lambda row, signal: (replace_fields(row, order=None), signal))(original)


@mutation((saga_row, "request_of"))
def slip_lost_at_a_redrive(original: Function) -> Function:
    """A redriven request has no routing slip."""
    return lambda row: replace_fields(original(row), slip=None)


@mutation((operator_signals, "_cancel"))
def steps_ahead_not_compensated(original: Function) -> Function:
    """A mail that is sent while the saga is cancelled gets no follow-up."""

    def cancel(plan: Any, row: Row, signal: Signal) -> Any:
        slip = row.slip or plan.slip()
        return original(plan, replace_fields(row, slip=replace_fields(slip, ahead=[])), signal)

    return cancel


def _with_state(row: Row, state: State, replacement: State) -> Row:
    return replace_fields(row, state=replacement) if row.state == state else row
