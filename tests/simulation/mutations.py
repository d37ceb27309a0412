"""Ways to break the code, each of which the simulation must notice: or it proves nothing.

A mutation gets the original function and gives the one that takes its place; its docstring is what would go wrong.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

from saga_app.saga import machine
from saga_app.saga.messages import Effects as Remembered
from saga_app.saga.messages import Message, Row, Signal
from saga_app.service import observer, step
from saga_app.service.memory import delayed_requests
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.republisher import Schedule
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.service.step import StepLoop
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.produce.outputs import Outputs

Function = Callable[..., Any]
Mutate = Callable[[Function], Function]
MUTATIONS: dict[str, "Mutation"] = {}


class Mutation(NamedTuple):
    """`places`: whose attribute is replaced; `parameters`: where to look for what seldom shows."""

    places: tuple[tuple[Any, str], ...]
    mutate: Mutate
    parameters: dict[str, float]


def mutation(*places: tuple[Any, str], **parameters: float) -> Callable[[Mutate], Mutate]:
    """Registers it under its name."""

    def register(mutate: Mutate) -> Mutate:
        MUTATIONS[mutate.__name__.replace("_", "-")] = Mutation(places, mutate, parameters)
        return mutate

    return register


@contextmanager
def active(name: str | None) -> Iterator[None]:
    """The code is broken in this way; None: it is as it is."""
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


def nothing(*_arguments: Any) -> None:
    """Instead of what should be done."""


# -- the stream layer


@mutation((Outputs, "acknowledged"))
def ack_before_send(_original: Function) -> Function:
    """A record counts as done before what it led to is acknowledged."""

    async def acknowledged(_self: Outputs) -> None:
        pass

    return acknowledged


@mutation((Ledger, "committable"))
def commit_past_a_hole(_original: Function) -> Function:
    """The newest finished record counts, and not the oldest that is unfinished."""

    def committable(self: Ledger) -> dict[Any, int]:
        moved = {}
        for tp, batches in self._open.items():
            done = [r.offset + 1 for b in batches for n, r in enumerate(b.records) if b._done[n]]
            done += [b.offset + 1 for b in batches if not b.left]
            if max(done, default=0) > self._committed.get(tp, 0):
                moved[tp] = max(done)
        return moved

    return committable


# -- what the services remember


@mutation((step, "is_second_request"))
def duplicates_of_new_user_ignored(_original: Function) -> Function:
    """A second request for a user is taken for the first."""
    return lambda *_about: False


@mutation((Effects, "record_tombstone"))
def undo_without_tombstone(_original: Function) -> Function:
    """A step that comes after its undo acts."""
    return nothing


@mutation((Effects, "get"))
def tombstones_not_read(original: Function) -> Function:
    """They are written, and nobody looks."""
    return lambda *arguments: replace(original(*arguments), undone=[])


@mutation((Effects, "record_result"))
def mail_not_noted(_original: Function) -> Function:
    """A request that comes twice sends two mails."""
    return nothing


@mutation((Effects, "get"))
def noted_mail_not_sent_on(original: Function) -> Function:
    """What is noted counts as done, though the next request may not have gone out."""

    def get(*arguments: Any) -> Remembered:
        row: Remembered = original(*arguments)
        return replace(row, undone=[*row.undone, *row.answers])

    return get


@mutation((Effects, "_write"))
def notes_not_waited_for(original: Function) -> Function:
    """Tombstones and notes are not acknowledged before the commit."""

    class Stray:
        expect = report = staticmethod(nothing)

    return lambda self, _receipt, partition, row: original(self, Stray(), partition, row)


@mutation((Effects, "locked"), (Rows, "locked"))
def requests_of_a_saga_at_once(_original: Function) -> Function:
    """They do not wait for each other."""

    def locked(*_arguments: Any) -> AbstractAsyncContextManager[Any]:
        return nullcontext()

    return locked


@mutation((step, "may_have_acted"))
def follow_up_to_the_refused(_original: Function) -> Function:
    """Whoever got no mail is told that it is void."""
    return lambda remembered, name: name in remembered.answers or name in remembered.begun


@mutation((step, "may_have_acted"))
def follow_up_only_if_certain(_original: Function) -> Function:
    """Whoever may have got a mail is not told that it is void."""
    return lambda remembered, name: name in remembered.answers and remembered.answers[name].visit.outcome == "done"


@mutation((Effects, "record_intent"))
def mail_begun_without_a_note(_original: Function) -> Function:
    """Who is killed while a mail is being sent has sent none."""
    return nothing


@mutation((Outputs, "acknowledged"))
def undo_sent_before_its_tombstone(original: Function) -> Function:
    """A handler does not wait for what it must have written before it sends; only its record does."""

    async def acknowledged(self: Outputs) -> None:
        caller = inspect.currentframe().f_back  # type: ignore[union-attr]
        if caller is not None and "saga_app/service" not in caller.f_code.co_filename:
            await original(self)

    return acknowledged


# -- requests that wait outside their partition


@mutation((Schedule, "row_written"), deferred=0.9)
def waiting_requests_not_published(_original: Function) -> Function:
    """They are in the table, and no timer knows of them."""
    return nothing


@mutation((delayed_requests, "decide"), deferred=0.9, crashes=4)
def republished_requests_absorbed(original: Function) -> Function:
    """The attempt that is due is taken for a duplicate."""

    def decide(*about: Any) -> delayed_requests.Decision:
        decision: delayed_requests.Decision = original(*about)
        return delayed_requests.Decision.ABSORB if decision is delayed_requests.Decision.RESUME else decision

    return decide


# -- rows


@mutation((StepLoop, "record_tombstones"), instant=1, sagas=3, crashes=4, denials=0.9, errors=0.0, flaky=0.0, lost=0.0)
def device_taken_back_before_its_row(original: Function) -> Function:
    """Who is killed between the two assigns another when the request comes again."""

    async def bury(self: StepLoop, *about: Any) -> None:
        if self.rows is None:
            await original(self, *about)

    return bury


@mutation((machine, "join"))
def older_row_wins(_original: Function) -> Function:
    """The latest news counts, and not what is furthest."""
    return lambda _row, news: news


@mutation((machine, "rank"))
def way_back_not_first(original: Function) -> Function:
    """A saga that was turned round is turned again by what it did before."""

    def rank(row: Row) -> Any:
        found = original(row)
        return found[0], *found[2:]

    return rank


@mutation((machine, "join"))
def origin_lost_at_a_redrive(original: Function) -> Function:
    """Nobody knows any more which request was the first."""

    def apply(row: Row | None, news: Row) -> Row:
        applied: Row = original(row, news)
        return replace(applied, origin=None) if row is not None and news.attempt > row.attempt else applied

    return apply


@mutation((machine, "is_past"))
def late_messages_act(_original: Function) -> Function:
    """A late request, or a duplicate of `notified`, begins again what has ended."""
    return lambda _row, _request: False


@mutation((machine, "is_past"))
def late_too_early(original: Function) -> Function:
    """What is noted counts as sent."""
    return lambda row, request: original(row, request) or len(row.history) > len(request.history)


@mutation((Observer, "apply_dead_letter"))
def parked_not_noted(_original: Function) -> Function:
    """A saga waits for somebody, and nobody sees it."""
    return nothing


@mutation((step, "park"))
def no_dead_letter(_original: Function) -> Function:
    """What cannot be handled is dropped."""
    return nothing


@mutation((step, "forward_if_misplaced"), (observer, "forward_if_misplaced"))
def wrong_partition_accepted(_original: Function) -> Function:
    """A saga has rows wherever another client's hash has put it."""
    return lambda *_arguments: False


