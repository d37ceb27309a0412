"""What the commands share: the settings, and a talk with the console."""

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
    """Those in force; a wrong one ends the process with one line and exit code 2."""
    from saga_app.settings import load

    return load()


def talk(settings: "Settings", url: str | None, command: Callable[["Console"], Awaitable[None]]) -> None:
    """Run a command with the console; what it refuses is said on stderr, with exit code 1."""
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
    """The one at this address, to be opened with `async with`; with the token if there is one."""
    from saga_app.commands.client import Console

    return Console(url, settings.token.get_secret_value() if settings.token else None)


async def pages(console: "Console", path: str, limit: int, query: dict[str, Any]) -> dict[str, Any]:
    """Up to `limit` items, from as many pages as it takes."""
    page = await console.get(path, **query, limit=min(limit, 100))
    items = page["items"]
    while page.get("next") and len(items) < limit:
        page = await console.get(path, **query, limit=min(limit - len(items), 100), cursor=page["next"])
        items += page["items"]
    return {"items": items, "next": page.get("next"), "total": page.get("total", len(items))}


def quoted(id: str) -> str:
    """As a part of a path."""
    from urllib.parse import quote

    return quote(id, safe="")
