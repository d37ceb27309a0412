"""For which cluster, and for which changelog topics, the tables in a directory were written.

A table on disk is a prefix of its changelog. At the same address there may be another cluster one day, or the changelog
may have been deleted and created again: then the table belongs to nothing any more. It is renamed, not deleted, and the
worker starts with an empty one.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

#: The file in the directory of the tables that says so.
FILE = "origin.json"

#: How long the broker may take to answer (seconds).
ANSWER_S = 10.0


class Origin(NamedTuple):
    """The id of a cluster, and the id of each changelog topic by its name."""

    cluster: str
    topics: Mapping[str, str]

    @classmethod
    def ask(cls, bootstrap: str, topics: Sequence[str], **settings: Any) -> Self:
        """What there is now at this address; blocks. Raises KafkaException. `settings`: librdkafka's, for security."""
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, **settings})
        cluster = admin.describe_cluster(request_timeout=ANSWER_S).result()
        described = admin.describe_topics(TopicCollection(list(topics)), request_timeout=ANSWER_S)
        return cls(str(cluster.cluster_id), {name: str(found.result().topic_id) for name, found in described.items()})

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """What is recorded there; None if nothing is, or nothing that can be read."""
        try:
            recorded = json.loads((directory / FILE).read_text("utf-8"))
            return cls(str(recorded["cluster"]), dict(recorded["topics"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, directory: Path) -> None:
        """Record it there."""
        directory.mkdir(parents=True, exist_ok=True)
        new = directory / f"{FILE}.new"
        new.write_text(json.dumps(self._asdict()), "utf-8")
        os.replace(new, directory / FILE)

    def differs(self, now: "Origin") -> str | None:
        """Why tables of this origin do not belong to what is there now, or None. A topic that is new has no table."""
        if self.cluster != now.cluster:
            return f"they were written for the cluster {self.cluster}, and this is the cluster {now.cluster}"
        for name, id in now.topics.items():
            if self.topics.get(name, id) != id:
                return f"{name} was deleted and created again: its topic id was {self.topics[name]}, and is {id}"
        return None


def claim(directory: Path, now: Origin) -> tuple[str, Path] | None:
    """Make the tables in a directory those of this origin, before any of them is opened.

    Returns why the tables that were there do not belong to it, and where they are now; None if they do. Tables of which
    no origin is recorded are taken over: `Table.restart_beyond` finds those that are ahead of their changelog.
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
    """Move these files and directories of a directory into a new one beside it, and return that."""
    for number in count():
        beside = directory.with_name(f"{directory.name}-of-{name}" + (f"-{number}" if number else ""))
        if not beside.exists():
            break
    beside.mkdir()
    for path in paths:
        path.rename(beside / path.name)
    return beside
