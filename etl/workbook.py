"""A table as an Excel workbook, written while it is read: no temporary file, and no more memory than a batch takes.

XlsxWriter collects the sheets in temporary files first: of two million users these are 1.4 GB, and the first byte could
be sent after minutes. What is needed of the format (ECMA-376, Office Open XML) is small: sheets of cells that are
numbers, dates or text. A cell that is text is never run as a formula, nor made a link.
"""

import re
from collections.abc import Sequence
from datetime import date
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pyarrow as pa
import pyarrow.compute as pc

# Excel's own limits.
ROWS_MAX, TEXT_UNITS_MAX = 1_048_576, 32_767

# Readers of ZIP that know no extension end at 4 GiB for a file in it.
_SHEET_BYTES_MAX = 1 << 30

# A number has the 53 bits of a double.
_EXACT_MAX = 1 << 53

# Excel takes 1900 for a leap year, so its days count from here on.
_FIRST_DAY, _DAY_ZERO = date(1900, 3, 1), date(1899, 12, 30)

# What XML does not allow or would read as something else, and what would be read as the way to write that.
_SPECIAL = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_MAY_BE_SPECIAL = r"[\x00-\x08\x0b-\x1f\x{fffe}\x{ffff}]|_x[0-9A-Fa-f]{4}_"

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"

