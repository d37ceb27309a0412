"""The operator's hand: picks what a request concerns, and sends it, paced, until the broker has it.

Redriving twice does nothing twice: a signal names the attempt that it starts, and no attempt starts twice. What has
just been asked for is not sent again, so that it is not counted again either.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Protocol

from saga_app.console.index.dead_letters import Held
from saga_app.console.index.filters import ErrorFilter
from saga_app.console.operator import actions
from saga_app.console.operator.action_request import Order, unknown
from saga_app.console.operator.actions import Act, Chosen, Intent, Resend
from saga_app.console.operator.rate_limit import due, pause
from saga_app.console.record_id import REDRIVEN, REDRIVEN_BY, Place, place_of
from saga_app.saga.messages import DEAD_LETTER, SIGNALS, Row, encode
from saga_app.service.headers import headers_for_signal
from saga_app.stream import NotAcknowledged
from saga_app.stream.produce.refusal import size_of
from saga_app.stream.produce.sender import Message as Outgoing
from saga_app.web.problem import Problem
from saga_app.web.start_saga import Sends

#: How long what has been asked for is given to come back from the topics (seconds), and how much is remembered.
PATIENCE_S, REMEMBERED = 30.0, 200_000

#: How long an accepted user may take to come back from the topics (seconds).
SOON_S = 3.0


class Asks(Protocol):
    """What is needed of the index."""

    async def letters_meant(self, given: ErrorFilter) -> Sequence[Held]: ...
    async def letters_named(self, places: Sequence[Place]) -> Sequence[Held]: ...
    async def letters_waiting(self, ids: Sequence[str]) -> Sequence[Held]: ...
    async def rows(self, ids: Sequence[str]) -> Mapping[str, Row]: ...


class Reads(Protocol):
    """What is needed of Kafka."""

    async def records(self, places: Iterable[Place]) -> Mapping[Place, Any]: ...


class Operator:
    """Carries out orders.

    `accepted` are users who may not be in the index yet, `room` says why so many more sagas cannot be taken, `now` is
    the time as ISO text, `clock` and `sleep` are in seconds.
    """

    def __init__(
        self,
        *,
        queries: Asks,
        sender: Sends,
        lookup: Reads,
        not_ready: Callable[[], str | None],
        accepted: Container[str],
        room: Callable[[int], str | None],
        now: Callable[[], str],
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.queries, self.sender, self.lookup = queries, sender, lookup
        self.not_ready, self.accepted, self.room = not_ready, accepted, room
        self.now, self.clock, self.sleep = now, clock, sleep
        self.asked: OrderedDict[tuple[Any, ...], float] = OrderedDict()  #: By the keys of acts, when.

    async def redrive(self, order: Order) -> dict[str, Any]:
        """Try it again.  Raises `Problem` 404, 422 or 503."""
        self._check_ready()
        return await self._carry_out(order, await self._to_redrive(order))

    async def roll_back(self, order: Order) -> dict[str, Any]:
        """Undo it.  Raises `Problem` 404, 422 or 503."""
        self._check_ready()
        return await self._carry_out(order, await self._to_roll_back(order))

    def _check_ready(self) -> None:
        if reason := self.not_ready():
            raise Problem(503, f"nothing was sent: it is not known yet what there is: {reason}", outcome="none")

    async def _to_redrive(self, order: Order) -> Chosen:
        if order.filter is not None:
            return Chosen().add(await self._of_letters(actions.redrive, await self.queries.letters_meant(order.filter)))
        letters, rows = await self._named(order.ids or [])
        waiting = {
            letter.id: letter
            for letter in await self.queries.letters_waiting(list(rows))
            if letter.readable or not actions.is_first(letter)
        }
        of_sagas = (
            actions.redrive(waiting[id], row) if id in waiting else actions.NOT_WAITING for id, row in rows.items()
        )
        return Chosen().add(await self._of_letters(actions.redrive, letters)).add(of_sagas)

    async def _to_roll_back(self, order: Order) -> Chosen:
        if order.filter is not None:
            letters = await self.queries.letters_meant(order.filter)
            return Chosen().add(await self._of_letters(actions.roll_back, letters))
        letters, rows = await self._named(order.ids or [])
        acts = await self._of_letters(actions.roll_back, letters)
        return Chosen().add(acts).add(map(actions.turn_round, rows.values()))

    async def _of_letters(
        self, decide: Callable[[Held, Row | None], Act | str], letters: Sequence[Held]
    ) -> Iterable[Act | str]:
        """What to do with each; of those that cannot be read, with the row of the saga that they name, if any."""
        rows = await self.queries.rows([letter.id for letter in letters if letter.id and not letter.readable])
        return [decide(letter, rows.get(letter.id or "")) for letter in letters]

    async def _named(self, names: list[str]) -> tuple[Sequence[Held], Mapping[str, Row]]:
        """The dead letters and the sagas that are meant.  Raises a 404 with all that are neither."""
        places = {name: place for name in names if (place := place_of(name))}
        letters = await self.queries.letters_named(list(places.values()))
        ids = list(dict.fromkeys(name for name in names if name not in places))
        rows = await self._rows(ids)
        there = {letter.place for letter in letters}
        missing = {name for name, place in places.items() if place not in there} | (set(ids) - set(rows))
        if missing:
            raise unknown(names, missing)
        return letters, rows

    async def _rows(self, ids: list[str]) -> Mapping[str, Row]:
        """The sagas; users who have just been accepted are waited for."""
        deadline = self.clock() + SOON_S
        while True:
            rows = await self.queries.rows(ids)
            soon = [id for id in ids if id not in rows and id in self.accepted]
            if not soon or self.clock() > deadline:
                return rows
            await self.sleep(0.05)

    async def _carry_out(self, order: Order, chosen: Chosen) -> dict[str, Any]:
        acts = [act for act in chosen.acts.values() if not self._is_asked(act)]
        chosen.left_out[actions.JUST_ASKED] += len(chosen.acts) - len(acts)
        count = len(acts)
        if not order.dry_run:
            order.check_rate(count)
            if reason := self.room(sum(isinstance(act, Resend) for act in acts)):
                raise Problem(503, f"nothing was sent: {reason}", headers={"Retry-After": "60"}, outcome="none")
            count = await self._send(acts, order, chosen)
        answer: dict[str, Any] = {"count": count, "dry_run": order.dry_run}
        left_out = {reason: number for reason, number in chosen.left_out.items() if number}
        return answer | ({"left_out": left_out} if left_out else {})

    async def _send(self, acts: list[Act], order: Order, chosen: Chosen) -> int:
        """How many the broker has acknowledged: all that still applied.  Raises a 503 that says how many it were."""
        began, done, count = self.clock(), 0, 0
        while done < len(acts):
            elapsed = self.clock() - began
            upto = due(len(acts), done, order.rate, elapsed)
            if upto == done and order.rate:
                await self.sleep(pause(done, order.rate, elapsed))
                continue
            fresh = [act for act in acts[done:upto] if not self._is_asked(act)]
            chosen.left_out[actions.JUST_ASKED] += upto - done - len(fresh)
            try:
                sent = await self._portion(fresh, order.by)
            except NotAcknowledged as error:
                count += len(fresh) - len(error.failed)
                raise _away(count, len(acts), str(error.reason)) from error
            except Problem as problem:
                raise _away(count, len(acts), problem.detail) from problem
            for act in fresh:
                if act.key not in sent:
                    chosen.left_out[_gone(act)] += 1
            done, count = upto, count + len(sent)
        return count

    async def _portion(self, acts: list[Act], by: str) -> set[tuple[Any, ...]]:
        """The keys of those that were sent.

        Remembered while it is sent, too; what was not acknowledged is forgotten, so that it can be sent again.
        """
        self._remember(acts)
        found: list[Act] = []
        sent: set[int] = set()  # by their places in what was found
        try:
            found, messages = await self._messages(acts, by)
            await self.sender.send_all(messages)
            sent = set(range(len(messages)))
        except NotAcknowledged as error:
            sent = set(range(len(found))) - set(error.failed)
            raise
        finally:
            self._forget(acts, {found[place].key for place in sent})
        return {found[place].key for place in sent}

    def _forget(self, acts: Iterable[Act], sent: Container[tuple[Any, ...]]) -> None:
        for act in acts:
            if act.key not in sent:
                self.asked.pop(act.key, None)

    async def _messages(self, acts: list[Act], by: str) -> tuple[list[Act], list[Outgoing]]:
        """What can be sent, and the records; a dead letter that is not in Kafka any more cannot."""
        dead = {act.source for act in acts if isinstance(act, Resend)}
        raws = await self.lookup.records(dead) if dead else {}
        at, found, messages = self.now(), list[Act](), list[Outgoing]()
        for act in acts:
            if isinstance(act, Intent):
                messages.append(_told(act, at, by))
            elif (raw := raws.get(act.source)) is not None and is_whole(raw, act.held):
                messages.append(as_it_was(act.held.place, raw, by))
            else:
                continue
            found.append(act)
        return found, messages

    def _is_asked(self, act: Act) -> bool:
        at = self.asked.get(act.key)
        return at is not None and self.clock() - at < PATIENCE_S

    def _remember(self, acts: Iterable[Act]) -> None:
        for act in acts:
            self.asked[act.key] = self.clock()
            self.asked.move_to_end(act.key)
        while len(self.asked) > REMEMBERED:
            self.asked.popitem(last=False)


def is_whole(raw: Any, held: Held) -> bool:
    """Whether a record is the original of a dead letter; a topic that was recreated has others at its offsets."""
    return held.original_bytes is None or size_of(raw.value, raw.headers) == held.original_bytes


def _gone(act: Act) -> str:
    return actions.CUT if isinstance(act, Resend) and act.held.original_bytes is not None else actions.GONE


def _told(intent: Intent, at: str, by: str) -> Outgoing:
    signal = intent.signal(at, by)
    return Outgoing(SIGNALS, intent.id.encode(), encode(signal), headers_for_signal(signal, "console"))


def as_it_was(place: Place, dead: Any, by: str) -> Outgoing:
    """The original: its bytes, key and headers, to its topic and partition; one more header says where it was."""
    ours = (DEAD_LETTER, REDRIVEN, REDRIVEN_BY)
    carried = [(name, value) for name, value in dead.headers if name not in ours]
    said = [(REDRIVEN, place.name.encode()), (REDRIVEN_BY, by.encode())]
    return Outgoing(place.topic, dead.key, dead.value, [*carried, *said], place.partition)


def _away(count: int, total: int, reason: str) -> Problem:
    """What an operator has to know: what was sent, and that asking again is harmless."""
    sent = f"{count} of {total} were sent" if count else "nothing was sent"
    detail = f"{sent}, then the broker was away ({reason}); ask again: what was sent is not done twice"
    return Problem(503, detail, count=count, total=total)
