"""The services, deployed separately: `faust -A agents.provisioner worker`.

For any service of a plan: `faust -A agents:trainer worker` or `saga worker trainer`.
"""

from typing import Any

from saga_app import environment

environment.replace_unencodable_characters()
environment.report_in_one_line()
environment.check_packages()


def __getattr__(name: str) -> Any:
    """Make `agents:trainer` the app of the service `trainer`."""
    from saga_app import workers

    if name not in workers.NAMES:
        raise AttributeError(name)
    return workers.make(name)
