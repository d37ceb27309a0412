"""A worker for the tests of the stream layer: what comes in becomes a row and goes out again.

A record is `{"n": version, "delay": seconds}`.  A row keeps the highest version of its key, so an old row
that overwrites a newer one shows.  Settings by environment, because the tests start it as a process.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faust
import orjson

from saga_app.stream import Batch, Pool, Outputs, Table, Transport, embedded

PARTITIONS = 4


def setting(name: str, default: str = "") -> str:
    return os.environ.get(f"RELAY_{name}", default)


NAME = setting("NAME", "relay")
EMBEDDED = bool(setting("EMBEDDED"))
SETTINGS: Mapping[str, Any] = {
    "topic_allow_declare": False,
    "topic_disable_leader": True,
    "broker_session_timeout": 8.0,
    "broker_heartbeat_interval": 2.0,
    "store": setting("STORE", "memory://"),
}

app = faust.App(
    NAME,
    broker=setting("BROKER", "kafka://127.0.0.1:9092"),
    datadir=setting("DATADIR") or None,
    consumer_group_instance_id=setting("INSTANCE") or None,
    broker_request_timeout=30.0,
    broker_commit_interval=1.0,
    broker_max_poll_records=1000,
    broker_max_poll_interval=31_536_000.0,
    broker_rebalance_timeout=60.0,
    consumer_auto_offset_reset="earliest",
    consumer_metadata_max_age_ms=5000,
    topic_partitions=PARTITIONS,
    table_standby_replicas=0,
    stream_wait_empty=True,
    web_enabled=False,
    value_serializer="raw",
    key_serializer="raw",
    **{**SETTINGS, **(embedded.SETTINGS if EMBEDDED else {})},
)
transport = Transport.install(app, drain_s=float(setting("DRAIN", "5")))
if EMBEDDED:
    embedded.adapt(transport)
rows = Table(app, name="rows", partitions=PARTITIONS)
incoming = app.topic(f"{NAME}-in", value_serializer="raw", key_serializer="raw")


def dump() -> None:
    """Write the rows that this worker has, as `rows.json` into its datadir."""
    found = {key.decode(): orjson.loads(value)["n"] for _, key, value in rows.rows()}
    path = Path(setting("DATADIR")) / "rows.json"
    path.with_suffix(".tmp").write_bytes(orjson.dumps(found))
    path.with_suffix(".tmp").rename(path)


def keep(outputs: Outputs, batch: Batch, record: Any) -> None:
    """The row first, and the output in any case: a redelivered record may have crashed in between."""
    if record.key == b"dump":
        return dump()
    old = rows.read(batch.partition, record.key)
    version = orjson.loads(record.value)["n"]
    if old is None or orjson.loads(old)["n"] < version:
        rows.write(outputs, batch.partition, record.key, record.value)
    outputs.send(f"{NAME}-out", record.key, record.value, [("by", str(os.getpid()).encode())])
    return None


async def wait_and_keep(outputs: Outputs, batch: Batch, record: Any) -> None:
    """The delay is the record's own."""
    if transport.inflight % 1000 == 0:
        app.log.info("%d in flight", transport.inflight)
    await asyncio.sleep(orjson.loads(record.value).get("delay", 0))
    keep(outputs, batch, record)


pool = Pool(app, keep if setting("INLINE") else wait_and_keep)


@app.agent(incoming)
async def relay(stream: Any) -> None:
    """Relay."""
    await pool.run(stream)
