"""Text tables. On a terminal, cells are folded and never cut; in a pipe, each row is one line."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from saga_app.terminal import echo, visible

#: Minimum width of a column that may be folded, and space between columns (characters).
MIN_FOLDED_WIDTH, COLUMN_GAP = 12, 2

#: Maximum line length in a pipe (characters).
PIPE_WIDTH = 10_000


def output() -> Console:
    """Standard output without interpretation of rich markup."""
    return Console(highlight=False, markup=False, emoji=False)


def escaped_cell(cell: Any) -> Text:
    """A cell with control characters escaped."""
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
    """Print rows as a table; without column names there is no header.

    `whole`: columns that are never folded, such as ids. `optional`: columns that are omitted one by one, in this order,
    if the terminal is too narrow; a note on stderr names them. If that is not enough, each row is printed as a block
    of lines.
    """
    console = console or output()
    cells = [[escaped_cell(cell) for cell in row] for row in rows]
    width = console.width if console.is_terminal else PIPE_WIDTH
    shown = _columns_that_fit(columns, cells, width, whole, optional)
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


def _columns_that_fit(
    columns: Sequence[str], cells: list[list[Text]], width: int, whole: Sequence[str], optional: Sequence[str]
) -> list[str] | None:
    """The columns that fit into the width; None if even the required ones do not."""
    least = {}
    for place, name in enumerate(columns):
        natural = max([cell_len(name), *(cell_len(row[place].plain) for row in cells)])
        least[name] = natural if name in whole else min(natural, MIN_FOLDED_WIDTH)
    for count in range(len(optional) + 1):
        shown = [name for name in columns if name not in optional[:count]]
        if sum(least[name] + COLUMN_GAP for name in shown) - COLUMN_GAP <= width:
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
