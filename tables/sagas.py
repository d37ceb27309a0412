"""The table `sagas`, which holds the state of each saga: one row per saga, keyed by saga id."""

from typing import Any

from saga_app.stream import Table


def sagas(app: Any) -> Table:
    """Create the table. Only the Provisioner writes it."""
    return Table(app, name="sagas", partitions=app.settings.partitions, help="The state of every saga, by saga id.")
