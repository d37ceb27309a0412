"""The process of a service: Faust's worker, with checks of the environment before the start."""

from typing import Any

import click
import faust
from click.core import ParameterSource

from saga_app import environment, settings
from saga_app.environment import WrongEnvironment
from saga_app.service import log

#: Log levels by the names that the option -l of faust accepts.
LEVELS = {"crit": "error", "error": "error", "warn": "warning", "info": "info", "debug": "debug"}


class Worker(faust.Worker):
    """The worker that `faust worker` starts. An unusable environment ends the process with one line and exit code 2."""

    def __init__(self, app: Any, *args: Any, loglevel: Any = None, **kwargs: Any) -> None:
        level = LEVELS[str(loglevel).lower()] if _level_is_given() else app.settings.log_level
        logging_config = log.config(app.conf.id, app.settings.log, level)
        super().__init__(app, *args, loglevel=level, logging_config=logging_config, **kwargs)
        self.spinner = None  # the spinner sets the root logger to DEBUG, which is slow
        try:
            self._claim = check(app)
        except WrongEnvironment as error:
            environment.stop(error)


def _level_is_given() -> bool:
    """Whether the command line has -l. Faust does not distinguish it from the default."""
    context = click.get_current_context(silent=True)
    while context is not None:
        if context.get_parameter_source("loglevel") == ParameterSource.COMMANDLINE:
            return True
        context = context.parent
    return False


def check(app: Any) -> int | None:
    """Check directory and port of a service, and run the checks of its app.

    Returns the claim on the directory, if tables are on disk: keep it while the worker runs. Raises `WrongEnvironment`.
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
