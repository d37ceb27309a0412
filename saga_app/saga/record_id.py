"""The id of a record in Kafka, `topic[partition]@offset`, as texts, URLs and headers show it."""

import re
from typing import NamedTuple

#: Numbers are limited to what the database columns hold.
_FORMAT = re.compile(r"([a-zA-Z0-9._-]{1,249})\[([0-9]{1,9})\]@([0-9]{1,18})")


class RecordId(NamedTuple):
    """The position of a record in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """The id as text, such as `authorize[3]@42`."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


def parse_record_id(text: str) -> RecordId | None:
    """The record id in this text, or None if it is not one. The id of a saga never is."""
    found = _FORMAT.fullmatch(text)
    return RecordId(found[1], int(found[2]), int(found[3])) if found else None
