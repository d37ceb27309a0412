"""`saga list`, `saga show` and `saga trace`."""

import re
from typing import TYPE_CHECKING, Any

import click

from saga_app.commands import console_session
from saga_app.saga.states import STATES

if TYPE_CHECKING:
    from saga_app.commands.client import Console


class Since(click.ParamType):
    """A duration such as 90s, 10m, 2h or 1d, converted to seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The duration in seconds; a usage error if it is invalid."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is not a duration such as 90s, 10m, 2h or 1d", param, ctx)
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


#: Sort keys of the list.
SORTS = ("started_at", "ended_at", "duration", "name")


@click.command(name="list")
@click.option("--state", type=click.Choice(STATES), help="Only sagas in this state.")
@click.option("--department", help="Only users of this department.")
@click.option("--search", metavar="TEXT", help="Part of the name, the e-mail address or the id.")
@click.option("--overdue", is_flag=True, help="Only overdue sagas.")
@click.option(
    "--sort",
    type=click.Choice([sign + name for name in SORTS for sign in ("", "-")]),
    default="-started_at",
    help="Sort key; with a leading - in descending order.",
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Maximum number of rows.")
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
    """List sagas, newest first."""
    from saga_app.commands.printing import print_sagas

    async def command(console: "Console") -> None:
        wanted = {"state": state, "department": department, "q": search, "sort": sort}
        query = wanted | {"overdue": "true" if overdue else None}
        print_sagas(await console_session.fetch_items(console, "/api/sagas", limit, query), as_json)

    console_session.run_with_console(console_session.settings(), url, command)


@click.command()
@click.argument("id")
@console_session.as_json
@click.pass_obj
def show(url: str | None, id: str, as_json: bool) -> None:
    """Show one saga: its state, its facts and its history."""
    from saga_app.commands.printing import print_saga

    async def command(console: "Console") -> None:
        print_saga(await console.get(f"/api/sagas/{console_session.path_segment(id)}"), as_json)

    console_session.run_with_console(console_session.settings(), url, command)


@click.command()
@click.argument("id", required=False)
@click.option("--follow", "-f", is_flag=True, help="Continue with new entries as they arrive.")
@click.option("--since", type=Since(), help="Only entries of the last 90s, 10m, 2h, 1d.")
@console_session.as_json
@click.pass_obj
def trace(url: str | None, id: str | None, follow: bool, since: float | None, as_json: bool) -> None:
    """Show the records of a saga in Kafka, step by step. Without an ID, follow all sagas."""
    from saga_app.commands.trace import trace

    async def command(console: "Console") -> None:
        await trace(console, console_session.path_segment(id) if id else None, follow, since, as_json)

    console_session.run_with_console(console_session.settings(), url, command)
