"""A new user becomes a saga: for the views, the console and the command line alike.

A 202 means that the broker has acknowledged the saga. A client that does not know whether its request has arrived sends
the same again with the same Idempotency-Key: the ids follow from it, so that no user is onboarded twice. A key belongs
to one body: with another body it is refused. See docs/reference/http-behaviour.md for what is remembered where.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any, Protocol
from urllib.parse import quote

import orjson
from aiohttp import web

from saga_app.active_plan import PLAN
from saga_app.saga import attempt_id
from saga_app.saga.messages import Message, User, encode
from saga_app.saga.times import iso
from saga_app.service import tracecontext
from saga_app.service.headers import headers_for
from saga_app.stream import Headers, NotAcknowledged
from saga_app.stream.produce.sender import Message as Outgoing
from saga_app.web import new_users
from saga_app.web.existing import ROLLED_BACK, ExistingSaga
from saga_app.web.idempotency import KEY_HEADER, base32, id_from_key, key_of, key_part, mark_of
from saga_app.web.new_users import NewUser, NewUsers
from saga_app.web.problem import Fault, Problem

#: Where a saga begins.
TOPIC = PLAN.steps[0].topic

#: Accepted users, and keys, that are remembered until the rows of their sagas can be asked for.
REMEMBERED = 50_000

#: How many of the users in a request existed already: that request was sent before.
EXISTING_HEADER = "X-Saga-Existing"


class Sends(Protocol):
    """What is needed of the stream layer's sender."""

    async def send_all(self, messages: Sequence[Outgoing]) -> None: ...


#: Those of these ids that exist.
Known = Callable[[Sequence[str]], Awaitable[Mapping[str, ExistingSaga]]]

#: Whether a saga was started with the key of this mark and another body.
KeyTaken = Callable[[str], Awaitable[bool]]

#: Why so many more sagas cannot be taken now, or None.
Room = Callable[[int], str | None]


