"""The shell commands that the documentation shows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md")))

_SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.S | re.M)


def commands(page: Path) -> list[str]:
    """The command lines in all shell blocks of a page, without comments."""
    blocks = _SHELL_BLOCK.findall(page.read_text("utf-8"))
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
