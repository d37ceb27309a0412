"""`saga`: start it, onboard users, and see what happens. Exit codes: 0, 1 (it failed), 2 (wrong use)."""

from typing import Any

import click

from saga_app import environment
from saga_app.commands import audit_and_settings, errors, list_and_show, new, redrive_and_rollback, topics, up, worker


class Saga(click.Group):
    """The program: prepares the process before anything is printed."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a subcommand and end the process."""
        environment.replace_unencodable_characters()
        environment.report_in_one_line()
        return super().main(*args, **kwargs)


@click.group(cls=Saga, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--console", "url", metavar="URL", help="The console to talk to (default: the one of the settings).")
@click.version_option(package_name="faust-saga-onboarding", message="saga %(version)s")
@click.pass_context
def main(context: click.Context, url: str | None) -> None:
    """The onboarding of users as a choreographed saga: start it, onboard users, see what happens."""
    context.obj = url


for command in (
    up.up,
    worker.worker,
    new.new,
    list_and_show.list_,
    list_and_show.show,
    list_and_show.trace,
    errors.errors,
    redrive_and_rollback.redrive,
    redrive_and_rollback.rollback,
    audit_and_settings.audit,
    audit_and_settings.settings,
    topics.topics,
):
    main.add_command(command)
