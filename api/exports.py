"""Tables for spreadsheets: what a file holds must not run when somebody opens it in one."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

# OWASP, CSV Injection: what begins with one of these is read as a formula. The last four are full-width.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return the rows as lines of CSV, each cell as harmless() has it."""
    lines = io.StringIO()
    csv.writer(lines).writerows([harmless(value) for value in row] for row in rows)
    return lines.getvalue()


def harmless(value: Any) -> Any:
    """Return text with a single quote before what a spreadsheet would run; all else, numbers too, as it is.

    Where a comma is written in numbers, a spreadsheet takes the semicolon for the separator and begins a cell there.
    """
    if not isinstance(value, str):
        return value
    return ";".join(f"'{part}" if _runs(part) else part for part in value.split(";"))


def _runs(text: str) -> bool:
    return text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
