"""The fixtures of the tests, for the example."""

from tests.conftest import start_system

__all__ = ["start_system"]
