"""What is reported of topics that cannot be created, written, or are kept in the wrong way."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from saga_app.service.kafka import topic_state
from saga_app.service.kafka.topics import TOPICS

Now = Callable[[str], None]


def response(*errors: tuple[Any, ...]) -> Any:
    return SimpleNamespace(topic_errors=errors)


def partition(replicas: int, in_sync: int) -> dict[str, Any]:
    return {"partition": 3, "replicas": list(range(replicas)), "isr": list(range(in_sync))}


REFUSED = [
    (38, "The target replication factor of 3 cannot be reached", "set SAGA_REPLICATION to at most"),
    (29, None, "allow this client to create topics"),
    (31, "Cluster authorization failed.", "allow this client to create topics"),
    (44, "Topic replication factor must be 3", "as the cluster's policy demands"),
    (40, "Unknown topic config name: x", ""),
    (9999, "a code of a later Kafka", ""),
]


@pytest.mark.field(31)
@pytest.mark.parametrize(("code", "message", "remedy"), REFUSED)
def test_a_refusal_has_the_brokers_words_and_a_remedy(code: int, message: str | None, remedy: str) -> None:
    text = topic_state.refusal(response(("notify", code, message), ("revoke", code, message), ("dlq", 0, None)))
    assert text is not None
    assert text.startswith("the broker does not create notify and 1 others: ")
    assert f"({code})" in text
    assert (message or "").rstrip(".") in text
    assert remedy in text
    assert "\n" not in text


def test_only_topics_without_an_error_count_as_created() -> None:
    answer = response(("notify", 0, None), ("revoke", 36, "exists"), ("dlq", 38, "no"))
    assert topic_state.created_topics(answer) == ["notify"]


def test_a_topic_that_another_service_has_created_is_no_refusal() -> None:
    assert topic_state.refusal(response(("notify", 36, "exists"), ("dlq", 0, None))) is None
    assert topic_state.refusal(response(("notify", 36), ("dlq", 0))) is None  # the first version has no messages


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


def test_enough_replicas_in_sync_are_no_problem() -> None:
    assert topic_state.unwritable({"notify": [partition(3, 2)]}, {"notify": {"min.insync.replicas": "2"}}) is None
    assert topic_state.unwritable({"notify": [partition(1, 1)]}, {}) is None  # not allowed to read the configuration


@pytest.mark.field(31)
@pytest.mark.parametrize("topic", TOPICS)
def test_a_wrong_cleanup_policy_is_named(topic: str) -> None:
    right = TOPICS[topic].get("cleanup.policy", "delete")
    wrong = {"delete": "compact", "compact": "delete"}[right]
    for policy in (wrong, "compact,delete"):
        [line] = topic_state.wrong_cleanup(TOPICS, {topic: {"cleanup.policy": policy}})
        assert line.startswith(f"topic {topic} has cleanup.policy={policy}: ")
        assert f"set it to {right}" in line
    assert not list(topic_state.wrong_cleanup(TOPICS, {topic: {"cleanup.policy": right}}))
