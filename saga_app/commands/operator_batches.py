"""Carries out `saga redrive` and `saga rollback`: count, confirm, then send batches with a progress bar."""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import click
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from saga_app.commands.client import Console, Refused
from saga_app.commands.printing import print_action_result
from saga_app.saga import json_text

#: Maximum number of ids in one request, and its maximum duration if a rate is given.
BATCH_SIZE, BATCH_DURATION_S = 500, 5.0

QUESTION = {"redrive": "Redrive {}?", "rollback": "Roll back the sagas of {}?"}


@dataclass(frozen=True)
class ActionRequest:
    """A redrive or rollback of the given ids, or of all dead letters that the filter matches.

    `verb`: redrive or rollback. `rate`: maximum per second, None for no limit. `yes`: do not ask for confirmation.
    """

    verb: str
    ids: Sequence[str]
    filter: dict[str, str]
    by: str
    rate: float | None
    dry_run: bool
    yes: bool

    @property
    def path(self) -> str:
        """The API path of the action."""
        return f"/api/errors/{self.verb}"


async def carry_out(console: Console, request: ActionRequest, as_json: bool) -> None:
    """Count the affected dead letters or sagas; unless it is a dry run, confirm, send and print the result."""
    counted = await _post(console, request, _selection(request) | {"dry_run": True})
    if request.dry_run or not counted["count"]:
        return print_action_result(request.verb, counted | {"dry_run": request.dry_run}, as_json)
    if not request.ids and not request.yes:
        click.confirm(QUESTION[request.verb].format(_dead_letters(counted["count"])), abort=True, err=True)
    names = list(request.ids) or await _names(console, request.filter)
    return print_action_result(request.verb, await _send_batches(console, request, names), as_json)


def _dead_letters(count: int) -> str:
    return "one dead letter" if count == 1 else f"{count} dead letters"


def _selection(request: ActionRequest) -> dict[str, Any]:
    return {"ids": list(request.ids)} if request.ids else {"filter": request.filter}


async def _names(console: Console, filter: dict[str, str]) -> list[str]:
    """Names of all dead letters that the filter matches, oldest first.

    Fetched once, so that dead letters that arrive later are not included: the user has not confirmed them.
    """
    page = await console.get("/api/errors", **filter, limit=BATCH_SIZE)
    names = [item["name"] for item in page["items"]]
    while page["next"]:
        page = await console.get("/api/errors", **filter, limit=BATCH_SIZE, cursor=page["next"])
        names += [item["name"] for item in page["items"]]
    return names[::-1]


async def _send_batches(console: Console, request: ActionRequest, names: list[str]) -> dict[str, Any]:
    size = BATCH_SIZE if request.rate is None else max(1, min(BATCH_SIZE, int(request.rate * BATCH_DURATION_S)))
    count, left_out, began = 0, Counter[str](), monotonic()
    with _progress_bar() as bar:
        task = bar.add_task(request.verb, total=len(names))
        for first in range(0, len(names), size):
            if request.rate:
                await asyncio.sleep(max(0.0, first / request.rate - (monotonic() - began)))
            some = names[first : first + size]
            answer = await _send_batch(console, request, some, count)
            count += answer["count"]
            left_out.update(answer.get("left_out", {}))
            bar.advance(task, len(some))
    return {"count": count, "dry_run": False} | ({"left_out": dict(left_out)} if left_out else {})


async def _send_batch(console: Console, request: ActionRequest, names: list[str], before: int) -> Any:
    pace = {"rate": request.rate} if request.rate and len(names) > 1 else {}
    try:
        return await _post(console, request, {"ids": names} | pace)
    except Refused as refused:
        so_far = f"{before} were sent before; repeat the command for the rest"
        raise Refused(*refused.lines, *([so_far] if before else []), status=refused.status) from None


async def _post(console: Console, request: ActionRequest, body: dict[str, Any]) -> Any:
    return await console.post(request.path, json_text.dumps(body | {"by": request.by}), "application/json")


def _progress_bar() -> Progress:
    """A progress bar on stderr, disabled if that is not a terminal."""
    terminal = Terminal(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal)


def check(request: ActionRequest) -> ActionRequest:
    """Check the options; returns the request. Raises `click.UsageError`."""
    if request.ids and request.filter:
        raise click.UsageError("use only one of: IDs, a filter, --all")
    if not (request.ids or request.yes or request.dry_run or sys.stdin.isatty()):
        raise click.UsageError(
            f"no terminal to ask for confirmation: add --yes to {request.verb} all matches, or --dry-run to count them"
        )
    return request
