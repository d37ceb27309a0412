"""Sends new users to the console. Retries with idempotency keys, so that lost responses cause no duplicates."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from saga_app.audit.show import Progress
from saga_app.commands.client import Console, OutcomeUnknown, Refused, problem_lines
from saga_app.saga import json_text
from saga_app.terminal import echo
from saga_app.web import new_users
from saga_app.web.new_users import MAX_LIST_BYTES, MAX_LIST_ENTRIES, NewUsers
from saga_app.web.problem import Problem

#: Delays before a request with an unknown outcome is repeated.
RETRY_DELAYS_S = (0.5, 1.0, 2.0, 4.0)

#: Maximum size of a batch, with a reserve for the brackets and commas of JSON.
BATCH_BYTES = MAX_LIST_BYTES - 64 * 1024


def key_of_file(content: bytes) -> str:
    """The Idempotency-Key of a file, derived from its content."""
    return f"csv-{blake2b(content, digest_size=16).hexdigest()}"


async def send(console: Console, body: bytes, content_type: str, key: str) -> dict[str, Any]:
    """Onboard users; repeats the request with the same key while its outcome is unknown. Raises `Refused`.

    Returns the response of the API, with `existing` (a count) unless the request was repeated.
    """
    lost: OutcomeUnknown | None = None
    for pause in (*RETRY_DELAYS_S, None):
        try:
            answer = await console.onboard(body, content_type, key)
            if lost is not None:  # an existing user may be one that the lost request created
                answer.pop("existing", None)
            return answer
        except OutcomeUnknown as unknown:
            lost = unknown
        except Refused as refused:
            if lost is None or refused.status is not None:
                raise
        if pause is not None:
            echo(f"{lost.lines[0]}; repeating the request with the same key", err=True)
            await asyncio.sleep(pause)
    assert lost is not None
    again = f"repeat the command with --idempotency-key {key}: it onboards no user twice"
    raise OutcomeUnknown(*lost.lines, again, status=lost.status)


async def send_file(console: Console, content: bytes, charset: str | None, key: str) -> dict[str, Any]:
    """Onboard the users of a CSV file: unchanged if it fits into one request, otherwise in batches. Raises `Refused`.

    `charset`: the encoding of the file; None to detect it.
    """
    if len(content) <= MAX_LIST_BYTES and content.count(b"\n") + content.count(b"\r") <= MAX_LIST_ENTRIES:
        return await send(console, content, f"text/csv; charset={charset}" if charset else "text/csv", key)
    read = _read_csv(content, charset)
    answer = await send_list(console, [entry.model_dump() for entry in read.entries], key, read.lines)
    return answer | {"encoding": read.encoding}


def _read_csv(content: bytes, charset: str | None) -> NewUsers:
    """Parse and validate a large file before its first batch is sent. Raises `Refused` as the console would."""
    try:
        return new_users.from_csv(content, charset, limit=len(content))
    except Problem as problem:
        body = problem.body("/api/users")
        raise Refused(*problem_lines(body), status=problem.status, problem=body) from None


async def send_list(
    console: Console, users: Sequence[Mapping[str, Any]], key: str, lines: Sequence[int] = ()
) -> dict[str, Any]:
    """Onboard users in batches; returns accepted (a count), ids and existing. Raises `Refused`.

    `lines`: the line number of each user in a file, for error messages.
    """
    ids: list[str] = []
    existing = 0
    with Progress() as progress:
        on_progress = progress.of("sending", len(users))
        batches = list(_batches(users))
        for number, batch in enumerate(batches):
            own_key = key if len(batches) == 1 else f"{key}-{number}"
            try:
                answer = await send(console, json_text.dumps(batch), "application/json", own_key)
            except Refused as refused:
                raise _with_file_lines(refused, key, len(ids), existing, lines) from None
            ids += answer["ids"]
            existing += answer.get("existing", 0)
            on_progress(len(ids))
    return {"accepted": len(ids), "ids": ids, "existing": existing}


def _batches(users: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Split users into lists that fit into one request. Deterministic, because the keys depend on the batches."""
    batch: list[Mapping[str, Any]] = []
    size = 0
    for user in users:
        bytes_more = len(json_text.dumps(user)) + 1
        if batch and (len(batch) == MAX_LIST_ENTRIES or size + bytes_more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(user)
        size += bytes_more
    yield batch


def _with_file_lines(refused: Refused, key: str, sent: int, existing: int, lines: Sequence[int]) -> Refused:
    """The error of a batch, with line numbers of the file and the number of users accepted before it."""
    problem = dict(refused.problem)
    for error in problem.get("errors", []):
        if error.get("index") is not None:
            error["index"] += sent
            if lines:
                error["line"] = lines[error["index"]]
    lines_out = problem_lines(problem) if problem.get("errors") else list(refused.lines)
    if sent:
        before = f"{sent:,} earlier users were accepted ({existing:,} of them already existed)"
        lines_out.append(
            f"{before}; repeat the command with --idempotency-key {key} to send the rest without duplicates"
        )
    return Refused(*lines_out, status=refused.status, problem=problem)
