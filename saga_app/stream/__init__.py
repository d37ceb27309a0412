"""The stream layer: what this project needs from a stream processor beyond Faust. It knows nothing about sagas.

Guarantees:

- An offset is committed only when all earlier records of its partition are done. A record is done when its handler has
  returned and everything it sent, table rows included, was acknowledged.
- Work in flight is bounded (backpressure), a slow record does not block later ones, and work is drained before a
  rebalance or a stop.
- A table's store is at every moment a prefix of its changelog, and a worker that its group has expelled writes no more
  rows (fencing).
- A worker that can no longer consume crashes, so that its supervisor restarts it.

Delivery is at least once: after a crash a record may be handled again, and its handler must send its outputs again.
"""

from saga_app.stream.consume.assignor import Assignor
from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.delay_queue import RetryLater
from saga_app.stream.consume.lease import Fenced
from saga_app.stream.consume.pool import Pool
from saga_app.stream.partition import partition_of
from saga_app.stream.produce.outputs import Headers, Outputs
from saga_app.stream.produce.refusal import Refused
from saga_app.stream.produce.sender import Message, NotAcknowledged, Sender
from saga_app.stream.table.rocks_store import CannotStore
from saga_app.stream.table.table import Table
from saga_app.stream.transport import Transport

__all__ = [
    "Assignor",
    "Batch",
    "CannotStore",
    "Fenced",
    "Headers",
    "Message",
    "NotAcknowledged",
    "Outputs",
    "Pool",
    "Refused",
    "RetryLater",
    "Sender",
    "Table",
    "Transport",
    "partition_of",
]
