"""The table `effects` of a service: at most one row per saga, keyed by saga id."""

from typing import Any

from saga_app.stream import Table


def effects(app: Any) -> Table:
    """Create the table of recorded results, intent records, tombstones and delayed requests, for its only writer."""
    help_text = "Recorded results, tombstones and delayed requests, by saga id."
    return Table(app, name="effects", partitions=app.settings.partitions, help=help_text)
