"""TypeScript types of the console's HTTP payloads, generated from its OpenAPI document.

`python -m devtools.page_types` writes `devtools/page/api.d.ts`; with `--check` it only compares, and exits with 1 if
the file is out of date. The page is type-checked against them (`make check`).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from saga_app.console.http.api import Api
from saga_app.console.http.contracts import openapi

ROOT = Path(__file__).parent.parent
TYPES = ROOT / "devtools" / "page" / "api.d.ts"
GENERATOR = ROOT / "node_modules" / ".bin" / "openapi-typescript"


def generate() -> str:
    """The text of `api.d.ts`.

    Raises:
        FileNotFoundError: the development tools of `package.json` are not installed (`npm ci`).
        subprocess.CalledProcessError: openapi-typescript refused the document; its output says why.
    """
    routes = object.__new__(Api).calls()  # the routes do not depend on what an Api is constructed with
    with tempfile.TemporaryDirectory() as folder:
        document, types = Path(folder, "openapi.json"), Path(folder, "api.d.ts")
        document.write_text(json.dumps(openapi(routes)))
        subprocess.run([GENERATOR, document, "--output", types], check=True, capture_output=True, cwd=ROOT)
        return types.read_text()


def main(arguments: list[str]) -> int:
    """Write the types, or with `--check` compare them. Returns the exit code."""
    generated = generate()
    if arguments != ["--check"]:
        TYPES.write_text(generated)
        return 0
    if TYPES.is_file() and TYPES.read_text() == generated:
        return 0
    print(f"{TYPES.relative_to(ROOT)} is out of date: run `python -m devtools.page_types`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
