"""The input lines behind a user's features: what an explanation can name for each column."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from etl.contract import COMPOUNDS, USER_EXPERIMENTS


@dataclass(frozen=True)
class Evidence:
    """The accepted lines that a user's row may come from.

    `user` and `compounds` have `line` and the key, `experiments` also `experiment_compound_ids` as text.
    """

    user: pa.Table
    experiments: pa.Table
    compounds: pa.Table


# A published row, one of its columns, the evidence -> per file the lines behind the column's value.
Lines = Callable[[Mapping[str, Any], str, Evidence], dict[str, pa.ChunkedArray]]


def lines_of_experiments(_row: Mapping[str, Any], _column: str, evidence: Evidence) -> dict[str, pa.ChunkedArray]:
    """All experiments of the user."""
    return {USER_EXPERIMENTS.file: evidence.experiments["line"]}


def lines_with_the_compound(row: Mapping[str, Any], column: str, evidence: Evidence) -> dict[str, pa.ChunkedArray]:
    """The user's experiments that list the compound (of several that tie, any of them), and the compound itself."""
    all_that_tie = column == "most_common_compound_ids"
    ids = row["most_common_compound_ids"] if all_that_tie else [row["most_common_compound_id"]]
    listed = rf"(^|;)[ \t\r]*({'|'.join(map(_as_written, ids))})[ \t\r]*(;|$)"
    experiments, compounds = evidence.experiments, evidence.compounds
    with_one = experiments.filter(pc.match_substring_regex(experiments["experiment_compound_ids"], listed))
    named = compounds.filter(pc.is_in(compounds[COMPOUNDS.key], pa.array(ids, pa.int64())))
    return {USER_EXPERIMENTS.file: with_one["line"], COMPOUNDS.file: named["line"]}


def _as_written(id_: int) -> str:
    """A pattern of the ways to write an id."""
    sign = "-" if id_ < 0 else "[+-]?" if id_ == 0 else "[+]?"
    return rf"{sign}0*{abs(id_)}"