# Format 14 is the date as the reader's country writes it. The two fills are what Excel wants to find there.
_XF = 'fontId="0" fillId="0" borderId="0"'
_STYLES = (
    f'<styleSheet {_MAIN}><fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2">'
    '<fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    f'<cellStyleXfs count="1"><xf numFmtId="0" {_XF}/></cellStyleXfs><cellXfs count="2">'
    f'<xf numFmtId="0" {_XF} xfId="0"/><xf numFmtId="14" {_XF} xfId="0" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)


class Workbook:
    """Sheets with a header each; a new one begins where one is full."""

    def __init__(self, sink: IO[bytes], names: Sequence[str], *, rows_max: int = ROWS_MAX) -> None:
        self._zip = ZipFile(sink, "w", ZIP_DEFLATED, compresslevel=1)
        self._header = _xml([pa.array([name]) for name in names])
        self._rows_max = rows_max
        self._sheets = 0
        self._begin_sheet()

    def write(self, batch: pa.RecordBatch) -> None:
        while len(batch):
            if self._rows == self._rows_max or self._bytes > _SHEET_BYTES_MAX:
                self._end_sheet()
                self._begin_sheet()
            fits = batch.slice(0, self._rows_max - self._rows)
            self._add(_xml(fits.columns), len(fits))
            batch = batch.slice(len(fits))

    def close(self) -> None:
        self._end_sheet()
        for name, content in _parts(self._sheets).items():
            with self._zip.open(_entry(name), "w") as part:
                part.write((_HEAD + content).encode())
        self._zip.close()

    def _begin_sheet(self) -> None:
        self._sheets += 1
        self._rows = self._bytes = 0
        self._sheet = self._zip.open(_entry(f"xl/worksheets/sheet{self._sheets}.xml"), "w")
        self._sheet.write(f"{_HEAD}<worksheet {_MAIN}><sheetData>".encode())
        self._add(self._header, 1)

    def _add(self, xml: memoryview, rows: int) -> None:
        self._sheet.write(xml)
        self._rows += rows
        self._bytes += len(xml)

    def _end_sheet(self) -> None:
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()


def _entry(name: str) -> ZipInfo:
    """An entry whose time says nothing: the same rows make the same file."""
    entry = ZipInfo(name)
    entry.compress_type = ZIP_DEFLATED
    entry._compresslevel = 1  # type: ignore[attr-defined] # ZipFile's own is not for entries that are given
    return entry


def _xml(columns: list[pa.Array]) -> memoryview:
    """Return the rows of a sheet. Arrow keeps texts one after the other: joined cells are the whole at once."""
    cells = [pc.coalesce(_cells(column), pa.scalar("<c/>", pa.string())) for column in columns]
    rows = pc.binary_join_element_wise("<row>", *cells, "</row>", pa.scalar("", pa.string()))
    return memoryview(rows.buffers()[2])


def _cells(column: pa.Array) -> pa.Array:
    """Return each value as a cell, null where there is none."""
    type_ = column.type
    if pa.types.is_boolean(type_):
        return _joined('<c t="b"><v>', pc.cast(column, pa.int8()), "</v></c>")
    if pa.types.is_integer(type_):
        is_exact = pc.and_(pc.greater_equal(column, -_EXACT_MAX), pc.less_equal(column, _EXACT_MAX))
        return pc.if_else(is_exact, _joined("<c><v>", column, "</v></c>"), _text(column))
    if pa.types.is_floating(type_):
        return _joined("<c><v>", column, "</v></c>")
    if pa.types.is_date(type_):
        days = pc.subtract(pc.cast(column, pa.int32()), (_DAY_ZERO - date(1970, 1, 1)).days)
        return pc.if_else(
            pc.greater_equal(column, pa.scalar(_FIRST_DAY)), _joined('<c s="1"><v>', days, "</v></c>"), _text(column)
        )
    return _text(column)


def _text(column: pa.Array) -> pa.Array:
    text = pc.cast(column, pa.string())
    is_special = pc.or_(
        pc.match_substring_regex(text, _MAY_BE_SPECIAL), pc.greater(pc.utf8_length(text), TEXT_UNITS_MAX // 2)
    )
    if pc.any(is_special).as_py():
        special = [_escaped(value) for value in text.filter(is_special).to_pylist()]
        text = pc.replace_with_mask(text, pc.fill_null(is_special, False), pa.array(special, pa.string()))
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = pc.replace_substring(text, sign, name)
    return _joined('<c t="inlineStr"><is><t xml:space="preserve">', text, "</t></is></c>")


def _escaped(text: str) -> str:
    """Cut the text where Excel does, and write characters that XML does not have as Office does: `_x0001_`."""
    units = text.encode("utf-16-le")[: 2 * TEXT_UNITS_MAX]
    return _SPECIAL.sub(lambda found: f"_x{ord(found[0]):04X}_", units.decode("utf-16-le", "ignore"))


def _joined(before: str, values: pa.Array, after: str) -> pa.Array:
    empty = pa.scalar("", pa.string())
    return pc.binary_join_element_wise(before, pc.cast(values, pa.string()), after, empty)


def _parts(sheets: int) -> dict[str, str]:
    """What says that this is a workbook of so many sheets."""
    numbers = range(1, sheets + 1)
    kinds = {"/xl/workbook.xml": "sheet.main", "/xl/styles.xml": "styles"}
    kinds |= {f"/xl/worksheets/sheet{number}.xml": "worksheet" for number in numbers}
    overrides = "".join(
        f'<Override PartName="{part}" ContentType="{_TYPES}.{kind}+xml"/>' for part, kind in kinds.items()
    )
    listed = "".join(f'<sheet name="Sheet{number}" sheetId="{number}" r:id="rId{number}"/>' for number in numbers)
    targets = {number: ("worksheet", f"worksheets/sheet{number}.xml") for number in numbers}
    targets[sheets + 1] = ("styles", "styles.xml")
    return {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f"{overrides}</Types>",
        "_rels/.rels": _relationships({1: ("officeDocument", "xl/workbook.xml")}),
        "xl/workbook.xml": f'<workbook {_MAIN} xmlns:r="{_RELATIONSHIPS}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _relationships(targets),
        "xl/styles.xml": _STYLES,
    }


def _relationships(targets: dict[int, tuple[str, str]]) -> str:
    listed = "".join(
        f'<Relationship Id="rId{number}" Type="{_RELATIONSHIPS}/{kind}" Target="{target}"/>'
        for number, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{listed}</Relationships>'