# -- what follows what


@mutation((machine, "next_after"))
def denied_is_done(original: Function) -> Function:
    """A "no" is not heard."""

    def following(request: Message, step: Any, answer: Any) -> Any:
        return original(request, step, replace(answer, visit=replace(answer.visit, outcome="done")))

    return following


@mutation((machine, "next_after"))
def oldest_undone_first(original: Function) -> Function:
    """The device goes back before the authorizations are revoked."""

    def following(request: Message, step: Any, answer: Any) -> Any:
        slip = request.slip
        assert slip is not None
        turned = answer.visit.outcome != "done" and not slip.undoing
        return original(replace(request, slip=replace(slip, back=slip.back[::-1])) if turned else request, step, answer)

    return following


@mutation((machine, "_end_state"))
def failed_undo_called_rolled_back(original: Function) -> Function:
    """The page lies."""

    def end_state(*arguments: Any) -> str:
        state: str = original(*arguments)
        return "rolled-back" if state == "rollback-incomplete" else state

    return end_state


@mutation((Message, "key"))
def key_depends_on_the_attempt(_original: Function) -> Function:
    """A redrive gets a second device."""
    return lambda self, name: f"{self.saga}:{self.id}:{name}:{self.attempt}"


@mutation((StepLoop, "was_cancelled"))
def goes_on_after_it_was_turned(_original: Function) -> Function:
    """A step that acted while its saga was rolled back sends it forward."""
    return lambda *_arguments: False


