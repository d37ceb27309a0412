"""The generated parts of the reference pages match the code."""

import pytest

from devtools import docs


@pytest.mark.parametrize("name", docs.GENERATORS)
def test_each_generator_is_used_by_a_page(name: str) -> None:
    pages = "".join(path.read_text("utf-8") for path in docs.REFERENCE.glob("*.md"))
    assert f"<!-- generated: {name} -->" in pages


def test_the_reference_pages_are_up_to_date() -> None:
    assert [path.name for path in docs.outdated()] == []
