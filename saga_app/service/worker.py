"""The process of a service: Faust's worker, which checks its surroundings before it starts anything."""

from typing import Any

import faust

from saga_app import environment, settings
from saga_app.environment import WrongEnvironment


class Worker(faust.Worker):
    """What `faust worker` starts. An environment that cannot work ends the process with one line and exit code 2."""

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(app, *args, **kwargs)
        try:
            self._claim = check(app)
        except WrongEnvironment as error:
            environment.stop(error)


def check(app: Any) -> int | None:
    """Check the directory and the port of a service, and what the app checks itself; a claim on the directory.

    Raises `WrongEnvironment`.
    """
    conf = app.conf
    directory = environment.use_directory("SAGA_DATADIR", app.settings.datadir, conf.datadir.name)
    on_disk = app.tables and conf.store.scheme == "rocksdb"
    claim = environment.claim_directory(directory) if on_disk else None
    if conf.web_enabled:
        environment.check_ports({settings.variable(f"{conf.id}_port"): (conf.web_bind, conf.web_port)})
    for before_start in app.before_start:
        before_start()
    return claim
