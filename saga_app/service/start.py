"""A new user becomes a saga: for the views, the console and the command line alike.

A 202 means that the broker has acknowledged the saga. A client that is not sure whether it has been heard sends the
same again with the same Idempotency-Key: the ids follow from it, so that no user is onboarded twice. The client's own
ids are taken a second time only with the key that they came with.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from time import time
from typing import Any, Protocol
from urllib.parse import quote

import orjson
from aiohttp import web

from saga_app.saga.messages import Message, User, encode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.times import iso
from saga_app.service import newcomers
from saga_app.service.headers import headers_for
from saga_app.service.newcomers import Newcomer, Newcomers
from saga_app.service.problem import Fault, Problem
from saga_app.stream import NotAcknowledged
from saga_app.stream.sender import Message as Outgoing

#: Where a saga begins.
TOPIC = ONBOARDING.steps[0].topic

#: Crockford's: sorts as the numbers do, and no two letters look alike.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"

#: Accepted users that are remembered until whoever is asked for known ones knows them.
REMEMBERED = 50_000

KEY_HEADER = "Idempotency-Key"


class Sends(Protocol):
    """What is needed of the stream layer's sender."""

    async def send_all(self, messages: Sequence[Outgoing]) -> None: ...


#: The users of those of these ids that exist.
Known = Callable[[Sequence[str]], Awaitable[Mapping[str, User]]]

#: Why so many more sagas cannot be taken now, or None.
Room = Callable[[int], str | None]


async def nobody(_ids: Sequence[str]) -> Mapping[str, User]:
    """Knows no user."""
    return {}


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
        return _base32(self.last, 18)


def _base32(number: int, digits: int) -> str:
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(digits)))


def id_from_key(key: str, index: int) -> str:
    """The id of the user at this place of a request with this Idempotency-Key."""
    digest = blake2b(f"{index}\n{key}".encode(), digest_size=13).digest()
    return _base32(int.from_bytes(digest) >> 4, 20)


@dataclass(frozen=True, slots=True)
class Started:
    """The ids, in the order of the request; `many` if it was a list."""

    ids: list[str]
    many: bool

    def answer(self, url: str) -> web.Response:
        """The 202. `url` is where a saga is shown, with {} for its id."""
        if self.many:
            return _json({"accepted": len(self.ids), "ids": self.ids}, {})
        where = _where(url, self.ids[0])
        return _json({"id": self.ids[0], "url": where}, {"Location": where})


def _where(url: str, id: str) -> str:
    """The URL of a saga: ids may have letters that a URL may not."""
    return url.format(quote(id, safe=":@+"))


def _json(body: Any, headers: Mapping[str, str]) -> web.Response:
    return web.Response(status=202, body=orjson.dumps(body), content_type="application/json", headers=headers)


def key_of(request: web.Request) -> str | None:
    """The Idempotency-Key. Raises `Problem`."""
    key = request.headers.get(KEY_HEADER)
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise Problem(400, f"{KEY_HEADER}: 1 to 255 characters of printable ASCII")
    return key


