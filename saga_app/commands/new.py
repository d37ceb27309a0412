"""`saga new`: onboard a user, or many."""

from typing import TYPE_CHECKING, Any, BinaryIO

import click

from saga_app.commands import talk

if TYPE_CHECKING:
    from saga_app.commands.client import Console
    from saga_app.settings import Settings

#: The most users that the console takes at once.
AT_ONCE = 10_000


@click.command()
@click.option("--name", help="What is not given is made up.")
@click.option("--email")
@click.option("--department")
@click.option("--id", "user_id", help="The user's id (default: a new one).")
@click.option("--count", type=click.IntRange(1, 1_000_000), help="Onboard so many made-up users.")
@click.option("--csv", "csv_file", type=click.File("rb"), help="A file with a header line, or - for standard input.")
@talk.as_json
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
    from saga_app.commands.printing import say_accepted
    from saga_app.local import people

    one = {"name": name, "email": email, "department": department, "id": user_id}
    given = {key: value for key, value in one.items() if value is not None}
    if sum((bool(given), count is not None, csv_file is not None)) > 1:
        raise click.UsageError("give a user's own data, or --count, or --csv: only one of them")
    settings = talk.settings()

    async def command(console: "Console") -> None:
        if csv_file is not None:
            answer = await _post(console, csv_file.read(), "text/csv")
        elif count is not None:
            answer = await post_many(console, departments(settings), count)
        else:
            derived = {"email": people.address(name)} if name else {}
            answer = await _post_json(console, people.person(departments(settings)) | derived | given)
        say_accepted(answer, as_json)

    talk.talk(settings, url, command)


def departments(settings: "Settings") -> list[str]:
    """Those that the policy knows."""
    from saga_app.service import policy

    return list(policy.load(settings.policy))


async def post_many(console: "Console", departments: list[str], count: int) -> dict[str, Any]:
    """So many made-up users; how many were accepted, and their ids."""
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
