"""`saga audit` and `saga settings`."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from saga_app.addresses import local_url
from saga_app.commands import console_session
from saga_app.terminal import echo

if TYPE_CHECKING:
    from saga_app.settings import Settings


@click.command()
@click.option(
    "--broker",
    metavar="kafka://HOST:PORT",
    help="Kafka bootstrap servers (default: SAGA_BROKER, or the broker of the console).",
)
@click.option(
    "--settle",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Skip the checks of sagas with a record in the last SECONDS; they are still counted.",
)
@click.option(
    "--examples", type=click.IntRange(0), default=5, show_default=True, help="Findings to print for each kind."
)
@console_session.as_json
@click.pass_obj
def audit(url: str | None, broker: str | None, settle: float, examples: int, as_json: bool) -> None:
    """Check all topics for inconsistencies, saga by saga. Exit code 1 if there are any."""
    from saga_app.audit.run import run

    if broker:
        os.environ["SAGA_BROKER"] = broker
    settings = console_session.settings()
    named = settings.broker if os.environ.get("SAGA_BROKER") else _broker_of_console(settings, url)
    sys.exit(run(named, settle, examples, as_json))


def _broker_of_console(settings: "Settings", url: str | None) -> str:
    """The bootstrap servers that the console uses; if they are unknown, the default, with the reason on stderr."""
    from saga_app.commands.client import Refused

    where = url or local_url(settings.bind, settings.console_port)
    try:
        bootstrap = asyncio.run(_bootstrap(settings, where))
    except Refused as refused:
        reason = refused.lines[0].split(": start one")[0]
    else:
        if bootstrap and (_is_loopback(where) or not _is_loopback(f"kafka://{bootstrap}")):
            return f"kafka://{bootstrap}"
        reason = f"the console at {where} uses a broker that cannot be reached from here ({bootstrap})"
    echo(f"{reason}; reading {settings.broker} instead (change it with --broker or SAGA_BROKER)", err=True)
    return settings.broker


async def _bootstrap(settings: "Settings", url: str) -> str | None:
    async with console_session.console(settings, url) as console:
        broker = (await console.get("/api/stats")).get("broker") or {}
        return str(broker["bootstrap"]) if broker.get("bootstrap") else None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url.split(",", maxsplit=1)[0]).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


@click.command()
@console_session.as_json
def settings(as_json: bool) -> None:
    """List all settings (environment variables) with value, default and meaning."""
    from saga_app.commands.printing import print_settings
    from saga_app.settings import describe

    print_settings(describe(console_session.settings()), as_json)
