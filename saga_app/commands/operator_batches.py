"""`saga redrive` and `saga rollback`: count, ask, then do it in portions, with a bar that says how far it is."""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import click
import orjson
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from saga_app.commands.client import Console, Refused
from saga_app.commands.printing import say_ordered

#: The most in one request, and how long one may take at a given rate (seconds).
PORTION, PORTION_S = 500, 5.0

QUESTION = {"redrive": "Redrive {}?", "rollback": "Roll back the sagas of {}?"}


@dataclass(frozen=True)
class Order:
    """What is to be done: `verb` is redrive or rollback; with these ids, or with all that the filter matches."""

    verb: str
    ids: Sequence[str]
    filter: dict[str, str]
    by: str
    rate: float | None
    dry_run: bool
    yes: bool

    @property
    def path(self) -> str:
        """Where it is asked for."""
        return f"/api/errors/{self.verb}"


async def carry_out(console: Console, order: Order, as_json: bool) -> None:
    """Count it; unless that was all, do it and say how many there were."""
    counted = await _post(console, order, _all(order) | {"dry_run": True})
    if order.dry_run or not counted["count"]:
        return say_ordered(order.verb, counted | {"dry_run": order.dry_run}, as_json)
    if not order.ids and not order.yes:
        click.confirm(QUESTION[order.verb].format(_dead_letters(counted["count"])), abort=True, err=True)
    names = list(order.ids) or await _names(console, order.filter)
    return say_ordered(order.verb, await _in_portions(console, order, names), as_json)


def _dead_letters(count: int) -> str:
    return "one dead letter" if count == 1 else f"{count} dead letters"


def _all(order: Order) -> dict[str, Any]:
    return {"ids": list(order.ids)} if order.ids else {"filter": order.filter}


async def _names(console: Console, filter: dict[str, str]) -> list[str]:
    """Of all that a filter matches, oldest first: what comes meanwhile has not been counted."""
    page = await console.get("/api/errors", **filter, limit=PORTION)
    names = [item["name"] for item in page["items"]]
    while page["next"]:
        page = await console.get("/api/errors", **filter, limit=PORTION, cursor=page["next"])
        names += [item["name"] for item in page["items"]]
    return names[::-1]


async def _in_portions(console: Console, order: Order, names: list[str]) -> dict[str, Any]:
    size = PORTION if order.rate is None else max(1, min(PORTION, int(order.rate * PORTION_S)))
    count, left_out, began = 0, Counter[str](), monotonic()
    with _bar() as bar:
        task = bar.add_task(order.verb, total=len(names))
        for first in range(0, len(names), size):
            if order.rate:
                await asyncio.sleep(max(0.0, first / order.rate - (monotonic() - began)))
            some = names[first : first + size]
            answer = await _portion(console, order, some, count)
            count += answer["count"]
            left_out.update(answer.get("left_out", {}))
            bar.advance(task, len(some))
    return {"count": count, "dry_run": False} | ({"left_out": dict(left_out)} if left_out else {})


async def _portion(console: Console, order: Order, names: list[str], before: int) -> Any:
    pace = {"rate": order.rate} if order.rate and len(names) > 1 else {}
    try:
        return await _post(console, order, {"ids": names} | pace)
    except Refused as refused:
        so_far = f"{before} had been sent before; the same command again does the rest"
        raise Refused(*refused.lines, *([so_far] if before else []), status=refused.status) from None


async def _post(console: Console, order: Order, body: dict[str, Any]) -> Any:
    return await console.post(order.path, orjson.dumps(body | {"by": order.by}), "application/json")


def _bar() -> Progress:
    """On stderr, where people look and programs do not."""
    terminal = Terminal(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal)


def check(order: Order) -> Order:
    """What the command line can tell is wrong.  Raises a usage error."""
    if order.ids and order.filter:
        raise click.UsageError("give IDs, or a filter, or --all: only one of them")
    if not (order.ids or order.yes or order.dry_run or sys.stdin.isatty()):
        raise click.UsageError(
            f"nobody can be asked here: add --yes to {order.verb} all that match, or --dry-run to count"
        )
    return order
