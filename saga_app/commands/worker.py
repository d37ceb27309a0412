"""`saga worker SERVICE`: one worker of a service, in this process."""

import os
import sys

import click


@click.command()
@click.argument("service")
def worker(service: str) -> None:
    """Run one worker of SERVICE: any service of the plan (SAGA_PLAN), or the console.

    The environment has its settings. It waits for its broker, and creates the topics that are missing.
    """
    from saga_app.active_plan import PLAN, SERVICES
    from saga_app.saga.plan import CONSOLE

    known = (*SERVICES, CONSOLE)
    if service not in known:
        raise click.BadParameter(f"the plan {PLAN.name} has no service {service}; it has {', '.join(known)}")
    sys.stdout.flush()
    # In place of this process: signals and the exit code are the worker's.
    os.execv(sys.executable, command(service))


def command(service: str) -> list[str]:
    """The command line of a worker."""
    return [sys.executable, "-m", "faust", "-L", "uvloop", "-A", f"agents:{service}", "worker"]
