"""Which input lines are behind a user's numbers: found by reading the dataset's files once more.

`python -m etl.explain` reads a Question and writes the explanation, or `{"error": {"code", "detail"}}`, all as JSON:
who asks need not hold in memory what only this needs.
"""

import itertools
import json
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.contract import COMPOUNDS, USER_EXPERIMENTS, USERS, FileCode, LineCode, Table
from etl.errors import BadInput
from etl.evidence import Evidence
from etl.features import USER_CATALOGUE
from etl.files import Dataset
from etl.reader import Reader

LINES_MAX = 1000

# Column -> the lines behind its value: {"file", "count", "lines"}, the latter at most LINES_MAX.
Explanation = dict[str, list[dict[str, Any]]]

_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,19})")


@dataclass(frozen=True)
class Question:
    """A user's published row, and what its job read (sha256 per file) and rejected (file, code, lines)."""

    directory: str
    file_bytes_max: int
    sha256s: dict[str, str]
    rejected_lines: list[tuple[str, str, list[int]]]
    row: dict[str, Any]

    def rejected(self, table: Table, codes: Collection[str]) -> pa.Array:
        """The lines of a file that were rejected with one of these codes."""
        found = [lines for file, code, lines in self.rejected_lines if file == table.file and code in codes]
        return pa.array(itertools.chain(*found), pa.int64())


def explain(question: Question) -> Explanation:
    """Name the lines behind each column of the row.

    Raises BadInput (`input_changed`) where the files are not those that the job read.
    """
    user_id = question.row[USERS.key]
    evidence = Evidence(
        user=_accepted_lines(question, USERS, user_id),
        experiments=_accepted_lines(question, USER_EXPERIMENTS, user_id),
        compounds=_accepted_lines(question, COMPOUNDS),
    )
    explanation = {name: [_told(USERS.file, evidence.user["line"])] for name in USERS.column_names}
    for feature in USER_CATALOGUE.features:
        for name in feature.columns:
            lines = feature.lines(question.row, name, evidence) if question.row[name] is not None else {}
            explanation[name] = [_told(file, numbers) for file, numbers in lines.items()]
    return explanation


def _told(file: str, lines: pa.ChunkedArray) -> dict[str, Any]:
    return {"file": file, "count": len(lines), "lines": lines.slice(0, LINES_MAX).to_pylist()}


def _accepted_lines(question: Question, table: Table, user_id: int | None = None) -> pa.Table:
    """Return the accepted records of the user, or all: `line`, the key, and lists as text."""
    dataset = Dataset(Path(question.directory), question.file_bytes_max)
    try:
        with dataset.open(table) as source:
            blocks = [
                _records(batch, table, user_id)
                for block in Reader(source).blocks()
                for batch in (block.typed, block.text)
                if len(batch)
            ]
            sha256 = source.snapshot.sha256
    except BadInput as error:
        raise _changed(table) from error
    if sha256 != question.sha256s[table.file]:
        raise _changed(table)
    found = pa.concat_tables([_schema(table).empty_table(), *blocks]).sort_by("line")
    repeats = {LineCode.DUPLICATE_KEY}
    found = _without(found, question.rejected(table, set(LineCode) - repeats))
    # What follows the first line of a key is a duplicate, also where that line was itself refused for its key.
    _, first = np.unique(found[table.key].to_numpy(), return_index=True)
    return _without(found.take(pa.array(np.sort(first))), question.rejected(table, repeats))


def _without(records: pa.Table, lines: pa.Array) -> pa.Table:
    return records.filter(pc.invert(pc.is_in(records["line"], lines)))


def _schema(table: Table) -> pa.Schema:
    lists = [(column.name, pa.string()) for column in table.columns if column.type == "id_list"]
    return pa.schema([("line", pa.int64()), *lists, (table.key, pa.int64())])


def _records(batch: pa.RecordBatch, table: Table, user_id: int | None) -> pa.Table:
    records = pa.Table.from_batches([batch])
    if user_id is not None:
        records = records.filter(pc.equal(_integers(records["user_id"]), user_id))
    keys = _integers(records[table.key])
    others = [name for name in _schema(table).names if name != table.key]
    columns = [*(_lists_as_text(records[name]) for name in others), keys]
    return pa.table(columns, schema=_schema(table)).filter(keys.is_valid())


def _lists_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_list(column.type):
        return column
    texts = pa.list_(pa.string())
    return pa.chunked_array([pc.binary_join(pc.cast(chunk, texts), ";") for chunk in column.chunks], pa.string())


def _integers(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """The cells as numbers; null where a cell of text is none."""
    if cells.type == pa.int64():
        return cells
    return pa.chunked_array([pa.array(map(_integer, cells.to_pylist()), pa.int64())])


def _integer(cell: str | None) -> int | None:
    match = _INTEGER.fullmatch(cell or "")
    number = int(match[1] + match[2]) if match else None
    return number if number is not None and -(1 << 63) <= number < 1 << 63 else None


def _changed(table: Table) -> BadInput:
    return BadInput(FileCode.INPUT_CHANGED, f"{table.file}: the file is not any more the one that the job read")


def main() -> None:
    question = Question(**json.load(sys.stdin))
    try:
        answer: dict[str, Any] = explain(question)
    except BadInput as error:
        answer = {"error": {"code": error.code, "detail": error.detail}}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
