"""`saga new`: onboard a user, or many."""

import random
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from saga_app.commands import console_session

if TYPE_CHECKING:
    from saga_app.commands.client import Console
    from saga_app.settings import Settings


class Key(click.ParamType):
    """An Idempotency-Key, with room for the number of a portion."""

    name = "KEY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The key; a usage error if no request could carry it."""
        key = str(value)
        if not (1 <= len(key) <= 200 and key.isascii() and key.isprintable() and key == key.strip()):
            self.fail("1 to 200 characters of printable ASCII", param, ctx)
        return key


@click.command()
@click.option("--name", help="What is not given is made up.")
@click.option("--email")
@click.option("--department")
@click.option("--id", "user_id", help="The user's id (default: a new one).")
@click.option(
    "--again",
    is_flag=True,
    help="Begin again after a rollback: start the next saga of the user with this --id, such as ada~2. What is not "
    "given is taken from the saga that was rolled back.",
)
@click.option("--count", type=click.IntRange(1, 1_000_000), help="Onboard so many made-up users.")
@click.option("--csv", "csv_file", type=click.File("rb"), help="A file with a header line, or - for standard input.")
@click.option(
    "--encoding", metavar="NAME", help="The encoding of the CSV file, such as windows-1250, if it is not UTF-8."
)
@click.option(
    "--idempotency-key",
    "key",
    type=Key(),
    help="The same key and the same users are one request, however often it is sent (default: from the content of the "
    "CSV file, else a new one). It is only needed to repeat a request, or to onboard the users of a file once more.",
)
@console_session.as_json
@click.pass_obj
def new(
    url: str | None,
    name: str | None,
    email: str | None,
    department: str | None,
    user_id: str | None,
    again: bool,
    count: int | None,
    csv_file: BinaryIO | None,
    encoding: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Onboard a new user, or many."""
    from saga_app.commands import onboard
    from saga_app.commands.printing import say_accepted

    one = {"name": name, "email": email, "department": department, "id": user_id}
    given = {field: value for field, value in one.items() if value is not None}
    if sum((bool(given), count is not None, csv_file is not None)) > 1:
        raise click.UsageError("give a user's own data, or --count, or --csv: only one of them")
    if again and user_id is None:
        raise click.UsageError("--again needs the --id of the saga that was rolled back")
    if encoding is not None and csv_file is None:
        raise click.UsageError("--encoding is that of a file: give --csv, too")
    settings = console_session.settings()

    async def command(console: "Console") -> None:
        if csv_file is not None:
            content = csv_file.read()
            answer = await onboard.send_file(console, content, encoding, key or onboard.key_of_file(content))
        elif count is not None:
            answer = await post_many(console, departments(settings), count, key)
        elif again:
            answer = await _post_again(console, given, key or _new_key())
        else:
            answer = await _post_one(console, departments(settings), given, key or _new_key())
        say_accepted(answer, as_json)

    console_session.talk(settings, url, command)


def departments(settings: "Settings") -> list[str]:
    """Those that the policy knows."""
    from saga_app.service import policy

    return list(policy.load(settings.policy))


async def post_many(console: "Console", departments: list[str], count: int, key: str | None = None) -> dict[str, Any]:
    """So many users made up from the key; how many were accepted, and their ids."""
    from saga_app.commands import onboard
    from saga_app.local.sample_users import person

    key = key or _new_key()
    dice = random.Random(key)
    return await onboard.send_list(console, [person(departments, dice) for _ in range(count)], key)


async def _post_one(console: "Console", departments: list[str], given: dict[str, str], key: str) -> dict[str, Any]:
    """A user of whom what is not given is made up from the key, so that a repeated request is the same one."""
    import orjson

    from saga_app.commands import onboard
    from saga_app.local import sample_users

    derived = {"email": sample_users.address(given["name"])} if "name" in given else {}
    user = sample_users.person(departments, random.Random(key)) | derived | given
    return await onboard.send(console, orjson.dumps(user), "application/json", key)


async def _post_again(console: "Console", given: dict[str, str], key: str) -> dict[str, Any]:
    """The next saga of a user whose last one was rolled back."""
    import orjson

    from saga_app.commands import onboard

    earlier = await console.get(f"/api/sagas/{console_session.quoted(given['id'])}")
    body = {**earlier["user"], **given, "again": True}
    return await onboard.send(console, orjson.dumps(body), "application/json", key)


def _new_key() -> str:
    from uuid import uuid4

    return str(uuid4())
