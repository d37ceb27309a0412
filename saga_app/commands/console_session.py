"""Helpers for commands that use the settings or the console."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from saga_app.addresses import local_url
from saga_app.terminal import echo

if TYPE_CHECKING:
    from saga_app.commands.client import Console
    from saga_app.settings import Settings

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def settings() -> "Settings":
    """The settings of this process. An invalid one ends the process with exit code 2."""
    from saga_app.settings import load

    return load()


def run_with_console(settings: "Settings", url: str | None, command: Callable[["Console"], Awaitable[None]]) -> None:
    """Run a command with a connection to the console; if it is refused, print the reason and exit with code 1.

    `url`: of the console; None for the one in the settings.
    """
    from saga_app.commands.client import Refused

    async def run() -> None:
        async with console(settings, url or local_url(settings.bind, settings.console_port)) as there:
            await command(there)

    try:
        asyncio.run(run())
    except Refused as refused:
        echo("\n".join(refused.lines), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def console(settings: "Settings", url: str) -> "Console":
    """A client for the console at this URL, to be opened with `async with`; it sends the token if one is set."""
    from saga_app.commands.client import Console

    return Console(url, settings.token.get_secret_value() if settings.token else None)


async def fetch_items(console: "Console", path: str, limit: int, query: dict[str, Any]) -> dict[str, Any]:
    """Fetch up to `limit` items of a paged list; returns items, next and total."""
    page = await console.get(path, **query, limit=min(limit, 100))
    items = page["items"]
    while page.get("next") and len(items) < limit:
        page = await console.get(path, **query, limit=min(limit - len(items), 100), cursor=page["next"])
        items += page["items"]
    return {"items": items, "next": page.get("next"), "total": page.get("total", len(items))}


def path_segment(id: str) -> str:
    """An id percent-encoded for use in a URL path."""
    from urllib.parse import quote

    return quote(id, safe="")
