"""The command line, `saga`. Exit codes: 0 (success), 1 (failure), 2 (usage error or wrong setting)."""

from typing import Any

import click

from saga_app import environment
from saga_app.commands import audit_and_settings, errors, list_and_show, new, redrive_and_rollback, topics, up, worker


class Saga(click.Group):
    """The command group. It prepares the output streams and the exception hook before a command runs."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a subcommand and exit the process."""
        environment.replace_unencodable_characters()
        environment.report_in_one_line()
        return super().main(*args, **kwargs)


@click.group(cls=Saga, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--console", "url", metavar="URL", help="URL of the console (default: from SAGA_BIND and SAGA_CONSOLE_PORT)."
)
@click.version_option(package_name="faust-saga-onboarding", message="saga %(version)s")
@click.pass_context
def main(context: click.Context, url: str | None) -> None:
    """Onboard users with a choreographed saga over Kafka: run the services, start sagas, inspect and repair them."""
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
