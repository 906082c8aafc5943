"""The account of a job: what became of every line of every file."""

from dataclasses import dataclass

from etl import validate
from etl.contract import TABLES, FileCode
from etl.engines import Engine
from etl.errors import BadInput


@dataclass(frozen=True)
class FileAccount:
    """Lines of one file. The four numbers are counted apart from each other."""

    file: str
    read: int
    accepted: int
    duplicate: int
    rejected: int

    @property
    def reconciled(self) -> bool:
        return self.read == self.accepted + self.duplicate + self.rejected


def take(engine: Engine) -> list[FileAccount]:
    """Return the account of each file, in the contract's order; an engine keeps none."""
    rows = {row["file"]: row for batch in engine.stream(validate.counts) for row in batch.to_pylist()}
    return [FileAccount(**rows[table.file]) for table in TABLES]


def refuse_rejections_above(max_rejected_ratio: float, accounts: list[FileAccount]) -> None:
    """Raise BadInput (`too_many_rejections`) where more than that share of a file's lines was rejected."""
    excess = [account for account in accounts if account.rejected > max_rejected_ratio * account.read]
    if excess:
        detail = "; ".join(f"{account.file}: {account.rejected} of {account.read} lines rejected" for account in excess)
        raise BadInput(FileCode.TOO_MANY_REJECTIONS, f"{detail}; allowed is a share of {max_rejected_ratio:g}")
