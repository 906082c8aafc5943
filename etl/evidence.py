"""The input lines behind a user's features: what an explanation can name for each column."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.contract import COMPOUNDS, ITEM_BLANKS, USER_EXPERIMENTS


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
    experiments, compounds = evidence.experiments, evidence.compounds
    with_one = experiments.filter(_lists_one_of(experiments["experiment_compound_ids"], ids))
    named = compounds.filter(pc.is_in(compounds[COMPOUNDS.key], pa.array(ids, pa.int64())))
    return {USER_EXPERIMENTS.file: with_one["line"], COMPOUNDS.file: named["line"]}


def _lists_one_of(texts: pa.ChunkedArray, ids: list[int]) -> pa.ChunkedArray:
    """Tell of each list whether one of the ids is in it, however that is written."""
    wanted = pa.array([str(id_) for id_ in ids] + ["-0"] * (0 in ids))
    return pa.chunked_array([_lists_one(chunk, wanted) for chunk in texts.chunks], pa.bool_())


def _lists_one(texts: pa.Array, wanted: pa.Array) -> pa.Array:
    lists = pc.split_pattern(texts, ";")
    items = pc.utf8_trim(pc.list_flatten(lists), characters=ITEM_BLANKS)
    plain = pc.replace_substring_regex(items, r"^([+]|(-))?0*([0-9]+)$", r"\2\3")
    lists_one = np.zeros(len(texts), bool)
    lists_one[pc.filter(pc.list_parent_indices(lists), pc.is_in(plain, wanted))] = True
    return pa.array(lists_one)
