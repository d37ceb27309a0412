"""`saga errors`: the dead letters."""

import re
from typing import TYPE_CHECKING

import click

from saga_app.commands import console_session

if TYPE_CHECKING:
    from saga_app.commands.client import Console


@click.command()
@click.argument("name", required=False)
@click.option("--service")
@click.option("--step")
@click.option("--error", help="The class of the error.")
@click.option("--group", is_flag=True, help="How many, by service and error.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@console_session.as_json
@click.pass_obj
def errors(
    url: str | None,
    name: str | None,
    service: str | None,
    step: str | None,
    error: str | None,
    group: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List the dead letters: what could not be handled, and why. With a NAME such as 'authorize[3]@42' show just this
    one, with its bytes."""
    from saga_app.commands.printing import say_errors, say_letter

    async def command(console: "Console") -> None:
        if name is not None:
            return say_letter(await console.get(_letter_path(name)), as_json)
        query = {"service": service, "step": step, "error": error, "group": "true" if group else None}
        return say_errors(await console_session.pages(console, "/api/errors", limit, query), as_json)

    console_session.talk(console_session.settings(), url, command)


def _letter_path(name: str) -> str:
    found = re.fullmatch(r"(.+)\[(\d+)\]@(\d+)", name)
    if found is None:
        raise click.UsageError(f"{name!r} is not the name of a dead letter, such as 'authorize[3]@42'")
    return f"/api/errors/{console_session.quoted(found[1])}/{found[2]}/{found[3]}"