# -- operators


def _directed(change: Callable[[Row, Signal], tuple[Row, Signal]]) -> Mutate:
    def mutate(original: Function) -> Function:
        return lambda plan, row, signal: original(plan, *change(row, signal))

    return mutate


@mutation((machine, "apply_operator_signal"))
def completed_is_rolled_back(original: Function) -> Function:
    """A user who was onboarded loses the device."""
    return _directed(lambda row, signal: (_as_if(row, "completed", "running"), signal))(original)


@mutation((machine, "apply_operator_signal"))
def rolled_back_twice(original: Function) -> Function:
    """A saga on its way back is turned once more."""
    return _directed(lambda row, signal: (_as_if(row, "rolling-back", "running"), signal))(original)


@mutation((machine, "apply_operator_signal"))
def redrive_of_any_attempt(original: Function) -> Function:
    """Two operators redrive, and it is done twice."""

    def change(row: Row, signal: Signal) -> tuple[Row, Signal]:
        return row, replace(signal, attempt=row.attempt + 1) if signal.kind == "redriven" else signal

    return _directed(change)(original)


@mutation((machine, "apply_operator_signal"))
def rollback_not_heeded(original: Function) -> Function:
    """An operator rolls a saga back, and it goes on."""
    return lambda plan, row, signal: None if signal.kind == "cancelled" else original(plan, row, signal)


@mutation((machine, "apply_operator_signal"))
def redrive_of_another_step(original: Function) -> Function:
    """What was meant for one step is done at the next."""
    return _directed(lambda row, signal: (row, replace(signal, step=row.step)))(original)


@mutation((machine, "mark_signal"))
def redrive_forgotten(original: Function) -> Function:
    """One that is read before its dead letter is lost."""
    return lambda row, signal: row if signal.kind == "redriven" else original(row, signal)


@mutation(
    (machine, "_awaited"), sagas=3, crashes=4, duplicates=0.4, errors=0.6, redrives=0.9, quarrels=0.9, denials=0.0
)
def late_redrive_awaited(_original: Function) -> Function:
    """An older one takes the place of the one that counts."""
    return lambda row, signal: [signal] if signal.kind == "redriven" else row.awaited


@mutation((Rows, "rewrite"), sagas=3, pairs=0, crashes=4, duplicates=0.6, rollbacks=3)
def repeated_order_not_waited_for(_original: Function) -> Function:
    """A duplicate of an order sends the saga back before the row that says so is there."""
    return nothing


@mutation((machine, "resume_after"), sagas=3, crashes=4, lost=0.6)
def provision_asked_again(_original: Function) -> Function:
    """A request that comes again may end otherwise than its row says."""
    return nothing


@mutation((machine, "apply_operator_signal"))
def order_forgotten(original: Function) -> Function:
    """Who was killed between the row and the message has sent nothing."""
    return _directed(lambda row, signal: (replace(row, order=None), signal))(original)


@mutation((machine, "request_of"))
def slip_lost_at_a_redrive(original: Function) -> Function:
    """It does not know where to go."""
    return lambda row: replace(original(row), slip=None)


@mutation((machine, "_cancel"))
def steps_ahead_not_undone(original: Function) -> Function:
    """A mail that went out unheard of is never called void."""

    def back(plan: Any, row: Row, signal: Signal) -> Any:
        slip = row.slip or plan.slip()
        return original(plan, replace(row, slip=replace(slip, ahead=[])), signal)

    return back


def _as_if(row: Row, state: Any, other: Any) -> Row:
    return replace(row, state=other) if row.state == state else row
