"""Which lines an explanation names for a compound: those that list it, however its id is written."""

import pyarrow as pa
import pytest

from etl.evidence import Evidence, lines_with_the_compound

LISTS = ["1;+2", "+-1", "-0", "-001; 7", "000", "", None, "\n3", "12;21", "1 2"]


@pytest.mark.parametrize(
    ("ids", "lines"),
    [([1], [0]), ([-1], [3]), ([0], [2, 4]), ([3], [7]), ([2], [0]), ([2, 7, 12], [0, 3, 8]), ([5], [])],
)
def test_a_list_is_named_where_one_of_its_items_is_the_id(ids: list[int], lines: list[int]) -> None:
    evidence = Evidence(
        user=pa.table({"line": [2], "user_id": [1]}),
        experiments=pa.table({"line": pa.array(range(len(LISTS))), "experiment_compound_ids": LISTS}),
        compounds=pa.table({"line": [2, 3], "compound_id": [1, 2]}),
    )
    row = {"most_common_compound_id": ids[0], "most_common_compound_ids": ids}

    named = lines_with_the_compound(row, "most_common_compound_ids", evidence)

    assert named["user_experiments.csv"].to_pylist() == lines
    assert named["compounds.csv"].to_pylist() == [id_ + 1 for id_ in ids if id_ in (1, 2)]
