"""`saga audit` and `saga settings`: whether all adds up, and what is set."""

import os
import sys

import click

from saga_app.commands import talk


@click.command()
@click.option("--broker", metavar="kafka://HOST:PORT", help="The Kafka to read (default: SAGA_BROKER).")
@click.option(
    "--settle",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Count, but do not judge, sagas of which something was heard in the last so many seconds.",
)
@click.option("--examples", type=click.IntRange(0), default=5, show_default=True, help="Of each kind show so many.")
@talk.as_json
def audit(broker: str | None, settle: float, examples: int, as_json: bool) -> None:
    """Read all topics and say what does not add up, saga by saga: exit code 1 if anything does not."""
    from saga_app.audit.run import run

    if broker:
        os.environ["SAGA_BROKER"] = broker
    sys.exit(run(talk.settings().broker, settle, examples, as_json))


@click.command()
@talk.as_json
def settings(as_json: bool) -> None:
    """List what can be set by environment variables, with value, default and meaning."""
    from saga_app.commands.printing import say_settings
    from saga_app.settings import describe

    say_settings(describe(talk.settings()), as_json)
