"""Topics with different numbers of partitions: when services continue, and which rows move when topics grow."""

from collections.abc import Callable

import pytest

from saga_app.service.kafka import growth, topic_state
from saga_app.service.kafka.topics import TOPICS, WrongPartitions, check_partitions
from saga_app.stream import partition_of
from saga_app.stream.consume.assignor import AgreedPartitions

Now = Callable[[str], None]

#: The partitions of each topic if all are equal.
EQUAL_COUNTS = dict.fromkeys(TOPICS, 12)


@pytest.mark.field(30)
def test_a_topic_with_more_partitions_does_not_stop_the_services(now: Now) -> None:
    check_partitions(EQUAL_COUNTS | {"new-user": 24}, 12)
    [line] = topic_state.surplus(
        TOPICS, {name: [{}] * count for name, count in (EQUAL_COUNTS | {"new-user": 24}).items()}
    )
    assert "saga topics grow --partitions 24" in line
    now(line[:100])


@pytest.mark.field(30)
@pytest.mark.parametrize(
    ("counts", "partitions", "remedy"),
    [
        (EQUAL_COUNTS | {"new-user": 24}, 24, "set SAGA_PARTITIONS=12 .*; for 24 grow all topics: saga topics grow"),
        (dict.fromkeys(TOPICS, 24), 12, "set SAGA_PARTITIONS=24 for all services$"),
        (EQUAL_COUNTS | {"notify": 6}, 12, "topic notify has 6 partitions"),
    ],
)
def test_too_few_partitions_stop_the_services(counts: dict[str, int], partitions: int, remedy: str) -> None:
    with pytest.raises(WrongPartitions, match=remedy):
        check_partitions(counts, partitions)


@pytest.mark.field(30)
def test_rows_are_copied_to_the_partitions_of_their_ids() -> None:
    keys = [f"user-{n}".encode() for n in range(200)]
    rows = {(partition_of(key, 12), key): b"row" for key in keys}
    first_moves = {move.key: move.partition for move in growth.moves(rows, 12, 24)}
    assert first_moves
    for key in keys:
        assert first_moves.get(key, partition_of(key, 12)) == partition_of(key, 24)
    copies = {(partition, key): b"row" for key, partition in first_moves.items()}
    second_moves = {move.key: move.partition for move in growth.moves(rows | copies, 24, 36)}
    assert all(second_moves.get(key, partition_of(key, 24)) == partition_of(key, 36) for key in keys)


class FakeMetadata:
    """Cluster metadata with these partition counts by topic."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.counts[topic])) if topic in self.counts else None


@pytest.mark.field(30)
def test_only_the_configured_partitions_are_assigned() -> None:
    agreed = AgreedPartitions(FakeMetadata(grown=24, usual=12), 12)
    assert agreed.partitions_for_topic("grown") == agreed.partitions_for_topic("usual") == set(range(12))
    assert agreed.partitions_for_topic("absent") is None
    assert agreed.surplus == {"grown": list(range(12, 24))}


def test_without_a_configured_number_all_partitions_are_assigned() -> None:
    agreed = AgreedPartitions(FakeMetadata(grown=24), None)
    assert agreed.partitions_for_topic("grown") == set(range(24))
    assert not agreed.surplus
