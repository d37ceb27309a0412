"""A Faust app for tests of the stream layer: it stores each consumed record as a row, and sends it to another topic.

The value of a record is `{"n": version, "delay": seconds}`. A row keeps the highest version of its key, so an old row
that overwrites a newer one is detectable. Tests run the app as a process, so its settings are environment variables.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faust
import orjson

from saga_app.stream import Batch, Outputs, Pool, Table, Transport, embedded

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


def dump_rows() -> None:
    """Write the versions of this worker's rows by key to `rows.json` in its data directory."""
    versions = {key.decode(): orjson.loads(value)["n"] for _, key, value in rows.rows()}
    path = Path(setting("DATADIR")) / "rows.json"
    path.with_suffix(".tmp").write_bytes(orjson.dumps(versions))
    path.with_suffix(".tmp").rename(path)


def relay_record(outputs: Outputs, batch: Batch, record: Any) -> None:
    """Write the row if its version is newer, and send the record; the key `dump` calls `dump_rows()` instead.

    The record is sent in any case: at its first delivery the worker may have crashed after it had written the row.
    """
    if record.key == b"dump":
        dump_rows()
        return
    row = rows.read(batch.partition, record.key)
    version = orjson.loads(record.value)["n"]
    if row is None or orjson.loads(row)["n"] < version:
        rows.write(outputs, batch.partition, record.key, record.value)
    outputs.send(f"{NAME}-out", record.key, record.value, [("by", str(os.getpid()).encode())])


async def relay_record_later(outputs: Outputs, batch: Batch, record: Any) -> None:
    """Wait for the delay in the record, then relay it."""
    if transport.inflight % 1000 == 0:
        app.log.info("%d in flight", transport.inflight)
    await asyncio.sleep(orjson.loads(record.value).get("delay", 0))
    relay_record(outputs, batch, record)


pool = Pool(app, relay_record if setting("INLINE") else relay_record_later)


@app.agent(incoming)
async def relay(stream: Any) -> None:
    """Relay the records of the incoming topic."""
    await pool.run(stream)
