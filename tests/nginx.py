"""Run a real nginx, with its own directory and port."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devtools.wait import free_port, listening, until

DOCUMENTED = Path(__file__).parents[1] / "docs" / "how-to" / "secure-access.md"

#: Debian installs it in a folder that is not in every PATH.
PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

#: By default, workers of an nginx that root starts run as another user, which cannot write into the test's folder.
USER = "" if os.geteuid() else "user root;"

MAIN = """
{user} daemon off; worker_processes 1; pid nginx.pid; error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    {server}
}}
"""

#: A minimal configuration: nginx replaces the client's `Host` by that of the upstream, unless `more` passes it on.
SIMPLE = "server {{ listen 443 ssl; {tls} location / {{ proxy_pass http://127.0.0.1:8080; {more} }} }}"
TLS = "ssl_certificate saga.crt; ssl_certificate_key saga.key;"


def missing() -> str | None:
    """Why nginx cannot run on this machine, or None if it can."""
    return None if PROGRAM and shutil.which("openssl") else "nginx and openssl are needed"


def documented() -> str:
    """The configuration in docs/how-to/secure-access.md."""
    block = re.search(r"```nginx\n(.*?)```", DOCUMENTED.read_text("utf-8"), re.DOTALL)
    assert block is not None
    return block[1]


def simple(more: str = "") -> str:
    """A minimal configuration; `more` is added to its `location` block."""
    return SIMPLE.format(tls=TLS, more=more)


@contextmanager
def running(folder: Path, server: str, console_port: int) -> Iterator[int]:
    """Run nginx as the proxy of a console, with a self-signed certificate. Yields its TLS port."""
    port = free_port()
    subject = ["-subj", "/CN=saga.example.com", "-keyout", "saga.key", "-out", "saga.crt"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    placed = server.replace("127.0.0.1:8080", f"127.0.0.1:{console_port}").replace("/etc/nginx/", "")
    placed = re.sub(r"listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;", placed)
    (folder / "nginx.conf").write_text(MAIN.format(server=placed, user=USER), "utf-8")
    process = subprocess.Popen([str(PROGRAM), "-p", str(folder), "-c", "nginx.conf"], stderr=subprocess.PIPE)
    try:
        until(lambda: process.poll() is not None or listening(port), 10, "nginx does not listen")
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield port
    finally:
        process.terminate()
        process.wait(10)
