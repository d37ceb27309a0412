"""The only saga state: one row a saga, keyed by the user id."""

from typing import Any

from saga_app.stream import Table


def sagas(app: Any) -> Table:
    """The table `sagas` of the Provisioner, who alone writes it."""
    return Table(app, name="sagas", partitions=app.settings.partitions, help="The state of every saga, by user id.")
