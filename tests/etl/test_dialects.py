"""The same data in every listed dialect give the identical published table."""

import gzip
from pathlib import Path

import pytest

from tests.conftest import SAMPLE
from tests.etl.conftest import Service

Table = list[list[str]]


def _sample() -> dict[str, Table]:
    """The sample's cells, read in the plainest way: it has no quotes and a tab after each comma."""
    tables = {}
    for path in sorted(SAMPLE.glob("*.csv")):
        lines = path.read_text().split("\n")[1:]
        tables[path.stem] = [line.split(",\t") for line in lines]
    assert len(tables) == 3
    return tables


def _lines(table: Table, separator: str = ",", cell: str = "{}") -> list[str]:
    return [separator.join(cell.format(value) for value in row) for row in table]


def _reordered(table: Table) -> Table:
    return [row[::-1] for row in table]


def _with_extra_columns(table: Table) -> Table:
    return [["note", *table[0], "ignored"], *(["x", *row, "a b"] for row in table[1:])]


def _with_header(table: Table, change: str) -> Table:
    return [[getattr(name, change)() for name in table[0]], *table[1:]]


DIALECTS = {
    "plain commas": lambda table: "\n".join(_lines(table)) + "\n",
    "a tab after each comma, a blank first line, no final newline": lambda table: (
        "\n" + "\n".join(_lines(table, ",\t"))
    ),
    "tab-separated": lambda table: "\n".join(_lines(table, "\t")) + "\n",
    "quoted cells": lambda table: "\n".join(_lines(table, cell='"{}"')) + "\n",
    "quoted cells with a tab inside": lambda table: "\n".join(_lines(table, cell='"\t{}"')) + "\n",
    "quoted cells after a tab": lambda table: "\n".join(_lines(table, ",\t", cell='"{}"')) + "\n",
    "quoted tab-separated cells": lambda table: "\n".join(_lines(table, "\t", cell='"{}"')) + "\n",
    "a BOM": lambda table: "\ufeff" + "\n".join(_lines(table)) + "\n",
    "a BOM before a quoted header": lambda table: "\ufeff" + "\n".join(_lines(table, cell='"{}"')) + "\n",
    "CRLF": lambda table: "\r\n".join(_lines(table)) + "\r\n",
    "CRLF, a blank first line, tabs": lambda table: "\r\n" + "\r\n".join(_lines(table, ",\t")) + "\r\n",
    "no final newline": lambda table: "\n".join(_lines(table)),
    "quotes and no final newline": lambda table: "\n".join(_lines(table, cell='"{}"')),
    "blank lines between": lambda table: "\n\n  \n".join(_lines(table)) + "\n\n",
    "columns in another order": lambda table: "\n".join(_lines(_reordered(table))) + "\n",
    "extra columns": lambda table: "\n".join(_lines(_with_extra_columns(table))) + "\n",
    "names in upper case": lambda table: "\n".join(_lines(_with_header(table, "upper"))) + "\n",
    "names in title case": lambda table: "\n".join(_lines(_with_header(table, "title"))) + "\n",
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("compressed", [False, True], ids=["csv", "csv.gz"])
def test_every_dialect_gives_the_table_of_the_sample(
    dialect: str, compressed: bool, service: Service, tmp_path: Path
) -> None:
    service.run(SAMPLE)
    expected = service.features(), service.summary()
    for name, table in _sample().items():
        content = DIALECTS[dialect](table).encode()
        path = tmp_path / (f"{name}.csv.gz" if compressed else f"{name}.csv")
        path.write_bytes(gzip.compress(content) if compressed else content)

    result = service.run(tmp_path, max_rejected_ratio=0)

    assert (service.features(), service.summary()) == expected
    assert {account.file: account.read for account in result.accounts} == {
        f"{name}.csv": len(table) - 1 for name, table in _sample().items()
    }


def test_the_dialect_that_was_found_is_told(service: Service, tmp_path: Path) -> None:
    for name, table in _sample().items():
        content = "\ufeff" + "\n".join(_lines(_with_extra_columns(_with_header(table, "upper")), "\t"))
        (tmp_path / f"{name}.csv").write_text(content)

    result = service.run(tmp_path)

    [users] = [account.input.dialect for account in result.accounts if account.file == "users.csv"]
    assert (users.separator, users.bom) == ("\t", True)
    assert users.header_changes["USER_ID"] == "user_id"
    assert users.ignored_columns == ["note", "ignored"]
