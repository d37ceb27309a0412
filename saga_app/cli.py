"""`saga`: start it, onboard users, and see what happens. Exit codes: 0, 1 (it failed), 2 (wrong use)."""

# What a command needs is imported when it runs: `saga --help` answers at once.
import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, BinaryIO

import click

if TYPE_CHECKING:
    from saga_app.client import Console
    from saga_app.settings import Settings

STATES = ("running", "completed", "rolling-back", "rolled-back", "parked", "rollback-incomplete")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Since(click.ParamType):
    """A length of time such as 90s, 10m, 2h or 1d, in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; a usage error when it is not such a time."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is not a length of time such as 90s, 10m, 2h or 1d", param, ctx)
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--console", "url", metavar="URL", help="The console to talk to (default: the one of the settings).")
@click.pass_context
def main(context: click.Context, url: str | None) -> None:
    """The onboarding of users as a choreographed saga: start it, onboard users, see what happens."""
    context.obj = url


@main.command()
@click.option("--broker", metavar="kafka://HOST:PORT", help="Use this Kafka instead of the embedded broker.")
@click.option("--users", type=click.IntRange(1, 100_000), help="Onboard so many users once it is ready.")
@click.option("--workers", type=click.IntRange(1, 8), default=1, help="Workers of each service (the console: one).")
def up(broker: str | None, users: int | None, workers: int) -> None:
    """Start the four services, on the embedded broker unless a Kafka is named (--broker or SAGA_BROKER)."""
    from saga_app.local.up import up

    if broker:
        os.environ["SAGA_BROKER"] = broker
    os.environ.pop("SAGA_EMBEDDED", None)
    settings = _settings()
    if workers > settings.partitions:
        raise click.UsageError(f"--workers {workers}: there are {settings.partitions} partitions (SAGA_PARTITIONS)")
    embedded = not os.environ.get("SAGA_BROKER")
    sys.exit(up(settings, embedded=embedded, workers=workers, users=_onboarding(settings, users) if users else None))


@main.command()
@click.option("--name", help="What is not given is made up.")
@click.option("--email")
@click.option("--department")
@click.option("--id", "user_id", help="The user's id (default: a new one).")
@click.option("--count", type=click.IntRange(1, 1_000_000), help="Onboard so many made-up users.")
@click.option("--csv", "csv_file", type=click.File("rb"), help="A file with a header line, or - for standard input.")
@as_json
@click.pass_obj
def new(
    url: str | None,
    name: str | None,
    email: str | None,
    department: str | None,
    user_id: str | None,
    count: int | None,
    csv_file: BinaryIO | None,
    as_json: bool,
) -> None:
    """Onboard a new user, or many."""
    from saga_app.local import people
    from saga_app.printing import say_accepted

    one = {"name": name, "email": email, "department": department, "id": user_id}
    given = {key: value for key, value in one.items() if value is not None}
    if sum((bool(given), count is not None, csv_file is not None)) > 1:
        raise click.UsageError("give a user's own data, or --count, or --csv: only one of them")
    settings = _settings()

    async def command(console: "Console") -> None:
        if csv_file is not None:
            answer = await _post(console, csv_file.read(), "text/csv")
        elif count is not None:
            answer = await _post_many(console, _departments(settings), count)
        else:
            derived = {"email": people.address(name)} if name else {}
            answer = await _post_json(console, people.person(_departments(settings)) | derived | given)
        say_accepted(answer, as_json)

    _talk(settings, url, command)


@main.command(name="list")
@click.option("--state", type=click.Choice(STATES))
@click.option("--department")
@click.option("--search", metavar="TEXT", help="Part of the name, the address or the id.")
@click.option("--overdue", is_flag=True, help="Only what is overdue.")
@click.option(
    "--sort", default="-started_at", help="started_at, ended_at, duration or name; with - in front: backwards."
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@as_json
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
    from saga_app.printing import say_sagas

    async def command(console: "Console") -> None:
        wanted = {"state": state, "department": department, "q": search, "sort": sort}
        query = wanted | {"overdue": "true" if overdue else None}
        say_sagas(await _pages(console, "/api/sagas", limit, query), as_json)

    _talk(_settings(), url, command)


@main.command()
@click.argument("id")
@as_json
@click.pass_obj
def show(url: str | None, id: str, as_json: bool) -> None:
    """Show one saga: its state, its facts, and what happened."""
    from saga_app.printing import say_saga

    async def command(console: "Console") -> None:
        say_saga(await console.get(f"/api/sagas/{_quoted(id)}"), as_json)

    _talk(_settings(), url, command)


@main.command()
@click.argument("id", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes.")
@click.option("--since", type=Since(), help="Only what happened in the last 90s, 10m, 2h, 1d.")
@as_json
@click.pass_obj
def trace(url: str | None, id: str | None, follow: bool, since: float | None, as_json: bool) -> None:
    """Show the way of a saga through Kafka, step by step; without an ID everything, as it comes."""
    from saga_app.follow import trace

    async def command(console: "Console") -> None:
        await trace(console, _quoted(id) if id else None, follow, since, as_json)

    _talk(_settings(), url, command)


@main.command()
@click.argument("name", required=False)
@click.option("--service")
@click.option("--step")
@click.option("--error", help="The class of the error.")
@click.option("--group", is_flag=True, help="How many, by service and error.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@as_json
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
    from saga_app.printing import say_errors, say_letter

    async def command(console: "Console") -> None:
        if name is not None:
            return say_letter(await console.get(_letter_path(name)), as_json)
        query = {"service": service, "step": step, "error": error, "group": "true" if group else None}
        return say_errors(await _pages(console, "/api/errors", limit, query), as_json)

    _talk(_settings(), url, command)


def _letter_path(name: str) -> str:
    found = re.fullmatch(r"(.+)\[(\d+)\]@(\d+)", name)
    if found is None:
        raise click.UsageError(f"{name!r} is not the name of a dead letter, such as 'authorize[3]@42'")
    return f"/api/errors/{_quoted(found[1])}/{found[2]}/{found[3]}"


def _intervention(command: Callable[..., None]) -> Callable[..., None]:
    """What `redrive` and `rollback` have in common."""
    options = (
        click.argument("ids", metavar="ID…", nargs=-1),
        click.option("--all", "everything", is_flag=True, help="All dead letters that wait for somebody."),
        click.option("--service", help="Those of this service."),
        click.option("--step", help="Those of this step."),
        click.option("--error", help="Those with this class of error."),
        click.option("--rate", type=click.FloatRange(0, min_open=True), help="At most so many a second."),
        click.option("--dry-run", is_flag=True, help="Only count."),
        click.option("--by", help="Who does it, for the timeline (default: your login name)."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        as_json,
        click.pass_obj,
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@_intervention
def redrive(url: str | None, **given: Any) -> None:
    """Try dead letters again. An ID is that of a saga, or the name of a dead letter such as 'authorize[3]@42'.

    Doing it twice does nothing twice.
    """
    _intervene(url, "redrive", **given)


@main.command()
@_intervention
def rollback(url: str | None, **given: Any) -> None:
    """Undo what sagas have done. An ID is that of any saga that has not ended, or the name of a dead letter.

    The filters and --all mean the sagas of dead letters.
    """
    _intervene(url, "rollback", **given)


def _intervene(
    url: str | None,
    verb: str,
    *,
    ids: tuple[str, ...],
    everything: bool,
    by: str | None,
    rate: float | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **filters: str | None,
) -> None:
    from saga_app.operate import Order, carry_out, check

    filter = {name: value for name, value in filters.items() if value is not None}
    if not (ids or filter or everything):
        raise click.UsageError("say which: IDs, or a filter such as --service, or --all")
    if everything and (ids or filter):
        raise click.UsageError("--all is all of them: give no IDs and no filter with it")
    order = check(Order(verb, ids, filter, by or _login(), rate, dry_run, yes))
    _talk(_settings(), url, lambda console: carry_out(console, order, as_json))


def _login() -> str:
    from getpass import getuser

    try:
        return getuser()[:64]
    except (OSError, KeyError):  # a container may run us under a number without a name
        return "somebody"


@main.command()
@click.option("--broker", metavar="kafka://HOST:PORT", help="The Kafka to read (default: SAGA_BROKER).")
@click.option(
    "--settle",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Count, but do not judge, sagas of which something was heard in the last so many seconds.",
)
@click.option("--examples", type=click.IntRange(0), default=5, show_default=True, help="Of each kind show so many.")
@as_json
def audit(broker: str | None, settle: float, examples: int, as_json: bool) -> None:
    """Read all topics and say what does not add up, saga by saga: exit code 1 if anything does not."""
    from saga_app.audit.run import run

    if broker:
        os.environ["SAGA_BROKER"] = broker
    sys.exit(run(_settings().broker, settle, examples, as_json))


@main.command()
@as_json
def settings(as_json: bool) -> None:
    """List what can be set by environment variables, with value, default and meaning."""
    from saga_app.printing import say_settings
    from saga_app.settings import describe

    say_settings(describe(_settings()), as_json)


def _settings() -> "Settings":
    from saga_app.settings import load

    return load()


def _talk(settings: "Settings", url: str | None, command: Callable[["Console"], Awaitable[None]]) -> None:
    """Run a command with the console; what it refuses is said on stderr, with exit code 1."""
    from saga_app.client import Console, Refused

    async def run() -> None:
        token = settings.token.get_secret_value() if settings.token else None
        async with Console(url or f"http://{_host(settings.bind)}:{settings.console_port}", token) as console:
            await command(console)

    try:
        asyncio.run(run())
    except Refused as refused:
        click.echo("\n".join(refused.lines), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _host(bind: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)
    return f"[{host}]" if ":" in host else host


def _onboarding(settings: "Settings", users: int) -> Callable[[str], Awaitable[str]]:
    """What `saga up --users` does when it is ready."""
    from saga_app.client import Console, Refused

    async def onboard(url: str) -> str:
        token = settings.token.get_secret_value() if settings.token else None
        try:
            async with Console(url, token) as console:
                answer = await _post_many(console, _departments(settings), users)
        except Refused as refused:
            return f"no users were onboarded: {'; '.join(refused.lines)}"
        return f"{answer.get('accepted', 1)} users onboarded"

    return onboard


def _departments(settings: "Settings") -> list[str]:
    from saga_app.service import policy

    return list(policy.load(settings.policy))


#: The most users that the console takes at once.
AT_ONCE = 10_000


async def _post_many(console: "Console", departments: list[str], count: int) -> dict[str, Any]:
    from saga_app.local.people import person

    ids: list[str] = []
    while len(ids) < count:
        several = [person(departments) for _ in range(min(AT_ONCE, count - len(ids)))]
        ids += (await _post_json(console, several))["ids"]
    return {"accepted": len(ids), "ids": ids}


async def _post_json(console: "Console", body: Any) -> Any:
    import orjson

    return await _post(console, orjson.dumps(body), "application/json")


async def _post(console: "Console", body: bytes, content_type: str) -> Any:
    from uuid import uuid4

    return await console.post("/api/users", body, content_type, **{"Idempotency-Key": str(uuid4())})


async def _pages(console: "Console", path: str, limit: int, query: dict[str, Any]) -> dict[str, Any]:
    """Up to `limit` items, from as many pages as it takes."""
    page = await console.get(path, **query, limit=min(limit, 100))
    items = page["items"]
    while page.get("next") and len(items) < limit:
        page = await console.get(path, **query, limit=min(limit - len(items), 100), cursor=page["next"])
        items += page["items"]
    return {"items": items, "next": page.get("next"), "total": page.get("total", len(items))}


def _quoted(id: str) -> str:
    from urllib.parse import quote

    return quote(id, safe="")
