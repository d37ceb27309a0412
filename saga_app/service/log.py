"""Configures structured logs: one line per event, as text for a terminal or as JSON."""

import logging
import sys
from typing import Any

import structlog

from saga_app.stream import CannotStore, Fenced
from saga_app.terminal import visible

TIMESTAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)
#: Loggers whose info level is too verbose: one line per started service object, or per HTTP request.
VERBOSE_LOGGERS = ("aiokafka", "aiohttp.access", "faust", "mode", "saga_app.stream", "saga_app.service.app")

#: Errors that are logged without a traceback, because their text is sufficient.
ERRORS_WITHOUT_TRACEBACK = (CannotStore, Fenced)


def without_traceback(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A processor that replaces the traceback of `ERRORS_WITHOUT_TRACEBACK` by the text of the error."""
    raised = event.get("exc_info")
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, ERRORS_WITHOUT_TRACEBACK):
        del event["exc_info"]
        event["error"] = str(error)
    return event


def without_controls(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A processor that escapes control characters, because untrusted values must not control the terminal.

    Only tracebacks may have several lines.
    """
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value, keep="\n\t" if name in ("exception", "stack") else "")
        elif isinstance(value, BaseException):
            event[name] = visible(str(value))
    return event


SHARED: list[Any] = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, TIMESTAMP]


def config(service: str, form: str = "console", level: str = "info") -> dict[str, Any]:
    """Configure structlog for a service, and return a configuration for `logging.config.dictConfig`.

    `form`: console or json. `level`: debug, info, warning or error.
    """
    min_level = logging.getLevelNamesMapping()[level.upper()]
    library_level = logging.INFO if min_level <= logging.DEBUG else max(min_level, logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(min_level),  # filtered events cost nothing
        cache_logger_on_first_use=True,
    )
    renderers: list[Any] = [structlog.processors.JSONRenderer()]
    if form == "console":
        renderers = [without_controls, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]

    def add_service(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["service"] = service
        return event

    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": SHARED,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_service,
            without_traceback,
            structlog.processors.format_exc_info,
            *renderers,
        ],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"line": {"class": "logging.StreamHandler", "formatter": "line", "level": min_level}},
        "root": {"handlers": ["line"], "level": min_level},
        "loggers": {name: {"level": library_level} for name in VERBOSE_LOGGERS},
    }
