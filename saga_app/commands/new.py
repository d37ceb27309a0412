"""`saga new`: onboard a user, or many."""

import random
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from saga_app.commands import console_session
from saga_app.saga import json_text

if TYPE_CHECKING:
    from saga_app.commands.client import Console
    from saga_app.settings import Settings


class Key(click.ParamType):
    """An Idempotency-Key, short enough to append the number of a batch."""

    name = "KEY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The key; a usage error if it is not valid in an HTTP header."""
        key = str(value)
        if not (1 <= len(key) <= 200 and key.isascii() and key.isprintable() and key == key.strip()):
            self.fail("must be 1 to 200 characters of printable ASCII", param, ctx)
        return key


@click.command()
@click.option("--name", help="The user's name. Data that are not given are generated.")
@click.option("--email", help="The user's e-mail address.")
@click.option("--department", help="The user's department.")
@click.option("--id", "user_id", help="The user's id (default: a new one).")
@click.option(
    "--again",
    is_flag=True,
    help="Onboard a user again after a rollback: start the next saga of the user with this --id, such as ada~2. Data "
    "that are not given are copied from the saga that was rolled back.",
)
@click.option("--count", type=click.IntRange(1, 1_000_000), help="Onboard this many generated users.")
@click.option(
    "--csv", "csv_file", type=click.File("rb"), help="CSV file of users with a header line; - for standard input."
)
@click.option("--encoding", metavar="NAME", help="Encoding of the CSV file, such as windows-1250 (default: detected).")
@click.option(
    "--idempotency-key",
    "key",
    type=Key(),
    help="Requests with the same key and the same users are processed once (default: derived from the content of the "
    "CSV file, otherwise a new key). Set it to repeat a request, or to onboard the users of a file once more.",
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
    """Onboard one new user, or many."""
    from saga_app.commands import onboard
    from saga_app.commands.printing import print_accepted

    one = {"name": name, "email": email, "department": department, "id": user_id}
    given = {field: value for field, value in one.items() if value is not None}
    if sum((bool(given), count is not None, csv_file is not None)) > 1:
        raise click.UsageError("use only one of: the data of a user, --count, --csv")
    if again and user_id is None:
        raise click.UsageError("--again requires the --id of the saga that was rolled back")
    if encoding is not None and csv_file is None:
        raise click.UsageError("--encoding requires --csv")
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
        print_accepted(answer, as_json)

    console_session.run_with_console(settings, url, command)


def departments(settings: "Settings") -> list[str]:
    """The departments of the policy."""
    from saga_app.service import policy

    return list(policy.load(settings.policy))


async def post_many(console: "Console", departments: list[str], count: int, key: str | None = None) -> dict[str, Any]:
    """Onboard `count` users generated from the key; returns accepted (a count), ids and existing."""
    from saga_app.commands import onboard
    from saga_app.local.sample_users import sample_user

    key = key or _new_key()
    dice = random.Random(key)
    return await onboard.send_list(console, [sample_user(departments, dice) for _ in range(count)], key)


async def _post_one(console: "Console", departments: list[str], given: dict[str, str], key: str) -> dict[str, Any]:
    """Onboard one user. Missing data are generated from the key, so that a repeated request has the same body."""

    from saga_app.commands import onboard
    from saga_app.local import sample_users

    derived = {"email": sample_users.email_for(given["name"])} if "name" in given else {}
    user = sample_users.sample_user(departments, random.Random(key)) | derived | given
    return await onboard.send(console, json_text.dumps(user), "application/json", key)


async def _post_again(console: "Console", given: dict[str, str], key: str) -> dict[str, Any]:
    """Start the next saga of a user whose last saga was rolled back."""

    from saga_app.commands import onboard

    earlier = await console.get(f"/api/sagas/{console_session.path_segment(given['id'])}")
    body = {**earlier["user"], **given, "again": True}
    return await onboard.send(console, json_text.dumps(body), "application/json", key)


def _new_key() -> str:
    from uuid import uuid4

    return str(uuid4())
