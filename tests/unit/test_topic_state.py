"""Messages about topics that cannot be created or written, or that have the wrong cleanup policy."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from saga_app.service.kafka import topic_state
from saga_app.service.kafka.topics import TOPICS

Now = Callable[[str], None]


def response(*errors: tuple[Any, ...]) -> Any:
    """A CreateTopicsResponse with these errors: topic, code and message."""
    return SimpleNamespace(topic_errors=errors)


def partition(replicas: int, in_sync: int) -> dict[str, Any]:
    """The metadata of partition 3."""
    return {"partition": 3, "replicas": list(range(replicas)), "isr": list(range(in_sync))}


#: Error code, message of the broker, and the expected remedy.
REFUSALS = [
    (38, "The target replication factor of 3 cannot be reached", "set SAGA_REPLICATION to at most"),
    (29, None, "allow this client to create topics"),
    (31, "Cluster authorization failed.", "allow this client to create topics"),
    (44, "Topic replication factor must be 3", "as the cluster's policy demands"),
    (40, "Unknown topic config name: x", ""),
    (9999, "a code of a later Kafka", ""),
]


@pytest.mark.field(31)
@pytest.mark.parametrize(("code", "message", "remedy"), REFUSALS)
def test_a_refusal_has_the_brokers_message_and_a_remedy(code: int, message: str | None, remedy: str) -> None:
    text = topic_state.refusal(response(("notify", code, message), ("revoke", code, message), ("dlq", 0, None)))
    assert text is not None
    assert text.startswith("the broker does not create notify and 1 others: ")
    assert f"({code})" in text
    assert (message or "").rstrip(".") in text
    assert remedy in text
    assert "\n" not in text


def test_only_topics_without_an_error_count_as_created() -> None:
    created = response(("notify", 0, None), ("revoke", 36, "exists"), ("dlq", 38, "no"))
    assert topic_state.created_topics(created) == ["notify"]


def test_a_topic_created_by_another_service_is_not_a_refusal() -> None:
    assert topic_state.refusal(response(("notify", 36, "exists"), ("dlq", 0, None))) is None
    # Version 0 of the response has no messages.
    assert topic_state.refusal(response(("notify", 36), ("dlq", 0))) is None


@pytest.mark.field(31)
@pytest.mark.parametrize(
    ("needed", "replicas", "in_sync", "remedy"),
    [("2", 1, 1, "lower min.insync.replicas"), ("2", 3, 1, "start the brokers"), ("1", 1, 0, "start the brokers")],
)
def test_too_few_replicas_in_sync_are_named(needed: str, replicas: int, in_sync: int, remedy: str, now: Now) -> None:
    text = topic_state.unwritable(
        {"notify": [partition(replicas, in_sync)]}, {"notify": {"min.insync.replicas": needed}}
    )
    assert text is not None
    assert text.startswith(f"no record on notify[3] can be acknowledged: min.insync.replicas is {needed}")
    assert remedy in text
    now(text[:70])


def test_enough_replicas_in_sync_are_not_reported() -> None:
    assert topic_state.unwritable({"notify": [partition(3, 2)]}, {"notify": {"min.insync.replicas": "2"}}) is None
    # Without permission to read the configuration.
    assert topic_state.unwritable({"notify": [partition(1, 1)]}, {}) is None


@pytest.mark.field(31)
@pytest.mark.parametrize("topic", TOPICS)
def test_a_wrong_cleanup_policy_is_reported(topic: str) -> None:
    policy = TOPICS[topic].get("cleanup.policy", "delete")
    opposite = {"delete": "compact", "compact": "delete"}[policy]
    for wrong in (opposite, "compact,delete"):
        [line] = topic_state.wrong_cleanup(TOPICS, {topic: {"cleanup.policy": wrong}})
        assert line.startswith(f"topic {topic} has cleanup.policy={wrong}: ")
        assert f"set it to {policy}" in line
    assert not list(topic_state.wrong_cleanup(TOPICS, {topic: {"cleanup.policy": policy}}))
