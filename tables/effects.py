"""What a service remembers of the sagas that it worked on: one row a saga, keyed by the user id."""

from typing import Any

from saga_app.stream import Table


def effects(app: Any) -> Table:
    """The table `effects` of a service, who alone writes it: answers not to be found out twice, and tombstones."""
    return Table(
        app, name="effects", partitions=app.settings.partitions, help="What must not be done twice, or at all."
    )
