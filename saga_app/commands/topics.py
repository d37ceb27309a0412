"""`saga topics`: add partitions."""

import os
import sys

import click

from saga_app.commands import console_session
from saga_app.terminal import echo


@click.group()
def topics() -> None:
    """Manage the topics in Kafka."""


@topics.command()
@click.option(
    "--partitions", type=click.IntRange(2, 1000), required=True, help="New number of partitions of every topic."
)
@click.option("--broker", metavar="kafka://HOST:PORT", help="Kafka bootstrap servers (default: SAGA_BROKER).")
@console_session.as_json
def grow(partitions: int, broker: str | None, as_json: bool) -> None:
    """Increase the number of partitions of all topics, and move the rows of ended sagas to their new partitions.

    Stop all services first. The command fails if there are unfinished sagas or unprocessed records.
    """
    from saga_app.commands.printing import print_json
    from saga_app.service.app import bootstrap_of
    from saga_app.service.kafka.growth import CannotGrow
    from saga_app.service.kafka.growth import grow as grow_topics

    if broker:
        os.environ["SAGA_BROKER"] = broker
    try:
        moved = grow_topics(bootstrap_of(console_session.settings()), partitions)
    except CannotGrow as error:
        echo(str(error), err=True)
        sys.exit(1)
    if as_json:
        print_json({"partitions": partitions, "rows_moved": moved})
    else:
        echo(f"all topics have {partitions} partitions; {moved} rows were moved")
        echo(f"start the services with SAGA_PARTITIONS={partitions}")
