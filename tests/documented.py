"""The commands that the documentation shows, from its blocks of shell commands."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md")))

_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.S | re.M)


def commands(page: Path) -> list[str]:
    """The lines of all its shell blocks."""
    blocks = _BLOCK.findall(page.read_text("utf-8"))
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
