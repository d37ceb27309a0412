"""Forwards records to the partition of their saga id, because other clients may use another partitioner or no key."""

import structlog

from saga_app.service import metrics
from saga_app.service.record import Outputs, Record
from saga_app.stream import partition_of

log = structlog.get_logger()


def forward_if_misplaced(outputs: Outputs, record: Record, id: str, partitions: int) -> bool:
    """Forward a record unchanged if it is not on the partition of its saga id. Returns whether it was forwarded."""
    key = id.encode()
    if record.partition == partition_of(key, partitions):
        return False
    metrics.FORWARDED.labels(record.topic).inc()
    log.debug("record forwarded", saga=id, topic=record.topic, partition=record.partition, offset=record.offset)
    outputs.send(record.topic, key, record.value, list(record.headers))
    return True
