"""Prints a random sample of the project's prose for review: `python -m devtools.prose_sample SEED`."""

import argparse
import ast
import random
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = ("saga_app", "agents", "tables", "benchmarks", "devtools", "examples", "tests")
PAGE = ROOT / "saga_app" / "console" / "page"

#: The size of the sample by kind.
SIZES = {"docstring": 12, "log event": 5, "page text": 5, "paragraph": 8}

LOG_LEVELS = {"debug", "info", "warning", "error", "exception"}
#: A JavaScript string or template that begins like a sentence and has at least two words.
_PAGE_TEXT = re.compile(r'["`]([A-Z][^"`\n]* [^"`\n]+)["`]')

Sample = tuple[str, str]  #: Where it is, and the text.


def docstrings_and_log_events() -> tuple[list[Sample], list[Sample]]:
    """All docstrings, and the events of all log calls, of the Python files."""
    docstrings, events = list[Sample](), list[Sample]()
    for path in (path for folder in PYTHON for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if text := ast.get_docstring(node):
                    docstrings.append((where, text))
            elif isinstance(node, ast.Call) and (event := _log_event(node)):
                events.append((where, event))
    return docstrings, events


def _log_event(call: ast.Call) -> str | None:
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(event)), *_]
        ) if level in LOG_LEVELS:
            return event
    return None


def page_texts() -> Iterator[Sample]:
    """Texts in the modules of the page."""
    for path in sorted(PAGE.rglob("*.js")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            for text in _PAGE_TEXT.findall(line):
                yield f"{path.relative_to(ROOT)}:{number}", text


def paragraphs() -> Iterator[Sample]:
    """Paragraphs and lists of the documents, without headings, code and tables."""
    for path in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        without_code = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for text in re.split(r"\n\s*\n", without_code):
            if text.strip() and not text.lstrip().startswith(("#", "|", "<", "!")):
                yield str(path.relative_to(ROOT)), text.strip()


def main() -> None:
    """Print the sample for a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=0, help="the same seed draws the same sample")
    dice = random.Random(parser.parse_args().seed)
    docstrings, events = docstrings_and_log_events()
    found = {
        "docstring": docstrings,
        "log event": events,
        "page text": list(page_texts()),
        "paragraph": list(paragraphs()),
    }
    for kind, size in SIZES.items():
        print(f"== {size} of {len(found[kind])}: {kind}")
        for where, text in dice.sample(found[kind], size):
            print(f"{where}\n    " + text.replace("\n", "\n    "))


if __name__ == "__main__":
    main()
