"""`saga worker SERVICE`: run one worker of a service."""

import os
import sys

import click


@click.command()
@click.argument("service")
def worker(service: str) -> None:
    """Run one worker of SERVICE: a service of the plan (SAGA_PLAN), or the console.

    Settings are environment variables. The worker waits for the broker and creates missing topics.
    """
    from saga_app.active_plan import PLAN, SERVICES
    from saga_app.saga.plan import CONSOLE

    known = (*SERVICES, CONSOLE)
    if service not in known:
        raise click.BadParameter(f"the plan {PLAN.name} has no service {service}; it has {', '.join(known)}")
    sys.stdout.flush()
    # exec: signals reach the worker directly, and its exit code is that of this process
    os.execv(sys.executable, command(service))


def command(service: str) -> list[str]:
    """The command line of a Faust worker of this service."""
    return [sys.executable, "-m", "faust", "-L", "uvloop", "-A", f"agents:{service}", "worker"]
