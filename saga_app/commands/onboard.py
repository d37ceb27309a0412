"""Sending new users to the console, so that each is onboarded once whatever gets lost on the way."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from saga_app.audit.show import Progress
from saga_app.commands.client import Console, OutcomeUnknown, Refused, problem_lines
from saga_app.terminal import echo
from saga_app.web import new_users
from saga_app.web.new_users import LIST_BYTES, LIST_ENTRIES, NewUsers
from saga_app.web.problem import Problem

#: How long to wait before a request whose outcome is unknown is sent again (seconds); after the last one, give up.
PAUSES_S = (0.5, 1.0, 2.0, 4.0)

#: A portion of a longer list, in bytes, with room for the brackets and commas of JSON.
PORTION_BYTES = LIST_BYTES - 64 * 1024


def key_of_file(content: bytes) -> str:
    """The Idempotency-Key of a file: the same content is the same request."""
    return f"csv-{blake2b(content, digest_size=16).hexdigest()}"


async def send(console: Console, body: bytes, content_type: str, key: str) -> dict[str, Any]:
    """Onboard users; while the outcome is unknown the same is sent again with the same key. Raises `Refused`."""
    lost: OutcomeUnknown | None = None
    for pause in (*PAUSES_S, None):
        try:
            answer = await console.onboard(body, content_type, key)
            if lost is not None:  # what exists already may be what this very command has sent before
                answer.pop("existing", None)
            return answer
        except OutcomeUnknown as unknown:
            lost = unknown
        except Refused as refused:
            if lost is None or refused.status is not None:
                raise
        if pause is not None:
            echo(f"{lost.lines[0]}; asking again with the same key", err=True)
            await asyncio.sleep(pause)
    assert lost is not None
    again = f"the same command with --idempotency-key {key} finds out, and onboards no user twice"
    raise OutcomeUnknown(*lost.lines, again, status=lost.status)


async def send_file(console: Console, content: bytes, charset: str | None, key: str) -> dict[str, Any]:
    """Onboard the users of a CSV file, as it is if it fits into one request, else in portions. Raises `Refused`."""
    if len(content) <= LIST_BYTES and content.count(b"\n") + content.count(b"\r") <= LIST_ENTRIES:
        return await send(console, content, f"text/csv; charset={charset}" if charset else "text/csv", key)
    read = _read(content, charset)
    answer = await send_list(console, [entry.model_dump() for entry in read.entries], key, read.lines)
    return answer | {"encoding": read.encoding}


def _read(content: bytes, charset: str | None) -> NewUsers:
    """All of a large file, checked before the first portion is sent. Raises `Refused` as the console would."""
    try:
        return new_users.from_csv(content, charset, limit=len(content))
    except Problem as problem:
        body = problem.body("/api/users")
        raise Refused(*problem_lines(body), status=problem.status, problem=body) from None


async def send_list(
    console: Console, users: Sequence[Mapping[str, Any]], key: str, lines: Sequence[int] = ()
) -> dict[str, Any]:
    """Onboard users in as many requests as it takes; `lines` are those of a file. Raises `Refused`."""
    ids: list[str] = []
    existing = 0
    with Progress() as progress:
        tell = progress.of("sending", len(users))
        portions = list(_portions(users))
        for number, portion in enumerate(portions):
            own_key = key if len(portions) == 1 else f"{key}-{number}"
            try:
                answer = await send(console, orjson.dumps(portion), "application/json", own_key)
            except Refused as refused:
                raise _located(refused, key, len(ids), existing, lines) from None
            ids += answer["ids"]
            existing += answer.get("existing", 0)
            tell(len(ids))
    return {"accepted": len(ids), "ids": ids, "existing": existing}


def _portions(users: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Lists that fit into a request each; the same users make the same lists."""
    portion: list[Mapping[str, Any]] = []
    size = 0
    for user in users:
        bytes_more = len(orjson.dumps(user)) + 1
        if portion and (len(portion) == LIST_ENTRIES or size + bytes_more > PORTION_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(user)
        size += bytes_more
    yield portion


def _located(refused: Refused, key: str, sent: int, existing: int, lines: Sequence[int]) -> Refused:
    """The refusal of a portion, with the lines of the file and with what was accepted before it."""
    problem = dict(refused.problem)
    for error in problem.get("errors", []):
        if error.get("index") is not None:
            error["index"] += sent
            if lines:
                error["line"] = lines[error["index"]]
    told = problem_lines(problem) if problem.get("errors") else list(refused.lines)
    if sent:
        before = f"{sent:,} users before were accepted ({existing:,} of them existed already)"
        told.append(
            f"{before}; the same command with --idempotency-key {key} leaves them as they are and sends the rest"
        )
    return Refused(*told, status=refused.status, problem=problem)
