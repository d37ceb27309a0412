"""Private names of dependencies are used in `saga_app/stream/upstream` only, our own only by their owner."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

import saga_app

ROOT = Path(saga_app.__file__).parent
UPSTREAM = ROOT / "stream" / "upstream"

#: Names that are public in spite of the underscore: the standard library (NamedTuple, os) and SQLAlchemy (Row) document
#: them.
DOCUMENTED = {"_asdict", "_fields", "_make", "_replace", "_exit", "_mapping"}

SOURCES = sorted(path for path in ROOT.rglob("*.py") if UPSTREAM not in path.parents)


def is_private(name: str) -> bool:
    """Whether a name is private. Upper-case names are documented error codes, such as `KafkaError._PARTITION_EOF`."""
    return name.startswith("_") and not name.startswith("__") and not name.isupper() and name not in DOCUMENTED


def private_accesses(tree: ast.AST) -> Iterator[str]:
    """Places that import a private name, or access a private attribute of an object other than self and cls.

    Accesses by `getattr`, `setattr` and `hasattr` with a constant name count as well.
    """
    for node in ast.walk(tree):
        match node:
            case (
                ast.Attribute(value=ast.Name(id="self" | "cls"))
                | ast.Attribute(value=ast.Call(func=ast.Name(id="super")))
            ):
                pass  # inherited_private_names() finds these
            case ast.Attribute(attr=name) if is_private(name):
                yield f"line {node.lineno}: {ast.unparse(node)}"
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]
            ):
                if is_private(name):
                    yield f"line {node.lineno}: {ast.unparse(node)}"
            case ast.ImportFrom(names=names):
                yield from (f"line {node.lineno}: import {each.name}" for each in names if is_private(each.name))


def inherited_private_names(tree: ast.Module, module: str) -> Iterator[str]:
    """Places where a class of ours uses or overrides a private name of a base class of a dependency."""
    for definition in (node for node in tree.body if isinstance(node, ast.ClassDef) and node.bases):
        our_class = getattr(importlib.import_module(module), definition.name)
        foreign_names = set[str]().union(*(names_of(base) for base in our_class.__mro__[1:] if is_foreign(base)))
        for node in ast.walk(definition):
            name = getattr(node, "attr", None) or getattr(node, "name", None)
            if isinstance(name, str) and name in foreign_names and is_private(name):
                yield f"line {getattr(node, 'lineno', '?')}: {definition.name} uses {name}"


def is_foreign(base: type) -> bool:
    """Whether a class belongs to a third-party dependency."""
    return base.__module__.partition(".")[0] not in ("saga_app", "builtins", "typing", "abc", "enum", "_io")


def names_of(base: type) -> set[str]:
    """The names that a class defines or declares, or that its methods use."""
    used = {name for each in vars(base).values() if isinstance(each, FunctionType) for name in each.__code__.co_names}
    return used | set(vars(base)) | set(getattr(base, "__annotations__", {}))


def test_no_private_name_of_another_object_is_used_outside_upstream() -> None:
    found = {path.relative_to(ROOT): list(private_accesses(ast.parse(path.read_text()))) for path in SOURCES}
    assert {str(path): lines for path, lines in found.items() if lines} == {}


def test_no_class_uses_private_names_of_a_foreign_base_outside_upstream() -> None:
    found = {}
    for path in SOURCES:
        module = ".".join(("saga_app", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        if lines := list(inherited_private_names(ast.parse(path.read_text()), module)):
            found[module] = lines
    assert found == {}


@pytest.mark.parametrize(
    "line", ["consumer._client", "self.app._thread", "getattr(x, '_hidden', None)", "from aiokafka import _secret"]
)
def test_the_scan_finds_private_names(line: str) -> None:
    assert list(private_accesses(ast.parse(line)))


def test_the_scan_finds_inherited_private_names() -> None:
    tree = ast.parse((UPSTREAM / "faust.py").read_text())
    found = " ".join(inherited_private_names(tree, "saga_app.stream.upstream.faust"))
    for name in ("_new_consumer_thread", "_read_offset", "_dbs", "_perform_assignment", "_table_manager"):
        assert f"uses {name}" in found, name
