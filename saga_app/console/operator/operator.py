"""Carries out operator requests: selects dead letters and sagas, and publishes the actions at the requested rate.

Repeated requests are safe: a signal names the attempt that it starts, and no attempt is started twice. An action that
was sent a moment ago is not sent again, so that it is not counted twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, Protocol

from cachetools import TTLCache

from saga_app.console.index.dead_letters import IndexedLetter
from saga_app.console.index.filters import ErrorFilter
from saga_app.console.operator import actions
from saga_app.console.operator.action_request import ActionRequest, not_found
from saga_app.console.operator.actions import Action, ActionPlan, OperatorAction, Resend
from saga_app.console.operator.rate_limit import due, pause
from saga_app.console.redrive_headers import REDRIVEN, REDRIVEN_BY
from saga_app.saga.codec import encode
from saga_app.saga.messages import DEAD_LETTER, SIGNALS, Row
from saga_app.saga.record_id import RecordId, parse_record_id
from saga_app.service.headers import headers_for_signal
from saga_app.stream import NotAcknowledged
from saga_app.stream.produce.refusal import size_of
from saga_app.stream.produce.sender import Message as Outgoing
from saga_app.web.problem import Problem
from saga_app.web.start_saga import Sends

#: Time until an action may be sent again (seconds), and the maximum number of remembered actions.
RESEND_AFTER_S, MAX_REMEMBERED = 30.0, 200_000

#: Maximum time until an accepted user appears in the index (seconds).
INDEX_WAIT_S = 3.0


class IndexQueries(Protocol):
    """The queries of the index that the operator uses."""

    async def letters_matching(self, given: ErrorFilter) -> Sequence[IndexedLetter]: ...
    async def letters_at(self, places: Sequence[RecordId]) -> Sequence[IndexedLetter]: ...
    async def open_letters_of(self, ids: Sequence[str]) -> Sequence[IndexedLetter]: ...
    async def rows(self, ids: Sequence[str]) -> Mapping[str, Row]: ...


class RecordLookup(Protocol):
    """Reads single records from Kafka."""

    async def records(self, places: Iterable[RecordId]) -> Mapping[RecordId, Any]: ...


class Operator:
    """Carries out redrives and rollbacks.

    `accepted`: ids of new users who may not be in the index yet. `headroom`: returns why that many more sagas cannot be
    accepted, or None. `now`: returns the current time. `clock` and `sleep` use seconds.
    """

    def __init__(
        self,
        *,
        queries: IndexQueries,
        sender: Sends,
        lookup: RecordLookup,
        not_ready: Callable[[], str | None],
        accepted: Container[str],
        headroom: Callable[[int], str | None],
        now: Callable[[], datetime],
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.queries, self.sender, self.lookup = queries, sender, lookup
        self.not_ready, self.accepted, self.headroom = not_ready, accepted, headroom
        self.now, self.clock, self.sleep = now, clock, sleep
        #: The keys of the actions that were sent within the last `RESEND_AFTER_S`.
        self.just_sent: TTLCache[tuple[Any, ...], None] = TTLCache(MAX_REMEMBERED, RESEND_AFTER_S, clock)

    async def redrive(self, request: ActionRequest) -> dict[str, Any]:
        """Redrive the requested dead letters or sagas; returns the body of the response.

        Raises `Problem` 404, 422 or 503.
        """
        self._check_ready()
        return await self._carry_out(request, await self._to_redrive(request))

    async def roll_back(self, request: ActionRequest) -> dict[str, Any]:
        """Roll back the requested sagas; returns the body of the response. Raises `Problem` 404, 422 or 503."""
        self._check_ready()
        return await self._carry_out(request, await self._to_roll_back(request))

    def _check_ready(self) -> None:
        if reason := self.not_ready():
            raise Problem(503, f"nothing was sent: the index is not up to date: {reason}", outcome="none")

    async def _to_redrive(self, request: ActionRequest) -> ActionPlan:
        if request.filter is not None:
            return ActionPlan().add(
                await self._decide_for_letters(
                    actions.redrive_action, await self.queries.letters_matching(request.filter)
                )
            )
        letters, rows = await self._find_named(request.ids or [])
        waiting = {
            letter.id: letter
            for letter in await self.queries.open_letters_of(list(rows))
            if letter.readable or not actions.is_initial_request(letter)
        }
        of_sagas = (
            actions.redrive_action(waiting[id], row) if id in waiting else actions.NOT_PARKED
            for id, row in rows.items()
        )
        return ActionPlan().add(await self._decide_for_letters(actions.redrive_action, letters)).add(of_sagas)

    async def _to_roll_back(self, request: ActionRequest) -> ActionPlan:
        if request.filter is not None:
            letters = await self.queries.letters_matching(request.filter)
            return ActionPlan().add(await self._decide_for_letters(actions.rollback_action, letters))
        letters, rows = await self._find_named(request.ids or [])
        pending = await self._decide_for_letters(actions.rollback_action, letters)
        return ActionPlan().add(pending).add(map(actions.cancel_action, rows.values()))

    async def _decide_for_letters(
        self, decide: Callable[[IndexedLetter, Row | None], Action | str], letters: Sequence[IndexedLetter]
    ) -> Iterable[Action | str]:
        """Decide for each dead letter; an unreadable one is decided with the row of the saga that it names, if any."""
        rows = await self.queries.rows([letter.id for letter in letters if letter.id and not letter.readable])
        return [decide(letter, rows.get(letter.id or "")) for letter in letters]

    async def _find_named(self, names: list[str]) -> tuple[Sequence[IndexedLetter], Mapping[str, Row]]:
        """The dead letters and saga rows with these names. Raises `Problem` 404 with all names that do not exist."""
        places = {name: place for name in names if (place := parse_record_id(name))}
        letters = await self.queries.letters_at(list(places.values()))
        ids = list(dict.fromkeys(name for name in names if name not in places))
        rows = await self._rows(ids)
        there = {letter.place for letter in letters}
        missing = {name for name, place in places.items() if place not in there} | (set(ids) - set(rows))
        if missing:
            raise not_found(names, missing)
        return letters, rows

    async def _rows(self, ids: list[str]) -> Mapping[str, Row]:
        """The rows of these sagas. Waits briefly for users who have just been accepted."""
        deadline = self.clock() + INDEX_WAIT_S
        while True:
            rows = await self.queries.rows(ids)
            soon = [id for id in ids if id not in rows and id in self.accepted]
            if not soon or self.clock() > deadline:
                return rows
            await self.sleep(0.05)

    async def _carry_out(self, request: ActionRequest, plan: ActionPlan) -> dict[str, Any]:
        pending = [action for action in plan.actions.values() if action.key not in self.just_sent]
        plan.left_out[actions.RECENTLY_SENT] += len(plan.actions) - len(pending)
        count = len(pending)
        if not request.dry_run:
            request.check_rate(count)
            if reason := self.headroom(sum(isinstance(action, Resend) for action in pending)):
                raise Problem(503, f"nothing was sent: {reason}", headers={"Retry-After": "60"}, outcome="none")
            count = await self._send(pending, request, plan)
        answer: dict[str, Any] = {"count": count, "dry_run": request.dry_run}
        left_out = {reason: number for reason, number in plan.left_out.items() if number}
        return answer | ({"left_out": left_out} if left_out else {})

    async def _send(self, pending: list[Action], request: ActionRequest, plan: ActionPlan) -> int:
        """Send actions at the requested rate; returns how many the broker has acknowledged.

        Raises `Problem` 503 with that number if the broker becomes unavailable.
        """
        began, done, count = self.clock(), 0, 0
        while done < len(pending):
            elapsed = self.clock() - began
            upto = due(len(pending), done, request.rate, elapsed)
            if upto == done and request.rate:
                await self.sleep(pause(done, request.rate, elapsed))
                continue
            fresh = [action for action in pending[done:upto] if action.key not in self.just_sent]
            plan.left_out[actions.RECENTLY_SENT] += upto - done - len(fresh)
            try:
                sent = await self._send_batch(fresh, request.by)
            except NotAcknowledged as error:
                count += len(fresh) - len(error.failed)
                raise _interrupted(count, len(pending), str(error.reason)) from error
            except Problem as problem:
                raise _interrupted(count, len(pending), problem.detail) from problem
            for action in fresh:
                if action.key not in sent:
                    plan.left_out[_missing_reason(action)] += 1
            done, count = upto, count + len(sent)
        return count

    async def _send_batch(self, pending: list[Action], by: str) -> set[tuple[Any, ...]]:
        """Send actions; returns the keys of those that were acknowledged.

        They are remembered before they are sent, so that a concurrent request does not repeat them. Actions without
        acknowledgement are forgotten, so that they can be sent again.
        """
        self.just_sent.update((action.key, None) for action in pending)
        found: list[Action] = []
        sent: set[int] = set()  # indexes into `found`
        try:
            found, messages = await self._outgoing(pending, by)
            await self.sender.send_all(messages)
            sent = set(range(len(messages)))
        except NotAcknowledged as error:
            sent = set(range(len(found))) - set(error.failed)
            raise
        finally:
            self._forget(pending, {found[place].key for place in sent})
        return {found[place].key for place in sent}

    def _forget(self, pending: Iterable[Action], sent: Container[tuple[Any, ...]]) -> None:
        for action in pending:
            if action.key not in sent:
                self.just_sent.pop(action.key, None)

    async def _outgoing(self, pending: list[Action], by: str) -> tuple[list[Action], list[Outgoing]]:
        """The actions that can be sent, and their records. Dead letters that are no longer in Kafka are omitted."""
        dead = {action.source for action in pending if isinstance(action, Resend)}
        raws = await self.lookup.records(dead) if dead else {}
        at, found, messages = self.now(), list[Action](), list[Outgoing]()
        for action in pending:
            if isinstance(action, OperatorAction):
                messages.append(_signal_record(action, at, by))
            elif (raw := raws.get(action.source)) is not None and is_original(raw, action.held):
                messages.append(resent_record(action.held.place, raw, by))
            else:
                continue
            found.append(action)
        return found, messages


def is_original(raw: Any, held: IndexedLetter) -> bool:
    """Whether a record is the original of a dead letter, and not one of a recreated topic with the same offset."""
    return held.original_bytes is None or size_of(raw.value, raw.headers) == held.original_bytes


def _missing_reason(action: Action) -> str:
    return actions.TRUNCATED if isinstance(action, Resend) and action.held.original_bytes is not None else actions.GONE


def _signal_record(action: OperatorAction, at: datetime, by: str) -> Outgoing:
    signal = action.signal(at, by)
    return Outgoing(SIGNALS, action.id.encode(), encode(signal), headers_for_signal(signal, "console"))


def resent_record(place: RecordId, dead: Any, by: str) -> Outgoing:
    """The record that resends an original: same topic, partition, key, value and headers, plus redrive headers."""
    ours = (DEAD_LETTER, REDRIVEN, REDRIVEN_BY)
    carried = [(name, value) for name, value in dead.headers if name not in ours]
    added = [(REDRIVEN, str(place).encode()), (REDRIVEN_BY, by.encode())]
    return Outgoing(place.topic, dead.key, dead.value, [*carried, *added], place.partition)


def _interrupted(count: int, total: int, reason: str) -> Problem:
    """The problem for a request that was interrupted by the broker."""
    sent = f"{count} of {total} were sent" if count else "nothing was sent"
    detail = f"{sent}, then the broker became unavailable ({reason}); the request can safely be repeated"
    return Problem(503, detail, count=count, total=total)
