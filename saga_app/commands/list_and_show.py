"""`saga list`, `saga show`, `saga trace`: what sagas have come to, and how."""

import re
from typing import TYPE_CHECKING, Any

import click

from saga_app.commands import console_session

if TYPE_CHECKING:
    from saga_app.commands.client import Console

STATES = ("running", "completed", "rolling-back", "rolled-back", "parked", "rollback-incomplete")


class Since(click.ParamType):
    """A length of time such as 90s, 10m, 2h or 1d, in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; a usage error when it is not such a time."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is not a length of time such as 90s, 10m, 2h or 1d", param, ctx)
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


#: What a list can be sorted by.
SORTS = ("started_at", "ended_at", "duration", "name")


@click.command(name="list")
@click.option("--state", type=click.Choice(STATES))
@click.option("--department")
@click.option("--search", metavar="TEXT", help="Part of the name, the address or the id.")
@click.option("--overdue", is_flag=True, help="Only what is overdue.")
@click.option(
    "--sort",
    type=click.Choice([sign + name for name in SORTS for sign in ("", "-")]),
    default="-started_at",
    help="With - in front: backwards.",
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@console_session.as_json
@click.pass_obj
def list_(
    url: str | None,
    state: str | None,
    department: str | None,
    search: str | None,
    overdue: bool,
    sort: str,
    limit: int,
    as_json: bool,
) -> None:
    """List sagas, the newest first."""
    from saga_app.commands.printing import say_sagas

    async def command(console: "Console") -> None:
        wanted = {"state": state, "department": department, "q": search, "sort": sort}
        query = wanted | {"overdue": "true" if overdue else None}
        say_sagas(await console_session.pages(console, "/api/sagas", limit, query), as_json)

    console_session.talk(console_session.settings(), url, command)


@click.command()
@click.argument("id")
@console_session.as_json
@click.pass_obj
def show(url: str | None, id: str, as_json: bool) -> None:
    """Show one saga: its state, its facts, and what happened."""
    from saga_app.commands.printing import say_saga

    async def command(console: "Console") -> None:
        say_saga(await console.get(f"/api/sagas/{console_session.quoted(id)}"), as_json)

    console_session.talk(console_session.settings(), url, command)


@click.command()
@click.argument("id", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes.")
@click.option("--since", type=Since(), help="Only what happened in the last 90s, 10m, 2h, 1d.")
@console_session.as_json
@click.pass_obj
def trace(url: str | None, id: str | None, follow: bool, since: float | None, as_json: bool) -> None:
    """Show the way of a saga through Kafka, step by step; without an ID everything, as it comes."""
    from saga_app.commands.trace import trace

    async def command(console: "Console") -> None:
        await trace(console, console_session.quoted(id) if id else None, follow, since, as_json)

    console_session.talk(console_session.settings(), url, command)
