"""`saga redrive` and `saga rollback`: operator actions on dead letters and sagas."""

from collections.abc import Callable
from typing import Any

import click

from saga_app.commands import console_session


def _action_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments and options that both commands have."""
    options = (
        click.argument("ids", metavar="ID…", nargs=-1),
        click.option("--all", "everything", is_flag=True, help="All open dead letters."),
        click.option("--service", help="Open dead letters of this service."),
        click.option("--step", help="Open dead letters of this step."),
        click.option("--error", help="Open dead letters with this error class."),
        click.option("--rate", type=click.FloatRange(0, min_open=True), help="Maximum number per second."),
        click.option("--dry-run", is_flag=True, help="Print the count and change nothing."),
        click.option("--by", help="Your name, recorded in the timeline (default: your login name)."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation."),
        console_session.as_json,
        click.pass_obj,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_action_options
def redrive(url: str | None, **given: Any) -> None:
    """Retry dead letters. An ID is that of a parked saga, or the name of a dead letter such as 'authorize[3]@42'.

    Repeating the command is safe: a dead letter is redriven once.
    """
    _send_action(url, "redrive", **given)


@click.command()
@_action_options
def rollback(url: str | None, **given: Any) -> None:
    """Compensate the completed steps of sagas. An ID is that of an unfinished saga, or the name of a dead letter.

    The filters and --all select the sagas of open dead letters.
    """
    _send_action(url, "rollback", **given)


def _send_action(
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
    from saga_app.commands.operator_batches import ActionRequest, carry_out, check

    filter = {name: value for name, value in filters.items() if value is not None}
    if not (ids or filter or everything):
        raise click.UsageError("select dead letters: IDs, a filter such as --service, or --all")
    if everything and (ids or filter):
        raise click.UsageError("--all cannot be combined with IDs or filters")
    request = check(ActionRequest(verb, ids, filter, by or _login_name(), rate, dry_run, yes))
    console_session.run_with_console(
        console_session.settings(), url, lambda console: carry_out(console, request, as_json)
    )


def _login_name() -> str:
    from getpass import getuser

    try:
        return getuser()[:64]
    except (OSError, KeyError):  # in a container, the user id may have no name
        return "an operator"
