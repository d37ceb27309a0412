"""Imports point only towards the saga: the architecture's rules, checked against the imports of every file."""

from collections import defaultdict
from functools import cache

import pytest

from tests.unit.layers import ALLOWED_IMPORTS, ROOT, imported_modules, layer_of


@cache
def imported_layers() -> dict[str, set[str]]:
    """For each layer, the other layers that its files import."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for folder in ("saga_app", "agents", "tables"):
        for path in (ROOT / folder).rglob("*.py"):
            own = layer_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
            layers = {layer for module in imported_modules(path) if (layer := layer_of(module)) and layer != own}
            found[own or ""] |= layers
    return found


@pytest.mark.parametrize("name", ALLOWED_IMPORTS)
def test_a_layer_imports_only_from_layers_below(name: str) -> None:
    layers = imported_layers()[name]
    print(f"{name} imports from {', '.join(sorted(layers)) or 'nothing'}")
    assert layers <= ALLOWED_IMPORTS[name], layers - ALLOWED_IMPORTS[name]


def test_the_saga_layer_imports_no_kafka_no_network_and_no_clock() -> None:
    outside = {"aiokafka", "confluent_kafka", "faust", "mode", "aiohttp", "asyncio", "time", "random", "socket"}
    for path in (ROOT / "saga_app/saga").glob("*.py"):
        assert not {module.split(".")[0] for module in imported_modules(path)} & outside, path
