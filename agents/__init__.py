"""The services, each deployable by itself: `faust -A agents.provisioner worker`, or any service of the plan, with
`faust -A agents:trainer worker` or `saga worker trainer`.
"""

from typing import Any

from saga_app import environment

environment.replace_unencodable_characters()
environment.report_in_one_line()
environment.check_packages()


def __getattr__(name: str) -> Any:
    """`agents:trainer` is the app of the service `trainer`."""
    from saga_app import workers

    if name not in workers.NAMES:
        raise AttributeError(name)
    return workers.make(name)
