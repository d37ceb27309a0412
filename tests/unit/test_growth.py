"""Topics with different numbers of partitions: when services go on, and what moves when all topics grow."""

from collections.abc import Callable

import pytest

from saga_app.service.kafka import growth, topic_state
from saga_app.service.kafka.topics import TOPICS, WrongPartitions, check_partitions
from saga_app.stream import partition_of
from saga_app.stream.consume.assignor import AgreedPartitions

Now = Callable[[str], None]

EVEN = dict.fromkeys(TOPICS, 12)


@pytest.mark.field(30)
def test_a_topic_that_has_grown_does_not_stop_the_services(now: Now) -> None:
    check_partitions(EVEN | {"new-user": 24}, 12)
    [line] = topic_state.surplus(TOPICS, {name: [{}] * count for name, count in (EVEN | {"new-user": 24}).items()})
    assert "saga topics grow --partitions 24" in line
    now(line[:100])


@pytest.mark.field(30)
@pytest.mark.parametrize(
    ("counts", "partitions", "remedy"),
    [
        (EVEN | {"new-user": 24}, 24, "set SAGA_PARTITIONS=12 .*; for 24 grow all topics: saga topics grow"),
        (dict.fromkeys(TOPICS, 24), 12, "set SAGA_PARTITIONS=24 for all services$"),
        (EVEN | {"notify": 6}, 12, "topic notify has 6 partitions"),
    ],
)
def test_too_few_partitions_stop_the_services(counts: dict[str, int], partitions: int, remedy: str) -> None:
    with pytest.raises(WrongPartitions, match=remedy):
        check_partitions(counts, partitions)


@pytest.mark.field(30)
def test_rows_move_to_where_their_ids_belong_and_old_copies_stay() -> None:
    keys = [f"user-{n}".encode() for n in range(200)]
    rows = {(partition_of(key, 12), key): b"row" for key in keys}
    moved = {move.key: move.partition for move in growth.moves(rows, 12, 24)}
    assert moved
    for key in keys:
        assert moved.get(key, partition_of(key, 12)) == partition_of(key, 24)
    copies = {(partition, key): b"row" for key, partition in moved.items()}
    again = {move.key: move.partition for move in growth.moves(rows | copies, 24, 36)}
    assert all(again.get(key, partition_of(key, 24)) == partition_of(key, 36) for key in keys)


class Cluster:
    """A cluster's metadata: the partitions of topics."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.counts[topic])) if topic in self.counts else None


@pytest.mark.field(30)
def test_only_the_agreed_partitions_are_assigned_together() -> None:
    agreed = AgreedPartitions(Cluster(grown=24, usual=12), 12)
    assert agreed.partitions_for_topic("grown") == agreed.partitions_for_topic("usual") == set(range(12))
    assert agreed.partitions_for_topic("absent") is None
    assert agreed.surplus == {"grown": list(range(12, 24))}


def test_without_an_agreement_all_partitions_are_assigned() -> None:
    agreed = AgreedPartitions(Cluster(grown=24), None)
    assert agreed.partitions_for_topic("grown") == set(range(24))
    assert not agreed.surplus
