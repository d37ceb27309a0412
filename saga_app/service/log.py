"""Logs: structured, one line an event, for people on a terminal and as JSON everywhere else."""

import logging
import sys
from typing import Any

import structlog

from saga_app.stream import CannotStore, Fenced
from saga_app.terminal import visible

TIMESTAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)
#: Their lines at info level are of use to their own developers only: every service object that starts, every request.
CHATTY = ("aiokafka", "aiohttp.access", "faust", "mode", "saga_app.stream", "saga_app.service.app")

#: They say all that there is to say: where in the code it was helps nobody.
PLAIN = (CannotStore, Fenced)


def without_traceback(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """An error that a person at the console can understand is one line."""
    raised = event.get("exc_info")
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, PLAIN):
        del event["exc_info"]
        event["error"] = str(error)
    return event


def without_controls(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Values may be anybody's: nothing in them may control the terminal. Only a traceback has lines."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value, keep="\n\t" if name in ("exception", "stack") else "")
        elif isinstance(value, BaseException):
            event[name] = visible(str(value))
    return event


SHARED: list[Any] = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, TIMESTAMP]


def config(service: str, form: str = "console", level: str = "info") -> dict[str, Any]:
    """A `logging.config.dictConfig` for a service. Makes structlog use it.

    `form`: console or json; `level`: debug, info, warning or error.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    chatty = logging.INFO if least <= logging.DEBUG else max(least, logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(least),  # what is not said costs nothing
        cache_logger_on_first_use=True,
    )
    renderers: list[Any] = [structlog.processors.JSONRenderer()]
    if form == "console":
        renderers = [without_controls, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]

    def named(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["service"] = service
        return event

    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": SHARED,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            named,
            without_traceback,
            structlog.processors.format_exc_info,
            *renderers,
        ],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"line": {"class": "logging.StreamHandler", "formatter": "line", "level": least}},
        "root": {"handlers": ["line"], "level": least},
        "loggers": {name: {"level": chatty} for name in CHATTY},
    }
