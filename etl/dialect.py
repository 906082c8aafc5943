"""How a file is written: found from its header."""

import codecs
from dataclasses import asdict, dataclass
from typing import NamedTuple

from etl.contract import LINE_BYTES_MAX, FileCode, Table
from etl.errors import BadInput
from etl.lines import Lines
from etl.tokenizer import OpenQuote, Record, Tokenizer

SEPARATORS = (",", "\t")


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    `header_changes` maps header cells as written to the contract's name where the two differ; `ignored_columns` are
    those that the contract does not know.
    """

    separator: str
    bom: bool
    header_changes: dict[str, str]
    ignored_columns: list[str]
    encoding: str = "utf-8"

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Header(NamedTuple):
    """The dialect and the names of all columns in the file's order, in the contract's spelling."""

    dialect: Dialect
    columns: list[str]


def read_header(name: str, table: Table, lines: Lines) -> tuple[Header | None, Lines]:
    """Take the header off `lines`, the file's first ones; it is None where all of them are blank.

    The separator is the one under which more of the contract's columns are found; under the other one a quote may well
    seem to be open. Raises BadInput: `missing_column`, `duplicate_column`, `unterminated_quote`.
    """
    bom = lines.content.startswith(codecs.BOM_UTF8)
    text = lines.content.removeprefix(codecs.BOM_UTF8).decode()
    candidates = [(separator, _first_record(text, lines.line, separator)) for separator in SEPARATORS]
    separator, record = max(candidates, key=lambda candidate: _found(candidate[1], table))
    if isinstance(record, OpenQuote):
        raise unterminated_quote(name, record.line) from record
    if not record:
        return None, Lines(lines.line + text.count("\n"), b"")
    columns = [cell.casefold() for cell in record.cells]
    _check(name, table, record.line, columns)
    dialect = Dialect(
        separator=separator,
        bom=bom,
        header_changes={cell: column for cell, column in zip(record.cells, columns, strict=True) if cell != column},
        ignored_columns=[column for column in columns if column not in table.column_names],
    )
    rest = Lines(lines.line + text.count("\n", 0, record.end), text[record.end :].encode())
    return Header(dialect, columns), rest


def unterminated_quote(name: str, line: int) -> BadInput:
    return BadInput(
        FileCode.UNTERMINATED_QUOTE,
        f"{name} line {line}: a quote is opened and not closed within {LINE_BYTES_MAX} bytes",
    )


def _first_record(text: str, line: int, separator: str) -> Record | OpenQuote | None:
    try:
        return next(Tokenizer(separator).records(text, line), None)
    except OpenQuote as error:
        return error


def _found(record: Record | OpenQuote | None, table: Table) -> int:
    return (
        len({cell.casefold() for cell in record.cells} & set(table.column_names)) if isinstance(record, Record) else 0
    )


def _check(name: str, table: Table, line: int, columns: list[str]) -> None:
    for column in table.column_names:
        if columns.count(column) != 1:
            twice = column in columns
            raise BadInput(
                FileCode.DUPLICATE_COLUMN if twice else FileCode.MISSING_COLUMN,
                f"{name} line {line}, column {column}: {'occurs twice' if twice else 'is missing'}; "
                f"the columns of the contract are {', '.join(table.column_names)}",
            )
