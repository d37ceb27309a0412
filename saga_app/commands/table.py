"""Tables for people: on a terminal of any width nothing is cut, and in a pipe every record is one line."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from saga_app.terminal import echo, visible

#: A column that may be folded is at least so wide (characters), and two columns are so far apart.
FOLDED, GAP = 12, 2

#: What a pipe can hold in one line.
PIPE_WIDTH = 10_000


def output() -> Console:
    """Standard output, which takes text as it is: no markup in it has a meaning."""
    return Console(highlight=False, markup=False, emoji=False)


def harmless(cell: Any) -> Text:
    """A cell in which nothing controls the terminal."""
    text = cell if isinstance(cell, Text) else Text(str(cell or ""))
    shown = visible(text.plain)
    return text if shown == text.plain else Text(shown, text.style)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    whole: Sequence[str] = (),
    optional: Sequence[str] = (),
    console: Console | None = None,
) -> None:
    """Print rows under their columns; without names of columns there is no header.

    whole: columns that are never broken, such as ids. optional: columns that are left out, the first one first, where
    the terminal is too narrow; stderr says so. If that is not enough, each row becomes a block of lines.
    """
    console = console or output()
    cells = [[harmless(cell) for cell in row] for row in rows]
    width = console.width if console.is_terminal else PIPE_WIDTH
    shown = _fitting(columns, cells, width, whole, optional)
    if shown is None:
        return _print_blocks(columns, cells, console)
    if left_out := [name for name in columns if name not in shown]:
        echo(f"not shown in {width} columns: {', '.join(left_out)} (--json shows all)", err=True)
    table = Table(box=None, show_header=bool(columns), header_style="bold", pad_edge=False)
    for name in shown:
        table.add_column(name, overflow="fold", no_wrap=name in whole or not console.is_terminal)
    places = [columns.index(name) for name in shown]
    for row in cells:
        table.add_row(*([row[place] for place in places] if columns else row))
    if not console.is_terminal:
        console.width = width
        for column in table.columns:
            column.no_wrap = True
    return console.print(table)


def _fitting(
    columns: Sequence[str], cells: list[list[Text]], width: int, whole: Sequence[str], optional: Sequence[str]
) -> list[str] | None:
    """The columns that there is room for, or None if the necessary ones alone are too wide."""
    least = {}
    for place, name in enumerate(columns):
        natural = max([cell_len(name), *(cell_len(row[place].plain) for row in cells)])
        least[name] = natural if name in whole else min(natural, FOLDED)
    for count in range(len(optional) + 1):
        shown = [name for name in columns if name not in optional[:count]]
        if sum(least[name] + GAP for name in shown) - GAP <= width:
            return shown
    return None


def _print_blocks(columns: Sequence[str], cells: list[list[Text]], console: Console) -> None:
    name_width = max(map(len, columns))
    for number, row in enumerate(cells):
        if number:
            console.print()
        for name, cell in zip(columns, row, strict=True):
            if cell.plain:
                console.print(Text.assemble((f"{name:<{name_width}}  ", "bold"), cell), soft_wrap=True)
