"""Interprets the broker's responses about topics: failed creation, missing replicas, deviating configuration."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

#: Effective configuration of each topic, by topic and name.
Configs = Mapping[str, Mapping[str, str]]

#: The partitions of each topic, from a Metadata response.
Partitions = Mapping[str, Sequence[Mapping[str, Any]]]

_REMEDIES: Mapping[int, str] = {
    InvalidReplicationFactorError.errno: "set SAGA_REPLICATION to at most the number of brokers, or start more brokers",
    TopicAuthorizationFailedError.errno: "allow this client to create topics, or create them for it",
    ClusterAuthorizationFailedError.errno: "allow this client to create topics, or create them for it",
    PolicyViolationError.errno: "create them as the cluster's policy demands, or change SAGA_REPLICATION or the policy",
}


def created_topics(response: Any) -> list[str]:
    """The topics that a CreateTopics response says were created."""
    return [topic for topic, code, *_ in response.topic_errors if not code]


def refusal(response: Any) -> str | None:
    """The broker's reasons for topics that a CreateTopics response has not created, or None.

    An existing topic is not a refusal, because several services create the topics at the same time.
    """
    topics: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for topic, code, *message in response.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            topics[code, (message or [""])[0] or ""].append(topic)
    return "; ".join(_refused(*key, names) for key, names in topics.items()) or None


def _refused(code: int, message: str, topics: Sequence[str]) -> str:
    others = f" and {len(topics) - 1} others" if len(topics) > 1 else ""
    text = f"the broker does not create {topics[0]}{others}: {for_code(code).__name__.removesuffix('Error')} ({code})"
    words = " ".join(message.split()).rstrip(".")
    return text + (f": {words}" if words else "") + (f": {_REMEDIES[code]}" if code in _REMEDIES else "")


def configs(responses: Iterable[Any]) -> dict[str, dict[str, str]]:
    """The configs in DescribeConfigs responses; topics without permission are left out."""
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for response in responses
        for code, _, _, name, entries in response.resources
        if not code
    }


def unwritable(partitions: Partitions, configs: Configs) -> str | None:
    """Why a record with acks=all would be refused, or None."""
    for topic, held in partitions.items():
        needed = int(configs.get(topic, {}).get("min.insync.replicas") or 1)
        for each in held:
            replicas, in_sync = len(each["replicas"]), len(each["isr"])
            if in_sync < needed:
                remedy = "start the brokers that hold the others"
                if replicas < needed:
                    remedy = (
                        "lower min.insync.replicas, or give the topics more replicas (SAGA_REPLICATION for new ones)"
                    )
                return (
                    f"no record on {topic}[{each['partition']}] can be acknowledged: min.insync.replicas is {needed}, "
                    f"but {in_sync} of {replicas} replicas are in sync: {remedy}"
                )
    return None


def wrong_cleanup(expected: Configs, actual: Configs) -> Iterator[str]:
    """A line for each topic with a wrong cleanup policy."""
    for topic, wanted in expected.items():
        policy = wanted.get("cleanup.policy", "delete")
        found = actual.get(topic, {}).get("cleanup.policy", policy)
        if found != policy:
            harm = "old rows are lost" if policy == "compact" else "earlier records of a saga are lost"
            yield f"topic {topic} has cleanup.policy={found}: {harm}; set it to {policy} (kafka-configs.sh --alter)"


def surplus(expected: Iterable[str], partitions: Partitions) -> Iterator[str]:
    """A line for each topic with more partitions than the other topics."""
    counts = {topic: len(partitions[topic]) for topic in expected if topic in partitions}
    fewest, most = min(counts.values(), default=0), max(counts.values(), default=0)
    for topic, count in counts.items():
        if count > fewest:
            yield (
                f"topic {topic} has {count} partitions, others have {fewest}: its records beyond those are forwarded; "
                f"to use more partitions stop the services and run: saga topics grow --partitions {most}"
            )
