"""The settings: environment variables, read once at start-up and passed to the rest of the program as values.

`load()` returns the settings of this process; `describe()` lists all of them with value, default and meaning.
"""

from saga_app.settings.load import Described, describe, load, unknown_variables
from saga_app.settings.settings import PREFIX, Settings, port_field, variable
from saga_app.settings.values import SENDER, Lag, Mail, host_of, origin_of

__all__ = [
    "PREFIX",
    "SENDER",
    "Described",
    "Lag",
    "Mail",
    "Settings",
    "describe",
    "host_of",
    "load",
    "origin_of",
    "port_field",
    "unknown_variables",
    "variable",
]