async def nobody(_ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
    """Knows no user."""
    return {}


async def never(_mark: str) -> bool:
    """Knows no key."""
    return False


def endless(_count: int) -> str | None:
    """There is always room."""
    return None


class Ids:
    """Makes ids: 18 letters and digits that sort by time of making, also within a millisecond."""

    def __init__(self, clock: Callable[[], float] = time, random: Callable[[int], int] = secrets.randbits) -> None:
        self.clock, self.random = clock, random
        self.last = 0

    def __call__(self) -> str:
        """A new one: 45 bits of milliseconds, 45 bits of chance."""
        fresh = int(self.clock() * 1000) << 45 | self.random(45)
        self.last = fresh if fresh > self.last else self.last + 1
        return base32(self.last, 18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The ids, in the order of the request; `many` if it was a list.

    `existing` of them were there before, `encoding` is that of a CSV file.
    """

    ids: list[str]
    many: bool
    existing: int = field(default=0, compare=False)
    encoding: str | None = None

    def answer(self, url: str) -> web.Response:
        """The 202. `url` is where a saga is shown, with {} for its id."""
        headers = {EXISTING_HEADER: str(self.existing)}
        if self.many:
            encoding = {"encoding": self.encoding} if self.encoding else {}
            return _json({"accepted": len(self.ids), "ids": self.ids} | encoding, headers)
        where = _where(url, self.ids[0])
        return _json({"id": self.ids[0], "url": where}, headers | {"Location": where})


def _where(url: str, id: str) -> str:
    """The URL of a saga: ids may have letters that a URL may not."""
    return url.format(quote(id, safe=":@+"))


def _json(body: Any, headers: Mapping[str, str]) -> web.Response:
    return web.Response(status=202, body=orjson.dumps(body), content_type="application/json", headers=headers)


def trace_of(request: web.Request) -> Headers:
    """The headers of the trace context of a request, as a record carries them; invalid ones are dropped later."""
    names = (tracecontext.TRACEPARENT, tracecontext.TRACESTATE)
    given = [(name, value) for name in names for value in request.headers.getall(name, ())]
    return [(name, value.encode("utf-8", "surrogateescape")) for name, value in given]


@dataclass(frozen=True, slots=True)
class Flight:
    """Users that are being sent. `landed` becomes None when the broker has them, or else what the client is told."""

    users: Mapping[str, User]
    mark: str | None
    landed: asyncio.Future[Problem | None]

    async def wait(self) -> None:
        """Until it is over; raises the `Problem` of those who are in it."""
        if problem := await asyncio.shield(self.landed):  # whoever gives up waiting does not end it for the others
            raise problem


class Starter:
    """Starts sagas through a sender. `service` names us in the headers of what is sent."""

    def __init__(
        self,
        sender: Sends,
        service: str,
        *,
        known: Known = nobody,
        key_taken: KeyTaken = never,
        room: Room = endless,
        url: str = "/api/sagas/{}",
        clock: Callable[[], float] = time,
    ) -> None:
        self.sender, self.service, self.known, self.room, self.url = sender, service, known, room, url
        self.key_taken, self.clock = key_taken, clock
        self.new_id = Ids(clock)
        self.under_way: dict[str, Flight] = {}
        self.accepted: OrderedDict[str, ExistingSaga] = OrderedDict()
        #: The mark of the request with which a key was used last, by the key's part of it.
        self.marks: OrderedDict[str, str] = OrderedDict()

    async def handle(self, request: web.Request) -> web.Response:
        """`POST` of new users: the whole handler. Raises `Problem`."""
        asked = await new_users.read(request)
        return (await self.start(asked, key_of(request), trace_of(request))).answer(self.url)

    async def start(self, asked: NewUsers, key: str | None = None, trace: Headers = ()) -> Started:
        """Send what is not there yet, and return when the broker has it. Raises `Problem` 409, 422 or 503.

        `trace` are the headers of the trace context in which the request came.
        """
        mark = mark_of(key, asked) if key else None
        ids = [await self._id_of(entry, index, key, mark) for index, entry in enumerate(asked.entries)]
        _refuse_repeated(ids, asked)
        while True:
            there, taken = await self._look_up(asked, ids, key, mark)
            if mark:
                self._check_key(mark, there, taken)
            self._check_ids(asked, ids, there, mark)
            twin = next((self.under_way[id] for id in ids if id in self.under_way), None)
            if twin is None:
                break
            await twin.wait()
        new = [(id, entry) for id, entry in zip(ids, asked.entries, strict=True) if id not in there]
        if new:
            await self._send(new, mark, [id for id in ids if id in there], trace)
        return Started(ids=ids, many=asked.many, existing=len(ids) - len(new), encoding=asked.encoding)

    async def _id_of(self, entry: NewUser, index: int, key: str | None, mark: str | None) -> str:
        if entry.id is None:
            return id_from_key(key, index) if key else self.new_id()
        return await self._next_id(entry.id, index, mark) if entry.again else entry.id

    async def _next_id(self, id: str, index: int, mark: str | None) -> str:
        """The id after the last saga of this user that was rolled back, or the one that this very request has started.

        A saga that stands otherwise is met by `_check_ids`.
        """
        own_id, number = attempt_id.split(id)
        while True:
            try:
                id = attempt_id.numbered(own_id, number)
            except ValueError as error:
                fault: Fault = {"index": index, "field": "id", "message": str(error)}
                raise Problem(422, f"id: {error}; nothing was sent", errors=[fault]) from None
            saga = (await self._existing([id])).get(id)
            if saga is None or saga.state not in ROLLED_BACK or (mark and saga.idempotency == mark):
                return id
            number += 1

    async def _existing(self, ids: Sequence[str]) -> dict[str, ExistingSaga]:
        """Those that exist, also those that were accepted here and have no row yet.

        The latter are looked up afterwards: they may have been accepted while the rows were asked for.
        """
        known = await self.known(ids) if ids else {}
        return {**{id: self.accepted[id] for id in ids if id in self.accepted}, **known}

    async def _look_up(
        self, asked: NewUsers, ids: Sequence[str], key: str | None, mark: str | None
    ) -> tuple[dict[str, ExistingSaga], bool]:
        """What exists of this request or of another one with its key, and whether the key was used for another body."""
        wanted = [id for id, entry in zip(ids, asked.entries, strict=True) if key or entry.id]
        if key and (first := id_from_key(key, 0)) not in wanted:
            wanted.append(first)
        taken = mark is not None and await self.key_taken(mark)
        return await self._existing(wanted), taken

    def _check_key(self, mark: str, there: Mapping[str, ExistingSaga], taken: bool) -> None:
        """Raises `Problem` if the key of this mark was used with another body."""
        used = self.marks.get(key_part(mark), mark)
        if used != mark and any(flight.mark == used for flight in self.under_way.values()):
            raise Problem(409, f"a request with this {KEY_HEADER} is under way or was used for another user")
        marks = {saga.idempotency or "" for saga in there.values()} | {used}
        if taken or any(other.startswith(key_part(mark)) for other in marks - {mark}):
            raise _other_body()

    def _check_ids(self, asked: NewUsers, ids: list[str], there: Mapping[str, ExistingSaga], mark: str | None) -> None:
        """Raises `Problem` for ids that exist or are under way, unless this is the request that has started them."""
        faults: list[Fault] = []
        for index, (id, entry) in enumerate(zip(ids, asked.entries, strict=True)):
            flight = self.under_way.get(id)
            saga = there.get(id) or (ExistingSaga(user=flight.users[id], idempotency=flight.mark) if flight else None)
            if saga is None or _is_same(entry, saga, mark):
                continue
            if entry.id is None:
                raise _other_body()
            if not asked.many:
                url = _where(self.url, id)
                headers = {"Location": url}
                raise Problem(409, saga.conflict(id), headers=headers, url=url, state=saga.state, reason=saga.reason)
            faults.append({"index": index, "field": "id", "message": saga.conflict(id)})
        new_users.refuse(faults, len(ids), asked.lines)

    async def _send(
        self, new: list[tuple[str, NewUser]], mark: str | None, there: Sequence[str], trace: Headers
    ) -> None:
        """Raises `Problem`; requests that wait for the same flight get the same."""
        if reason := self.room(len(new)):
            raise Problem(503, f"nothing was accepted: {reason}", headers={"Retry-After": "60"}, outcome="none")
        if mark:  # before it is sent: what the broker does not acknowledge may have arrived nevertheless
            _remember(self.marks, [(key_part(mark), mark)])
        flight = Flight({id: entry.user for id, entry in new}, mark, asyncio.get_running_loop().create_future())
        self.under_way |= dict.fromkeys(flight.users, flight)
        lost = "the same request was under way and got no answer"
        outcome: Problem | None = _unknown(lost, there, [*flight.users], mark)
        try:
            await self._deliver(flight, there, trace)
            outcome = None
        except Problem as problem:
            outcome = problem
            raise
        finally:
            for id in flight.users:
                del self.under_way[id]
            flight.landed.set_result(outcome)

    async def _deliver(self, flight: Flight, there: Sequence[str], trace: Headers) -> None:
        """Raises `Problem` with what was acknowledged and what was not."""
        ids = list(flight.users)
        try:
            users = flight.users.items()
            await self.sender.send_all([self._message(id, user, flight.mark, trace) for id, user in users])
        except NotAcknowledged as error:
            missing = {ids[place] for place in error.failed}
            arrived = [id for id in ids if id not in missing]
            self._remember_accepted(flight, arrived)
            unknown = [id for id in ids if id in missing]
            raise _unknown(_away(error, len(there) + len(arrived)), [*there, *arrived], unknown, flight.mark) from error
        self._remember_accepted(flight, ids)

    def _remember_accepted(self, flight: Flight, ids: Iterable[str]) -> None:
        sagas = [(id, ExistingSaga(user=flight.users[id], idempotency=flight.mark)) for id in ids]
        _remember(self.accepted, sagas)

    def _message(self, id: str, user: User, mark: str | None, trace: Headers) -> Outgoing:
        message = Message(v=1, id=id, user=user, saga=PLAN.name, idempotency=mark)
        headers = headers_for(message, TOPIC, self.service, iso(self.clock()), trace)
        return Outgoing(TOPIC, id.encode(), encode(message), headers)


def _remember(memory: OrderedDict[str, Any], pairs: Iterable[tuple[str, Any]]) -> None:
    memory.update(pairs)
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)


def _is_same(entry: NewUser, saga: ExistingSaga, mark: str | None) -> bool:
    """Whether the request with this mark has started the saga.

    A saga of an earlier version has no mark: there an id that follows from the key, and the same user, are enough.
    """
    if saga.idempotency is None:
        return mark is not None and entry.id is None and entry.user == saga.user
    return saga.idempotency == mark


def _refuse_repeated(ids: Sequence[str], asked: NewUsers) -> None:
    """Raises `Problem` if two entries come to the same id, such as `ada` that begins again as `ada~2`, and `ada~2`."""
    first = {id: index for index, id in reversed([*enumerate(ids)])}
    faults: list[Fault] = [
        {"index": index, "field": "id", "message": f"comes to the same id as entry {first[id]}: {id}"}
        for index, id in enumerate(ids)
        if first[id] != index
    ]
    new_users.refuse(faults, len(ids), asked.lines)


def _other_body() -> Problem:
    detail = f"this {KEY_HEADER} was used for another user or list; a key belongs to one body: use a new one"
    fault: Fault = {"index": None, "field": KEY_HEADER, "message": "was used for another user or list"}
    return Problem(422, f"{detail}; nothing was sent", errors=[fault])


def _away(error: NotAcknowledged, accepted: int) -> str:
    if not accepted:
        return f"nothing was accepted for certain: the broker has not acknowledged it ({error.reason})"
    return f"{accepted} were accepted, then the broker was away ({error.reason})"


def _unknown(what: str, accepted: Sequence[str], unknown: Sequence[str], mark: str | None) -> Problem:
    """What a client has to know when an acknowledgement is missing: what arrived, what may have, and how to go on."""
    whether = "it" if len(unknown) == 1 else f"each of {len(unknown)} users"
    how = f"the same {KEY_HEADER}" if mark else "the ids listed in `unknown` as their own"
    again = f"send the same again with {how}, so that no user is onboarded twice"
    detail = f"{what}; whether {whether} has arrived is unknown: {again}"
    return Problem(503, detail, outcome="unknown", accepted=len(accepted), ids=list(accepted), unknown=list(unknown))
