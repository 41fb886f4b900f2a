"""README.org's table of endpoints, made from what `make test-servers` has found.

`python -m tests.project.servers_table` writes it anew.
"""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["README", "table", "table_in"]

README = Path(__file__).parents[2] / "README.org"
_FOUND = Path(__file__).parents[1] / "servers" / "matrix.json"
_HEADING = "* Endpoints\n"


def table() -> str:
    """A row for each promise, a column for each server; `-` is what was not tried.

    The caption has the versions.
    """
    found: list[dict[str, str]] = list(json.loads(_FOUND.read_text()).values())
    promises = dict.fromkeys(name for cells in found for name in cells if name != "name")
    # Without the version, which is behind the last space; a table has no room for it.
    rows = [["", *(cells["name"].rpartition(" ")[0] for cells in found)]]
    rows += [[name, *(cells.get(name, "-") for cells in found)] for name in promises]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "+".join("-" * (width + 2) for width in widths) + "|"
    tried = f"#+caption: {', '.join(cells['name'] for cells in found)}"
    return "\n".join([tried, lines[0], rule, *lines[1:]]) + "\n"


def table_in(readme: str) -> tuple[int, int]:
    """Where the table of endpoints begins and ends in the text of README.org."""
    first = readme.index("#+caption", readme.index(_HEADING))
    return first, readme.index("\n\n", first) + 1


def main() -> None:
    readme = README.read_text()
    first, end = table_in(readme)
    README.write_text(readme[:first] + table() + readme[end:])


if __name__ == "__main__":
    main()
