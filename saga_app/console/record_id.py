"""The name of a record: `topic[partition]@offset`, as people read it, and as a header carries it."""

import re
from collections.abc import Iterable
from typing import NamedTuple

#: A dead letter that no saga can be read from is sent again as it was, with its own name in this header; and by whom.
REDRIVEN, REDRIVEN_BY = "redriven", "redriven-by"

#: As much as a database holds.
_NAME = re.compile(r"([a-zA-Z0-9._-]{1,249})\[([0-9]{1,9})\]@([0-9]{1,18})")


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    @property
    def name(self) -> str:
        """Such as `authorize[3]@42`."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


def place_of(name: str) -> Place | None:
    """The place that has this name; None if it is no such name. No saga's id looks like one."""
    found = _NAME.fullmatch(name)
    return Place(found[1], int(found[2]), int(found[3])) if found else None


def redriven_from(headers: Iterable[tuple[str, bytes]] | None) -> Place | None:
    """The dead letter that this record was redriven from, if it was."""
    for name, value in headers or ():
        if name == REDRIVEN:
            return place_of((value or b"").decode("utf-8", "replace"))
    return None
