"""What Faust lacks; it knows no saga.

The promises of this layer:

- an offset is committed only when all records before it in its partition are done, and a record is
  done when its handler has returned and everything it sent, table rows included, is acknowledged;
- work in flight is bounded, holds up nothing behind it, and is drained before a rebalance or a stop;
- a table's store is at every moment a prefix of its changelog, and a worker which its group
  has given up on writes no rows any more;
- a worker that can no longer consume ends, so that its supervisor starts it again.

At least once: after a crash a record may be handled again, and must send its outputs again.
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
