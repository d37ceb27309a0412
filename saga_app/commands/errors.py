"""`saga errors`: list and show dead letters."""

import re
from typing import TYPE_CHECKING

import click

from saga_app.commands import console_session

if TYPE_CHECKING:
    from saga_app.commands.client import Console


@click.command()
@click.argument("name", required=False)
@click.option("--service", help="Only dead letters of this service.")
@click.option("--step", help="Only dead letters of this step.")
@click.option("--error", help="Only dead letters with this error class.")
@click.option("--group", is_flag=True, help="Count them by service, step and error class.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Maximum number of rows.")
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
    """List dead letters: messages that could not be processed, with the reason.

    With a NAME such as 'authorize[3]@42', show that dead letter with its bytes.
    """
    from saga_app.commands.printing import print_errors, print_letter

    async def command(console: "Console") -> None:
        if name is not None:
            return print_letter(await console.get(_letter_path(name)), as_json)
        query = {"service": service, "step": step, "error": error, "group": "true" if group else None}
        return print_errors(await console_session.fetch_items(console, "/api/errors", limit, query), as_json)

    console_session.run_with_console(console_session.settings(), url, command)


def _letter_path(name: str) -> str:
    found = re.fullmatch(r"(.+)\[(\d+)\]@(\d+)", name)
    if found is None:
        raise click.UsageError(f"{name!r} is not a valid name of a dead letter, such as 'authorize[3]@42'")
    return f"/api/errors/{console_session.path_segment(found[1])}/{found[2]}/{found[3]}"
