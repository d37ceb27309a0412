"""Which parts of the page may import which."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "saga_app/console/page"

IMPORT = re.compile(r'^import .*?"(\.[^"]+)";$', re.MULTILINE)


def test_the_core_of_the_page_imports_no_other_part() -> None:
    imports = {path.name: IMPORT.findall(path.read_text()) for path in (PAGE / "core").glob("*.js")}
    assert any(imports.values())
    assert {name: paths for name, paths in imports.items() if any(not path.startswith("./") for path in paths)} == {}
