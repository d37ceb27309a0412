"""Starts sagas for new users, for the Provisioner's views and the console.

A 202 means that the broker has acknowledged the requests. If the outcome is unknown, the client repeats the same
request with the same Idempotency-Key: the saga ids are derived from the key, so that no user is onboarded twice. A key
belongs to one body, and is refused with another one. See docs/reference/http-behaviour.md.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any, Protocol
from urllib.parse import quote

from aiohttp import web
from cachetools import FIFOCache

from saga_app.active_plan import PLAN
from saga_app.saga import attempt_id, json_text
from saga_app.saga.codec import encode
from saga_app.saga.messages import Message, User
from saga_app.saga.states import REPEATABLE_STATES
from saga_app.saga.times import utc
from saga_app.service import tracecontext
from saga_app.service.headers import headers_for
from saga_app.stream import Headers, NotAcknowledged
from saga_app.stream.produce.sender import Message as Outgoing
from saga_app.web import new_users
from saga_app.web.existing import ExistingSaga
from saga_app.web.idempotency import KEY_HEADER, base32, id_from_key, key_of, key_part, mark_of
from saga_app.web.new_users import NewUser, NewUsers
from saga_app.web.problem import Fault, Problem

#: The topic of new sagas.
TOPIC = PLAN.steps[0].topic

#: How many accepted users, and keys, are kept in memory to bridge the time until their saga rows are readable.
MAX_REMEMBERED = 50_000

#: Response header: how many users of the request existed already, because the request was sent before.
EXISTING_HEADER = "X-Saga-Existing"


class Sends(Protocol):
    """The part of the stream layer's sender that is needed here."""

    async def send_all(self, messages: Sequence[Outgoing]) -> None: ...


#: Looks up sagas by id; returns those that exist.
Known = Callable[[Sequence[str]], Awaitable[Mapping[str, ExistingSaga]]]

#: Whether a saga was started with the same key and another body, given a mark.
KeyTaken = Callable[[str], Awaitable[bool]]

#: The reason why this many new sagas cannot be accepted at the moment, or None.
Headroom = Callable[[int], str | None]


