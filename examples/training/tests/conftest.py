"""The fixtures of the tests, for the example; and what they do about parts that a machine lacks."""

from tests.conftest import kafka, pytest_runtest_makereport, pytest_runtest_setup, start_system

__all__ = ["kafka", "pytest_runtest_makereport", "pytest_runtest_setup", "start_system"]
