"""The process of the embedded broker: librdkafka's mock cluster, which is part of the confluent-kafka wheel.

broker.py starts it as a script that does not import this package:

    python mock_cluster.py --port 19092 --topic orders:8

It prints one line of JSON, {"bootstrap": "host:port"} or {"error": "reason"}, and serves until its standard input is
closed, which also happens if its parent dies. All data are kept in memory.
"""

import argparse
import ctypes
import errno
import json
import os
import socket
import sys
from typing import Any

Address = tuple[str, int]


def serve(host: str, port: int, topics: list[tuple[str, int]]) -> None:
    """Serve until standard input is closed, then exit the process."""
    lib = _librdkafka()
    ours = _listen(host, port) if port else None  # before the cluster, because a port in use is the most likely error
    mock = _new_cluster(lib)
    at = _address(lib.rd_kafka_mock_cluster_bootstraps(mock).decode())
    lib.rd_kafka_mock_group_initial_rebalance_delay_ms(mock, 100)
    # Before clients can connect: a metadata request from a client of an earlier broker at this port creates its topic.
    for name, partitions in topics:
        if error := lib.rd_kafka_mock_topic_create(mock, name.encode(), partitions, 1):
            raise RuntimeError(f"topic {name} was not created: error {error}")
    if ours is not None:
        at = _replace_socket(lib, mock, ours, at)
    _print_json({"bootstrap": f"{at[0]}:{at[1]}"})
    sys.stdin.buffer.read()
    os._exit(0)  # there is nothing to save


def _librdkafka() -> Any:
    from confluent_kafka import cimpl

    lib = ctypes.CDLL(cimpl.__file__)  # symbols are also looked up in the bundled librdkafka
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_host_port", None, [pointer, ctypes.c_int32, text, number]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def _new_cluster(lib: Any) -> Any:
    error = ctypes.create_string_buffer(512)
    producer, config = 0, lib.rd_kafka_conf_new()
    client = lib.rd_kafka_new(producer, config, error, len(error))
    if not client:
        raise RuntimeError(error.value.decode())
    return lib.rd_kafka_mock_cluster_new(client, 1)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET, backlog=128)
    except OSError as error:
        why = "is in use by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise RuntimeError(f"port {port} on {host} {why}") from None


def _replace_socket(lib: Any, mock: Any, ours: socket.socket, theirs: Address) -> Address:
    """Replace the listening socket of the mock cluster, which is bound to a random loopback port, with ours."""
    os.dup2(ours.fileno(), _descriptor_listening_at(theirs), inheritable=False)
    host, port = ours.getsockname()
    ours.close()
    lib.rd_kafka_mock_broker_set_host_port(mock, 1, host.encode(), port)
    return host, port


def _descriptor_listening_at(address: Address) -> int:
    for number in range(3, 256):
        try:
            with socket.socket(fileno=os.dup(number)) as candidate:
                listens = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if listens and candidate.getsockname() == address:
                    return number
        except OSError:  # not an open descriptor, or not a socket
            continue
    raise RuntimeError("the mock cluster's own socket was not found")


def _address(bootstrap: str) -> Address:
    host, port = bootstrap.rsplit(":", 1)
    return host, int(port)


def _print_json(what: dict[str, str]) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    """Entry point of the script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--topic", action="append", default=[], type=_address, metavar="NAME:PARTITIONS")
    given = parser.parse_args()
    try:
        serve(given.host, given.port, given.topic)
    except Exception as error:
        _print_json({"error": str(error)})
        os._exit(1)


if __name__ == "__main__":
    main()
