"""Runs the unit tests of the page's JavaScript modules (tests/page/*.test.js) with Node.js."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = sorted((ROOT / "tests" / "page").glob("*.test.js"))


def test_the_unit_tests_of_the_page_pass() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is needed")
    # The files one by one: as of version 22, Node.js does not accept a directory.
    result = subprocess.run([node, "--test", *TESTS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert TESTS
    assert result.returncode == 0, f"\n{result.stdout}{result.stderr}"