async def no_existing_sagas(_ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
    """A lookup that finds nothing."""
    return {}


async def no_key_taken(_mark: str) -> bool:
    """A lookup that finds no key."""
    return False


def unlimited_headroom(_count: int) -> str | None:
    """Accepts any number of sagas."""
    return None


class Ids:
    """Generates ids: 18 letters and digits that sort by time of creation, even within a millisecond."""

    def __init__(self, clock: Callable[[], float] = time, random: Callable[[int], int] = secrets.randbits) -> None:
        self.clock, self.random = clock, random
        self.last = 0

    def __call__(self) -> str:
        """A new id: 45 bits of milliseconds, 45 random bits."""
        fresh = int(self.clock() * 1000) << 45 | self.random(45)
        self.last = fresh if fresh > self.last else self.last + 1
        return base32(self.last, 18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The result of a request: the ids in its order, and whether it was a list (`many`).

    `existing`: how many of them existed before. `encoding`: the detected encoding of a CSV file.
    """

    ids: list[str]
    many: bool
    existing: int = field(default=0, compare=False)
    encoding: str | None = None

    def answer(self, url: str) -> web.Response:
        """The response, 202. `url` is the path of a saga, with {} for its id."""
        headers = {EXISTING_HEADER: str(self.existing)}
        if self.many:
            encoding = {"encoding": self.encoding} if self.encoding else {}
            return _json({"accepted": len(self.ids), "ids": self.ids} | encoding, headers)
        where = _where(url, self.ids[0])
        return _json({"id": self.ids[0], "url": where}, headers | {"Location": where})


def _where(url: str, id: str) -> str:
    """The path of a saga. The id is percent-encoded, because it may have non-ASCII letters."""
    return url.format(quote(id, safe=":@+"))


def _json(body: Any, headers: Mapping[str, str]) -> web.Response:
    return web.Response(status=202, body=json_text.dumps(body), content_type="application/json", headers=headers)


def trace_of(request: web.Request) -> Headers:
    """The trace context headers of a request as record headers. Invalid ones are dropped later."""
    names = (tracecontext.TRACEPARENT, tracecontext.TRACESTATE)
    given = [(name, value) for name in names for value in request.headers.getall(name, ())]
    return [(name, value.encode("utf-8", "surrogateescape")) for name, value in given]


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch of users that is being sent.

    `outcome` is set to None when the broker has acknowledged them, or to the problem for the client.
    """

    users: Mapping[str, User]
    mark: str | None
    outcome: asyncio.Future[Problem | None]

    async def wait(self) -> None:
        """Wait until the batch is acknowledged. Raises its `Problem` if it was not."""
        if problem := await asyncio.shield(self.outcome):  # one cancelled waiter must not cancel the others
            raise problem


class Starter:
    """Starts sagas through a sender.

    `service`: the name in the headers of the messages. `known`: looks up existing sagas. `key_taken`: whether a key was
    used with another body. `headroom`: whether more sagas can be accepted. `url`: path of a saga, with {} for its id.
    """

    def __init__(
        self,
        sender: Sends,
        service: str,
        *,
        known: Known = no_existing_sagas,
        key_taken: KeyTaken = no_key_taken,
        headroom: Headroom = unlimited_headroom,
        url: str = "/api/sagas/{}",
        clock: Callable[[], float] = time,
    ) -> None:
        self.sender, self.service, self.known, self.headroom, self.url = sender, service, known, headroom, url
        self.key_taken, self.clock = key_taken, clock
        self.new_id = Ids(clock)
        self.pending: dict[str, PendingBatch] = {}
        self.accepted: FIFOCache[str, ExistingSaga] = FIFOCache(MAX_REMEMBERED)
        #: The mark of the last request with each key, by the key's part of the mark.
        self.marks: FIFOCache[str, str] = FIFOCache(MAX_REMEMBERED)

    async def handle(self, request: web.Request) -> web.Response:
        """The complete handler for a `POST` of new users. Raises `Problem`."""
        requested = await new_users.read(request)
        return (await self.start(requested, key_of(request), trace_of(request))).answer(self.url)

    async def start(self, requested: NewUsers, key: str | None = None, trace: Headers = ()) -> Started:
        """Send the users whose sagas do not exist yet, and return when the broker has acknowledged them.

        `key`: the Idempotency-Key. `trace`: the trace context headers of the request. Raises `Problem` 409, 422 or 503.
        """
        mark = mark_of(key, requested) if key else None
        ids = [await self._id_of(entry, index, key, mark) for index, entry in enumerate(requested.entries)]
        _refuse_repeated(ids, requested)
        while True:
            existing, taken = await self._look_up(requested, ids, key, mark)
            if mark:
                self._check_key(mark, existing, taken)
            self._check_ids(requested, ids, existing, mark)
            other = next((self.pending[id] for id in ids if id in self.pending), None)
            if other is None:
                break
            await other.wait()
        new = [(id, entry) for id, entry in zip(ids, requested.entries, strict=True) if id not in existing]
        if new:
            await self._send(new, mark, [id for id in ids if id in existing], trace)
        return Started(ids=ids, many=requested.many, existing=len(ids) - len(new), encoding=requested.encoding)

    async def _id_of(self, entry: NewUser, index: int, key: str | None, mark: str | None) -> str:
        if entry.id is None:
            return id_from_key(key, index) if key else self.new_id()
        return await self._next_id(entry.id, index, mark) if entry.again else entry.id

    async def _next_id(self, id: str, index: int, mark: str | None) -> str:
        """The id for another onboarding: the first free one, or the one that this same request has started before.

        `_check_ids` refuses the id of a saga that was not rolled back.
        """
        own_id, number = attempt_id.split(id)
        while True:
            try:
                id = attempt_id.with_number(own_id, number)
            except ValueError as error:
                fault: Fault = {"index": index, "field": "id", "message": str(error)}
                raise Problem(422, f"id: {error}; nothing was sent", errors=[fault]) from None
            saga = (await self._existing([id])).get(id)
            if saga is None or saga.state not in REPEATABLE_STATES or (mark and saga.idempotency == mark):
                return id
            number += 1

    async def _existing(self, ids: Sequence[str]) -> dict[str, ExistingSaga]:
        """The existing sagas among these ids, including those accepted here that have no row yet.

        The latter are looked up second, because they may be accepted while the rows are being looked up.
        """
        known = await self.known(ids) if ids else {}
        return {**{id: self.accepted[id] for id in ids if id in self.accepted}, **known}

    async def _look_up(
        self, requested: NewUsers, ids: Sequence[str], key: str | None, mark: str | None
    ) -> tuple[dict[str, ExistingSaga], bool]:
        """The existing sagas of this request or of its key, and whether the key was used with another body."""
        wanted = [id for id, entry in zip(ids, requested.entries, strict=True) if key or entry.id]
        if key and (first := id_from_key(key, 0)) not in wanted:
            wanted.append(first)
        taken = mark is not None and await self.key_taken(mark)
        return await self._existing(wanted), taken

    def _check_key(self, mark: str, existing: Mapping[str, ExistingSaga], taken: bool) -> None:
        """Raises `Problem` if the key of this mark was used with another body."""
        used = self.marks.get(key_part(mark), mark)
        if used != mark and any(batch.mark == used for batch in self.pending.values()):
            raise Problem(409, f"a request with this {KEY_HEADER} is in progress, or the key was used for another user")
        marks = {saga.idempotency or "" for saga in existing.values()} | {used}
        if taken or any(other.startswith(key_part(mark)) for other in marks - {mark}):
            raise _other_body()

    def _check_ids(
        self, requested: NewUsers, ids: list[str], existing: Mapping[str, ExistingSaga], mark: str | None
    ) -> None:
        """Raises `Problem` for ids that exist or are being sent, unless this same request has started them."""
        faults: list[Fault] = []
        for index, (id, entry) in enumerate(zip(ids, requested.entries, strict=True)):
            batch = self.pending.get(id)
            saga = existing.get(id) or (ExistingSaga(user=batch.users[id], idempotency=batch.mark) if batch else None)
            if saga is None or _is_same(entry, saga, mark):
                continue
            if entry.id is None:
                raise _other_body()
            if not requested.many:
                url = _where(self.url, id)
                headers = {"Location": url}
                raise Problem(409, saga.conflict(id), headers=headers, url=url, state=saga.state, reason=saga.reason)
            faults.append({"index": index, "field": "id", "message": saga.conflict(id)})
        new_users.refuse(faults, len(ids), requested.lines)

    async def _send(
        self, new: list[tuple[str, NewUser]], mark: str | None, existing: Sequence[str], trace: Headers
    ) -> None:
        """Send new users as one batch. Raises `Problem`, also in requests that wait for the same batch."""
        if reason := self.headroom(len(new)):
            raise Problem(503, f"nothing was accepted: {reason}", headers={"Retry-After": "60"}, outcome="none")
        if mark:  # before sending, because unacknowledged requests may have arrived nevertheless
            self.marks[key_part(mark)] = mark
        batch = PendingBatch({id: entry.user for id, entry in new}, mark, asyncio.get_running_loop().create_future())
        self.pending |= dict.fromkeys(batch.users, batch)
        lost = "the same request was in progress and its outcome is unknown"
        outcome: Problem | None = _unknown(lost, existing, [*batch.users], mark)
        try:
            await self._deliver(batch, existing, trace)
            outcome = None
        except Problem as problem:
            outcome = problem
            raise
        finally:
            for id in batch.users:
                del self.pending[id]
            batch.outcome.set_result(outcome)

    async def _deliver(self, batch: PendingBatch, existing: Sequence[str], trace: Headers) -> None:
        """Send a batch. Raises `Problem` with the ids that were acknowledged and those that were not."""
        ids = list(batch.users)
        try:
            users = batch.users.items()
            await self.sender.send_all([self._message(id, user, batch.mark, trace) for id, user in users])
        except NotAcknowledged as error:
            missing = {ids[place] for place in error.failed}
            arrived = [id for id in ids if id not in missing]
            self._remember_accepted(batch, arrived)
            unknown = [id for id in ids if id in missing]
            cause = _unacknowledged(error, len(existing) + len(arrived))
            raise _unknown(cause, [*existing, *arrived], unknown, batch.mark) from error
        self._remember_accepted(batch, ids)

    def _remember_accepted(self, batch: PendingBatch, ids: Iterable[str]) -> None:
        for id in ids:
            self.accepted[id] = ExistingSaga(user=batch.users[id], idempotency=batch.mark)

    def _message(self, id: str, user: User, mark: str | None, trace: Headers) -> Outgoing:
        message = Message(v=1, id=id, user=user, saga=PLAN.name, idempotency=mark)
        headers = headers_for(message, TOPIC, self.service, utc(self.clock()), trace)
        return Outgoing(TOPIC, id.encode(), encode(message), headers)


def _is_same(entry: NewUser, saga: ExistingSaga, mark: str | None) -> bool:
    """Whether the request with this mark started the saga.

    A saga without a mark was written by an earlier version: then an id derived from the key and the same user suffice.
    """
    if saga.idempotency is None:
        return mark is not None and entry.id is None and entry.user == saga.user
    return saga.idempotency == mark


def _refuse_repeated(ids: Sequence[str], requested: NewUsers) -> None:
    """Raises `Problem` if two entries have the same id, such as `ada`, begun again as `ada~2`, and `ada~2`."""
    first = {id: index for index, id in reversed([*enumerate(ids)])}
    faults: list[Fault] = [
        {"index": index, "field": "id", "message": f"has the same id as entry {first[id]}: {id}"}
        for index, id in enumerate(ids)
        if first[id] != index
    ]
    new_users.refuse(faults, len(ids), requested.lines)


def _other_body() -> Problem:
    detail = f"this {KEY_HEADER} was used for another user or list; a key belongs to one body: use a new one"
    fault: Fault = {"index": None, "field": KEY_HEADER, "message": "was used for another user or list"}
    return Problem(422, f"{detail}; nothing was sent", errors=[fault])


def _unacknowledged(error: NotAcknowledged, accepted: int) -> str:
    if not accepted:
        return f"nothing was accepted for certain: no acknowledgement from the broker ({error.reason})"
    return f"{accepted} were accepted, then the broker became unavailable ({error.reason})"


def _unknown(what: str, accepted: Sequence[str], unknown: Sequence[str], mark: str | None) -> Problem:
    """The problem for missing acknowledgements: which users arrived, which may have arrived, and how to retry."""
    whether = "it" if len(unknown) == 1 else f"each of {len(unknown)} users"
    how = f"the same {KEY_HEADER}" if mark else "the ids listed in `unknown` as their own"
    again = f"send the same again with {how}, so that no user is onboarded twice"
    detail = f"{what}; it is unknown whether {whether} has arrived: {again}"
    return Problem(503, detail, outcome="unknown", accepted=len(accepted), ids=list(accepted), unknown=list(unknown))
