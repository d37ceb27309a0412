"""Explains why a Kafka cluster is unreachable: which address fails, and for what reason."""

import asyncio
import os
import socket
from collections.abc import Sequence

#: Timeout of a connection (seconds).
CONNECT_TIMEOUT_S = 3.0

Address = tuple[str, int]


async def explain(bootstrap: Sequence[Address], advertised: Sequence[Address], error: BaseException) -> str:
    """Explain in one line why a cluster did not answer.

    `bootstrap`: the addresses in SAGA_BROKER. `advertised`: the addresses in the cluster's metadata, empty without a
    response. `error`: what the client raised.
    """
    asked = ",".join(_shown(address) for address in bootstrap)
    for address in (each for each in advertised if each not in bootstrap):
        if problem := await connection_problem(address):
            return (
                f"the broker at {asked} answers, but advertises {_shown(address)}, which cannot be reached "
                f"({problem}): correct advertised.listeners of the broker, or make that address reachable from here"
            )
    problems = {address: await connection_problem(address) for address in bootstrap}
    if all(problems.values()):
        refusals = "; ".join(f"no broker at {_shown(address)}: {problem}" for address, problem in problems.items())
        return f"{refusals}: start it, or correct SAGA_BROKER"
    return f"the server at {asked} does not answer like a Kafka broker: {type(error).__name__}: {error}"


async def connection_problem(address: Address) -> str | None:
    """Why no connection to this address can be made, or None if one can."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(*address)
    except socket.gaierror as error:
        return f"name resolution failed: {error.strerror}"
    except TimeoutError:
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    except UnicodeError:
        return "name resolution failed: it is not a host name"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    writer.close()
    return None


def _shown(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
