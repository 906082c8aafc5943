"""Write the tables of docs/input.md that the contract declares."""

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from etl.contract import CODES, TABLES, Column, FileCode, ItemCode, LineCode, Table

PAGE = Path(__file__).parents[1] / "docs/input.md"

_TYPES = {
    "integer": "whole number of 64 bits",
    "number": "finite number",
    "date": "date, `YYYY-MM-DD`",
    "text": "text",
    "id_list": "list of ids",
}
_KINDS = {FileCode: "file", LineCode: "line", ItemCode: "item"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 and the difference if any")
    check = parser.parse_args().check
    old = PAGE.read_text()
    new = written(old)
    if check:
        sys.stdout.writelines(
            difflib.unified_diff(old.splitlines(True), new.splitlines(True), "docs/input.md", "etl/contract.py")
        )
        return int(old != new)
    PAGE.write_text(new)
    return 0


def written(text: str) -> str:
    """Return the page's text with the tables that the contract declares. Raises ValueError where one has no place."""
    for name, table in (("columns", _columns), ("codes", _codes)):
        begin, end = f"<!-- {name}: written by scripts/tables.py -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"docs/input.md has no place for the {name}: {begin} ... {end}")
        text = "\n".join([before + begin, "", *table(), "", end + after])
    return text


def _columns() -> list[str]:
    rows = [
        (f"`{table.file}`", f"`{column.name}`", column.description, _values(table, column))
        for table in TABLES
        for column in table.columns
    ]
    return _markdown(("file", "column", "", "values"), rows)


def _codes() -> list[str]:
    rows = [(f"`{code}`", _KINDS[type(code)], meaning.sentence, meaning.example) for code, meaning in CODES.items()]
    return _markdown(("code", "of a", "meaning", "for example"), rows)


def _values(table: Table, column: Column) -> str:
    parts = [_TYPES[column.type]]
    if column.minimum is not None:
        parts.append(f"from {column.minimum} on")
    if column.name == table.key:
        parts.append("unique")
    if column.reference:
        parts.append(f"of `{column.reference.table}.csv`")
    if not column.required:
        parts.append("may be empty")
    return ", ".join(parts)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    sys.exit(main())
