"""The pipeline without a server: a folder with the three files -> pandas frames."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from etl import account, engines, features, pipeline
from etl.account import FileAccount
from etl.contract import FILE_BYTES_MAX, MAX_REJECTED_RATIO
from etl.engines import Engine
from etl.files import Dataset
from etl.progress import Progress, unheard

MEMORY_BYTES = 1 << 30

# pandas' own types know no null among integers.
_TYPES = {
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.string(): pd.StringDtype(),
    pa.date32(): pd.ArrowDtype(pa.date32()),
    pa.list_(pa.int64()): pd.ArrowDtype(pa.list_(pa.int64())),
}


@dataclass(frozen=True)
class Frames:
    """What a folder comes to: a row per user, one about all of them, one per rejection, and an account of each file."""

    features: pd.DataFrame
    summary: pd.DataFrame
    rejections: pd.DataFrame
    accounts: list[FileAccount]


@contextmanager
def _untold(_stage: str) -> Iterator[Progress]:
    yield unheard


def run(
    folder: str | os.PathLike[str],
    *,
    max_rejected_ratio: float = MAX_REJECTED_RATIO,
    memory_bytes: int = MEMORY_BYTES,
    on_stage: Callable[[str], AbstractContextManager[Progress]] = _untold,
) -> Frames:
    """Derive the features of the dataset in a folder.

    The columns are those of the views `user_features` and `experiment_summary` without the job's, users ascending. The
    engine takes about `memory_bytes`, and puts what does not fit into temporary files; the frames come on top. Raises
    BadInput for files that cannot be used, and for more rejections than the ratio allows.
    """
    with (
        TemporaryDirectory() as spill,
        engines.connect(
            "duckdb",
            memory_bytes=memory_bytes,
            threads=len(os.sched_getaffinity(0)),
            spill_directory=Path(spill),
        ) as engine,
    ):
        accounts = pipeline.derive(Dataset(Path(folder), FILE_BYTES_MAX), engine, max_rejected_ratio, on_stage)
        with on_stage("frames"):
            return Frames(
                _frame(engine, features.user_features, sort_by="user_id"),
                _frame(engine, features.experiment_summary),
                _frame(engine, account.rejection_rows),
                accounts,
            )


def _frame(engine: Engine, rows: Callable[[], ir.Table], *, sort_by: str | None = None) -> pd.DataFrame:
    # The engine's own types are as narrow as what it was given.
    schema = rows().schema().to_pyarrow()
    table = pa.concat_tables([schema.empty_table(), *(pa.table(batch).cast(schema) for batch in engine.stream(rows))])
    if sort_by:
        table = table.sort_by(sort_by)
    frame: pd.DataFrame = table.to_pandas(types_mapper=_TYPES.get)
    return frame
