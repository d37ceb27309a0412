"""The name of a record, `topic[partition]@offset`, in texts and headers."""

import re
from collections.abc import Iterable
from typing import NamedTuple

#: Headers of a resent record: the name of the dead letter, and the operator. Only records whose message cannot be
#: decoded are resent.
REDRIVEN, REDRIVEN_BY = "redriven", "redriven-by"

#: Numbers are limited to what the database columns hold.
_NAME = re.compile(r"([a-zA-Z0-9._-]{1,249})\[([0-9]{1,9})\]@([0-9]{1,18})")


class Place(NamedTuple):
    """The position of a record in Kafka."""

    topic: str
    partition: int
    offset: int

    @property
    def name(self) -> str:
        """The name of the record, such as `authorize[3]@42`."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


def place_of(name: str) -> Place | None:
    """Parse the name of a record; None if it is not one. Saga ids never match."""
    found = _NAME.fullmatch(name)
    return Place(found[1], int(found[2]), int(found[3])) if found else None


def redriven_from(headers: Iterable[tuple[str, bytes]] | None) -> Place | None:
    """The name of the dead letter from which this record was resent, or None."""
    for name, value in headers or ():
        if name == REDRIVEN:
            return place_of((value or b"").decode("utf-8", "replace"))
    return None
