"""`saga redrive` and `saga rollback`: what somebody wants done with dead letters and sagas."""

from collections.abc import Callable
from typing import Any

import click

from saga_app.commands import console_session


def _intervention(command: Callable[..., None]) -> Callable[..., None]:
    """What the two have in common."""
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
        console_session.as_json,
        click.pass_obj,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_intervention
def redrive(url: str | None, **given: Any) -> None:
    """Try dead letters again. An ID is that of a saga, or the name of a dead letter such as 'authorize[3]@42'.

    Doing it twice does nothing twice.
    """
    _intervene(url, "redrive", **given)


@click.command()
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
    from saga_app.commands.operator_batches import Order, carry_out, check

    filter = {name: value for name, value in filters.items() if value is not None}
    if not (ids or filter or everything):
        raise click.UsageError("say which: IDs, or a filter such as --service, or --all")
    if everything and (ids or filter):
        raise click.UsageError("--all is all of them: give no IDs and no filter with it")
    order = check(Order(verb, ids, filter, by or _login(), rate, dry_run, yes))
    console_session.talk(console_session.settings(), url, lambda console: carry_out(console, order, as_json))


def _login() -> str:
    from getpass import getuser

    try:
        return getuser()[:64]
    except (OSError, KeyError):  # a container may run us under a number without a name
        return "somebody"