@dataclass(frozen=True, slots=True)
class Flight:
    """Users that are being sent. `landed` becomes None when the broker has them, or else what the client is told."""

    users: Mapping[str, User]
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
        room: Room = endless,
        url: str = "/api/sagas/{}",
        clock: Callable[[], float] = time,
    ) -> None:
        self.sender, self.service, self.known, self.room, self.url = sender, service, known, room, url
        self.clock = clock
        self.new_id = Ids(clock)
        self.under_way: dict[str, Flight] = {}
        self.accepted: OrderedDict[str, User] = OrderedDict()
        #: With which key a client's own id was sent last.
        self.keys: OrderedDict[str, str] = OrderedDict()

    async def handle(self, request: web.Request) -> web.Response:
        """`POST` of new users: the whole handler. Raises `Problem`."""
        asked = await newcomers.read(request)
        return (await self.start(asked, key_of(request))).answer(self.url)

    async def start(self, asked: Newcomers, key: str | None = None) -> Started:
        """Send what is not there yet, and return when the broker has it. Raises `Problem` 409, 422 or 503."""
        ids = [entry.id or (id_from_key(key, i) if key else self.new_id()) for i, entry in enumerate(asked.entries)]
        while True:
            there = await self._there([id for id, entry in zip(ids, asked.entries, strict=True) if key or entry.id])
            self._refuse(asked, ids, there, key)
            twin = next((self.under_way[id] for id in ids if id in self.under_way), None)
            if twin is None:
                break
            await twin.wait()
        new = [(id, entry) for id, entry in zip(ids, asked.entries, strict=True) if id not in there]
        if new:
            await self._send(new, key)
        return Started(ids, asked.many)

    async def _there(self, ids: Sequence[str]) -> dict[str, User]:
        """Those that exist, or are known here to have been accepted."""
        if not ids:
            return {}
        known = await self.known(ids)
        return {**known, **{id: self.accepted[id] for id in ids if id in self.accepted}}

    def _refuse(self, asked: Newcomers, ids: list[str], there: Mapping[str, User], key: str | None) -> None:
        """Raises `Problem` for what exists or is under way, unless this request is the same again."""
        faults: list[Fault] = []
        for index, (id, entry) in enumerate(zip(ids, asked.entries, strict=True)):
            flight = self.under_way.get(id)
            user = there.get(id) or (flight.users[id] if flight else None)
            if user is None or self._is_same(id, entry, key, user):
                continue
            if flight and entry.id is None:
                raise Problem(409, f"a request with this {KEY_HEADER} is under way or was used for another user")
            faults.append(_exists(index, id, entry))
        if faults and not asked.many and asked.entries[0].id:
            url = _where(self.url, ids[0])
            raise Problem(409, f"the id {ids[0]} exists already", headers={"Location": url}, url=url)
        newcomers.refuse(faults, len(ids))

    def _is_same(self, id: str, entry: Newcomer, key: str | None, user: User) -> bool:
        return key is not None and (entry.id is None or self.keys.get(id) == key) and entry.user == user

    async def _send(self, new: list[tuple[str, Newcomer]], key: str | None) -> None:
        """Raises `Problem`; those who wait for the flight are told the same."""
        if reason := self.room(len(new)):
            raise Problem(503, f"nothing was accepted: {reason}", headers={"Retry-After": "60"}, outcome="none")
        self._remember_key(new, key)
        flight = Flight({id: entry.user for id, entry in new}, asyncio.get_running_loop().create_future())
        self.under_way |= dict.fromkeys(flight.users, flight)
        outcome: Problem | None = _unknown(f"the same request was under way and got no answer; {_AGAIN}")
        try:
            await self._deliver(list(flight.users.items()))
            outcome = None
        except Problem as problem:
            outcome = problem
            raise
        finally:
            for id in flight.users:
                del self.under_way[id]
            flight.landed.set_result(outcome)

    async def _deliver(self, new: list[tuple[str, User]]) -> None:
        try:
            await self.sender.send_all([self._message(id, user) for id, user in new])
        except NotAcknowledged as error:
            failed = set(error.failed)
            self._remember(pair for place, pair in enumerate(new) if place not in failed)
            raise _away(error, new) from error
        self._remember(new)

    def _message(self, id: str, user: User) -> Outgoing:
        message = Message(v=1, id=id, user=user, saga=ONBOARDING.name)
        headers = headers_for(message, TOPIC, self.service, iso(self.clock()))
        return Outgoing(TOPIC, id.encode(), encode(message), headers)

    def _remember(self, accepted: Any) -> None:
        for id, user in accepted:
            self.accepted[id] = user
        while len(self.accepted) > REMEMBERED:
            self.accepted.popitem(last=False)

    def _remember_key(self, new: list[tuple[str, Newcomer]], key: str | None) -> None:
        """Before it is sent: what the broker did not acknowledge may be there nevertheless."""
        for id, entry in new:
            self.keys.pop(id, None)
            if key and entry.id:
                self.keys[id] = key
        while len(self.keys) > REMEMBERED:
            self.keys.popitem(last=False)


_AGAIN = f"send the same again with the same {KEY_HEADER}, or with ids of your own, so that nobody starts twice"


def _away(error: NotAcknowledged, new: list[tuple[str, User]]) -> Problem:
    """What a client has to know: what was accepted, and how to go on."""
    if len(error.failed) == error.total:
        reason = f"the broker has not acknowledged it ({error.reason})"
        return _unknown(f"nothing was accepted for certain: {reason}; {_AGAIN}")
    failed = set(error.failed)
    ids = [id for place, (id, _) in enumerate(new) if place not in failed]
    detail = f"{len(ids)} of {error.total} were accepted, then the broker was away ({error.reason}); {_AGAIN}"
    return _unknown(detail, accepted=len(ids), ids=ids)


def _unknown(detail: str, **more: Any) -> Problem:
    """What the broker has not acknowledged may be in its log nevertheless."""
    return Problem(503, detail, outcome="unknown", **more)


def _exists(index: int, id: str, entry: Newcomer) -> Fault:
    if entry.id is None:
        return {"index": index, "field": None, "message": f"this {KEY_HEADER} was used for another user"}
    return {"index": index, "field": "id", "message": f"{id} exists already"}
