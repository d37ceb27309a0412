"""Are the ports free? Asked before anything is started, so that a taken one is one clear line."""

import errno
import socket
from collections.abc import Mapping


def problem(ports: Mapping[str, int], host: str) -> str | None:
    """What is wrong with these ports (by the variable that sets each), or None."""
    seen: dict[int, str] = {}
    for variable, port in ports.items():
        if port in seen:
            return f"{seen[port]} and {variable} are both {port}: give one of them another port"
        seen[port] = variable
    for variable, port in ports.items():
        if reason := _refused(host, port):
            return f"port {port} on {host} {reason}: set {variable} to another one"
    return None


def _refused(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: what lingers is no hindrance
        try:
            probe.bind((host, port))
        except PermissionError:
            return "may not be used by this account"
        except OSError as error:
            return (
                "is taken by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error.strerror})"
            )
    return None
