"""The cluster and the changelog topics that the tables in a directory were written for.

A table on disk is a prefix of its changelog. If the broker address now leads to another cluster, or the changelog was
deleted and recreated, the table is invalid. It is renamed, not deleted, and the worker starts with an empty one.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

#: The file in the directory of the tables that records their origin.
FILE_NAME = "origin.json"

#: How long the broker may take to answer (seconds).
REQUEST_TIMEOUT_S = 10.0


class Origin(NamedTuple):
    """The id of a cluster, and the id of each changelog topic by its name."""

    cluster: str
    topics: Mapping[str, str]

    @classmethod
    def ask(cls, bootstrap: str, topics: Sequence[str], **settings: Any) -> Self:
        """The current ids; blocks. `settings`: librdkafka's, for security. Raises KafkaException."""
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, **settings})
        cluster = admin.describe_cluster(request_timeout=REQUEST_TIMEOUT_S).result()
        described = admin.describe_topics(TopicCollection(list(topics)), request_timeout=REQUEST_TIMEOUT_S)
        return cls(str(cluster.cluster_id), {name: str(found.result().topic_id) for name, found in described.items()})

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """The origin recorded in this directory; None if there is none, or it cannot be parsed."""
        try:
            recorded = json.loads((directory / FILE_NAME).read_text("utf-8"))
            return cls(str(recorded["cluster"]), dict(recorded["topics"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, directory: Path) -> None:
        """Record this origin in a directory."""
        directory.mkdir(parents=True, exist_ok=True)
        new = directory / f"{FILE_NAME}.new"
        new.write_text(json.dumps(self._asdict()), "utf-8")
        os.replace(new, directory / FILE_NAME)

    def differs(self, now: "Origin") -> str | None:
        """Why tables of this origin are invalid for the origin `now`, or None. New topics have no table yet."""
        if self.cluster != now.cluster:
            return f"they were written for cluster {self.cluster}, and this is cluster {now.cluster}"
        for name, id in now.topics.items():
            if self.topics.get(name, id) != id:
                return f"{name} was deleted and created again: its topic id was {self.topics[name]} and is {id}"
        return None


def claim(directory: Path, now: Origin) -> tuple[str, Path] | None:
    """Make this the origin of a directory of tables, before any of them is opened. Invalid tables are set aside.

    Returns why they are invalid and where they are now, or None if none is. Tables without a recorded origin are kept:
    `Table.reset_if_ahead` finds those that are ahead of their changelog.
    """
    recorded = Origin.read(directory)
    reason = recorded.differs(now) if recorded else None
    moved = None
    if recorded and reason:
        moved = reason, set_aside(directory, sorted(directory.glob("*.db")), recorded.cluster)
    if recorded != now:
        now.write(directory)
    return moved


def set_aside(directory: Path, paths: Iterable[Path], name: str) -> Path:
    """Move these files and directories from a directory into a new one next to it, which is returned."""
    for number in count():
        beside = directory.with_name(f"{directory.name}-of-{name}" + (f"-{number}" if number else ""))
        if not beside.exists():
            break
    beside.mkdir()
    for path in paths:
        path.rename(beside / path.name)
    return beside
