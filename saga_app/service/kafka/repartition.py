"""One user is one partition number in every topic. Other clients hash keys otherwise, or send none."""

import structlog

from saga_app.service import metrics
from saga_app.service.record import Outputs, Record
from saga_app.stream import partition_of

log = structlog.get_logger()


def misplaced(outputs: Outputs, record: Record, id: str, partitions: int) -> bool:
    """Whether a record is on another partition than its id's; if so it is sent on, as it is, and is done here."""
    key = id.encode()
    if record.partition == partition_of(key, partitions):
        return False
    metrics.FORWARDED.labels(record.topic).inc()
    log.debug("sent on to its partition", saga=id, topic=record.topic, partition=record.partition, offset=record.offset)
    outputs.send(record.topic, key, record.value, list(record.headers))
    return True
