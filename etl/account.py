"""The account of a job: what became of every line of every file."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from etl import validate
from etl.contract import TABLES, USERS, FileCode
from etl.engines import Engine
from etl.errors import BadInput
from etl.inputs import InputFile

# So many are kept of a job that fails because of them.
FIRST_REJECTIONS = 1000


@dataclass(frozen=True)
class FileAccount:
    """One file and what became of its lines: the four numbers are counted apart from each other.

    `codes` are the numbers of rejections, those of items included.
    """

    input: InputFile
    read: int
    accepted: int
    duplicate: int
    rejected: int
    codes: dict[str, int]

    @property
    def file(self) -> str:
        return self.input.snapshot.file

    def __str__(self) -> str:
        codes = "".join(f", {code} {rejections}" for code, rejections in self.codes.items())
        lines = f"{self.accepted} accepted, {self.duplicate} duplicate, {self.rejected} rejected"
        return f"{self.file}: {self.read} lines read: {lines}{codes}"

    @property
    def reconciled(self) -> bool:
        return self.read == self.accepted + self.duplicate + self.rejected

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "sha256": self.input.snapshot.sha256,
            "bytes": self.input.snapshot.size_bytes,
            "read": self.read,
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            "codes": self.codes,
            "dialect": self.input.dialect.as_json(),
        }


class TooManyRejections(BadInput):
    """More lines were rejected than the job allows; `rejections` are the first of them."""

    def __init__(self, detail: str, accounts: list[FileAccount], rejections: list[pa.RecordBatch]) -> None:
        super().__init__(FileCode.TOO_MANY_REJECTIONS, detail)
        self.accounts = accounts
        self.rejections = rejections


def take(engine: Engine, inputs: list[InputFile]) -> list[FileAccount]:
    """Return the account of each file."""
    lines = {file.snapshot.file: dict.fromkeys(("read", "accepted", "duplicate", "rejected"), 0) for file in inputs}
    for batch in engine.stream(validate.counts):
        for row in batch.to_pylist():
            lines[row["file"]][row["what"]] += row["lines"]
    codes: dict[str, dict[str, int]] = defaultdict(dict)
    for batch in engine.stream(validate.rejection_counts):
        for row in batch.to_pylist():
            codes[row["file"]][row["code"]] = row["rejections"]
    return [
        FileAccount(file, **lines[file.snapshot.file], codes=dict(sorted(codes[file.snapshot.file].items())))
        for file in inputs
    ]


def users(accounts: list[FileAccount]) -> int:
    """Return the number of users, each of whom gets a row."""
    return sum(of.accepted for of in accounts if of.file == USERS.file)


def rejections(accounts: list[FileAccount]) -> int:
    """Return the number of rejections, those of items included."""
    return sum(sum(of.codes.values()) for of in accounts)


def is_excessive(rejected: int, read: int, max_rejected_ratio: float) -> bool:
    """Tell whether more than that share of a file's lines was rejected."""
    return rejected > max_rejected_ratio * read


def refuse_rejections_above(max_rejected_ratio: float, accounts: list[FileAccount], engine: Engine) -> None:
    """Raise TooManyRejections where more than that share of a file's lines was rejected."""
    excess = [of for of in accounts if is_excessive(of.rejected, of.read, max_rejected_ratio)]
    if excess:
        detail = "; ".join(f"{of.file}: {of.rejected} of {of.read} lines rejected" for of in excess)
        raise TooManyRejections(
            f"{detail}; allowed is a share of {max_rejected_ratio:g}",
            accounts,
            list(engine.stream(_first_rejections)),
        )


def rejection_rows() -> ir.Table:
    """The rejections as they are stored and listed: by file and line, what others refer to first."""
    rejections = validate.rejections()
    place = ibis.cases(*((rejections.file == table.file, place) for place, table in enumerate(TABLES)))
    return rejections.order_by(place, "line", "code", "value")


def _first_rejections() -> ir.Table:
    return rejection_rows().limit(FIRST_REJECTIONS)
