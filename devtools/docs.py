"""Generates the reference pages from the code: `make docs`, or `python -m devtools.docs`.

In each page of docs/reference, the text between `<!-- generated: NAME -->` and `<!-- end -->` is replaced. With
`--check` nothing is written, and the exit code is 1 if a page is out of date.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from saga_app import cli
from saga_app.active_plan import READS
from saga_app.console.http.api import Api
from saga_app.console.http.contracts import openapi
from saga_app.service.kafka.topics import TOPICS
from saga_app.settings import Settings, describe

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"

_MARKED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(\n<!-- end -->)", re.S)

#: The prefix of this project's metrics; those of the client library are not documented.
_PREFIX = "saga_"


def settings() -> Iterator[str]:
    """A table row for every setting."""
    yield "| variable | default | meaning | allowed |"
    yield "|---|---|---|---|"
    for each in describe(Settings.model_construct()):
        yield f"| `{each.variable}` | {each.default or '–'} | {each.meaning} | {_cell(each.allowed)} |"


def metrics() -> Iterator[str]:
    """A table row for every metric of the services and of the console."""
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    yield from sorted(_metric(metric, labels) for metric, labels in _metrics() if metric.name.startswith(_PREFIX))


def _metric(metric: Metric, label_names: Sequence[str]) -> str:
    name = metric.name + ("_total" if metric.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in label_names) or "–"
    return f"| `{name}` | {metric.type} | {labels} | {_cell(metric.documentation)} |"


def _metrics() -> Iterator[tuple[Metric, Sequence[str]]]:
    """All registered metrics, with the names of their labels."""
    import saga_app.console.gauges
    import saga_app.service.metrics
    import saga_app.service.step_metrics  # noqa: F401  # importing registers the metrics

    for each in set(REGISTRY._collector_to_names):
        if isinstance(each, MetricWrapperBase):
            yield from ((metric, each._labelnames) for metric in each.describe())
        else:
            yield from ((metric, getattr(metric, "_labelnames", ())) for metric in each.collect())


def topics() -> Iterator[str]:
    """A table row for every topic."""
    yield "| topic | consumer group | configuration |"
    yield "|---|---|---|"
    group_of = {topic: group for group, topics in READS.items() for topic in topics}
    for topic, configs in TOPICS.items():
        config = ", ".join(f"`{name}={value}`" for name, value in configs.items())
        yield f"| `{topic}` | {group_of.get(topic, '–')} | {config} |"


def http() -> Iterator[str]:
    """A section for every route of the console."""
    document = openapi(object.__new__(Api).calls())  # the routes do not depend on what an Api is constructed with
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(method.upper(), path, operation)


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}"
    yield ""
    yield f"{operation['summary'].rstrip('.')}."
    if query := [each for each in operation["parameters"] if each["in"] != "path"]:
        yield ""
        yield "| parameter | in | meaning |"
        yield "|---|---|---|"
        for each in query:
            yield f"| `{each['name']}` | {each['in']} | {_cell(each.get('description') or _kind(each['schema']))} |"
    yield ""
    yield f"Responses: {', '.join(operation['responses'])}."
    yield ""


def _kind(schema: dict[str, Any]) -> str:
    """The allowed values or the type of a parameter without a description."""
    for variant in (schema, *schema.get("anyOf", ())):
        if choices := variant.get("enum") or variant.get("items", {}).get("enum"):
            return ", ".join(map(str, choices))
    types = [each.get("type") for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return str(schema.get("type") or (types[0] if types else "text"))


def commands() -> Iterator[str]:
    """The help of every command."""
    yield from _command(cli.main, ["saga"], None)


def _command(command: click.Command, names: list[str], parent: click.Context | None) -> Iterator[str]:
    settings: dict[str, Any] = {"terminal_width": 100, "max_content_width": 100, **command.context_settings}
    context = click.Context(command, parent=parent, info_name=names[-1], **settings)
    yield f"### {' '.join(names)}"
    yield ""
    yield "```"
    yield command.get_help(context)
    yield "```"
    yield ""
    if isinstance(command, click.Group):
        for name, each in sorted(command.commands.items()):
            yield from _command(each, [*names, name], context)


GENERATORS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "metrics": metrics,
    "topics": topics,
    "http": http,
    "commands": commands,
}


def generated(page: str) -> str:
    """The text of a page with its generated parts brought up to date."""
    return _MARKED.sub(lambda match: match[1] + "\n".join(GENERATORS[match[2]]()).rstrip() + match[3], page)


def outdated() -> dict[Path, str]:
    """The pages whose generated parts differ from the code, with their new text."""
    pages = {path: path.read_text("utf-8") for path in sorted(REFERENCE.glob("*.md"))}
    return {path: new for path, text in pages.items() if (new := generated(text)) != text}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` name those that are out of date. Returns the exit code."""
    pages = outdated()
    for path, text in pages.items():
        if arguments == ["--check"]:
            print(f"{path.relative_to(REFERENCE.parent.parent)} is out of date: run `make docs`", file=sys.stderr)
        else:
            path.write_text(text, "utf-8")
    return int(bool(pages) and arguments == ["--check"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
