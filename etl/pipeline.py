"""One dataset's way from files to a published version."""

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case

from etl import account, engines, features, queries, validate
from etl.account import FileAccount
from etl.contract import TABLES
from etl.engines import Engine
from etl.extract import extract
from etl.files import Dataset, Snapshot
from etl.load import OnRows, load, load_rejections, user_rows
from etl.progress import Progress, unheard
from etl.publish import Outcome, Publication, Transaction, Version, announce, reconcile
from etl.queries import version

# A stage's name -> a context that lasts as long as the stage and tells its progress.
OnStage = Callable[[str], AbstractContextManager[Progress]]

# For a rehearsal.
_CELLS = {"integer": "1", "number": "1.5", "date": "2000-01-01", "text": "x", "id_list": "1"}

_STREAMED = (user_rows, account.rejection_rows, features.experiment_summary)


@dataclass(frozen=True)
class Result:
    """What became of each line, and what came of it all."""

    outcome: Outcome
    accounts: list[FileAccount]


# Writes the result down, in the transaction of the publication.
Finish = Callable[[Connection, Result], None]


def run(
    *,
    job_id: UUID,
    dataset: str,
    files: Dataset,
    engine: Engine,
    transaction: Transaction,
    publication: Publication,
    finish: Finish,
    max_rejected_ratio: float,
    on_stage: OnStage,
) -> None:
    """Derive a version of a dataset's features, load it, and in one transaction hand it to `publication` and `finish`.

    Raises BadInput for files that cannot be used, NotReconciled where a line went missing. A version that was loaded
    and not kept by `publication` is a partition that nothing points to.
    """
    accounts = derive(files, engine, max_rejected_ratio, on_stage)
    with on_stage("load") as progress:
        with transaction() as connection:
            load(engine, connection, job_id, _of_total(account.users(accounts), progress))
        announce(transaction)
    with transaction() as connection:
        with on_stage("publish") as progress:
            on_rows = _of_total(account.rejections(accounts), progress)
            load_rejections(engine.stream(account.rejection_rows), connection, job_id, on_rows)
            reconcile(connection, job_id, accounts)
            outcome = publication(connection, _version(job_id, dataset, accounts, engine))
        finish(connection, Result(outcome, accounts))


def derive(files: Dataset, engine: Engine, max_rejected_ratio: float, on_stage: OnStage) -> list[FileAccount]:
    """Make the tables of the features and of the rejections in the engine. Raises BadInput."""
    with on_stage("extract") as progress:
        inputs = extract(files, engine, progress)
    with on_stage("validate") as progress:
        engine.make(validate.steps, progress)
        accounts = account.take(engine, inputs)
        account.refuse_rejections_above(max_rejected_ratio, accounts, engine)
    with on_stage("derive") as progress:
        engine.make(features.steps, progress)
    return accounts


def _of_total(total: int, progress: Progress) -> OnRows:
    return lambda rows: progress(rows, total, "rows")


def rehearse(engine: Engine, directory: Path) -> None:
    """Do what run() does in the engine, on files of one line, so that imports and query plans are ready for a job.

    The files are made in `directory`.
    """
    for table in TABLES:
        line = ",".join(_CELLS[column.type] for column in table.columns)
        (directory / table.file).write_text(f"{','.join(table.column_names)}\n{line}\n")
    files = extract(Dataset(directory, 1 << 20), engine, unheard)
    engine.make(validate.steps, unheard)
    account.take(engine, files)
    engine.make(features.steps, unheard)
    for rows in _STREAMED:
        list(engine.stream(rows))


def _version(job_id: UUID, dataset: str, accounts: list[FileAccount], engine: Engine) -> Version:
    [summary] = [row for batch in engine.stream(features.experiment_summary) for row in batch.to_pylist()]
    return Version(job_id, dataset, fingerprint([of.input.snapshot for of in accounts]), summary)


def fingerprint(files: list[Snapshot]) -> str:
    """Name what a version was derived from: the content of the files, and the pipeline's own source."""
    sha256s = {file.file: file.sha256 for file in files}
    return hashlib.sha256(json.dumps([version(), sha256s], sort_keys=True).encode()).hexdigest()


def main() -> None:
    """`python -m etl.pipeline`: compile every query, to be kept (etl/queries.py)."""
    with (
        TemporaryDirectory() as directory,
        engines.connect("duckdb", memory_bytes=1 << 28, threads=1, spill_directory=Path(directory)) as engine,
    ):
        rehearse(engine, Path(directory))
    with suppress(ImportError):  # the client for Spark need not be there
        _compile("pyspark")


def _compile(dialect: str) -> None:
    for steps in (validate.steps, features.steps):
        queries.of_steps(steps, dialect)
    for rows in (validate.counts, validate.rejection_counts, *_STREAMED):
        queries.of(rows, dialect)


if __name__ == "__main__":
    main()
