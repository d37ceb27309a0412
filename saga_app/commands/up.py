"""`saga up`: run all services on this machine."""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from saga_app.commands import console_session, new

if TYPE_CHECKING:
    from saga_app.settings import Settings


@click.command()
@click.option("--broker", metavar="kafka://HOST:PORT", help="Use this Kafka instead of the embedded broker.")
@click.option(
    "--users", type=click.IntRange(1, 100_000), help="Onboard this many generated users when all services are ready."
)
@click.option(
    "--workers", type=click.IntRange(1, 8), default=1, help="Workers of each service; the console always has one."
)
def up(broker: str | None, users: int | None, workers: int) -> None:
    """Run all services, on the embedded broker unless --broker or SAGA_BROKER is given."""
    from saga_app.local.up import up

    if broker:
        os.environ["SAGA_BROKER"] = broker
    os.environ.pop("SAGA_EMBEDDED", None)
    settings = console_session.settings()
    if workers > settings.partitions:
        raise click.UsageError(
            f"--workers {workers} exceeds the number of partitions, {settings.partitions} (SAGA_PARTITIONS)"
        )
    embedded = not os.environ.get("SAGA_BROKER")
    sys.exit(up(settings, embedded=embedded, workers=workers, users=_onboarding(settings, users) if users else None))


def _onboarding(settings: "Settings", users: int) -> Callable[[str], Awaitable[str]]:
    """The function that onboards users when the services are ready; it returns a status line."""
    from saga_app.commands.client import Refused

    async def onboard(url: str) -> str:
        try:
            async with console_session.console(settings, url) as console:
                answer = await new.post_many(console, new.departments(settings), users)
        except Refused as refused:
            return f"no users were onboarded: {'; '.join(refused.lines)}"
        return f"{answer.get('accepted', 1)} users onboarded"

    return onboard
