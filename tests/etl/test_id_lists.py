"""Lists of ids, all cells of a block at once: against a look at each item."""

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl import id_lists
from etl.contract import ITEM_BLANKS

_PLAIN = "0|[1-9][0-9]{0,17}"
_ITEMS = ["1", "22", "333", "0", "007", "-5", "+5", "", " 1", "2 ", "x", "0x10", "1_0", "9" * 20, str(2**62)]
_LISTS = st.lists(st.sampled_from(_ITEMS), min_size=1, max_size=6).map(";".join)
_PLAIN_LISTS = st.lists(st.integers(1, 40).map(str), min_size=1, max_size=30).map(";".join)


def plain(cell: str | None) -> list[int] | None:
    """The items as numbers; None where one is none, or could be written in another way."""
    items = [item.strip(ITEM_BLANKS) for item in (cell or "").split(";")]
    return [int(item) for item in items] if all(re.fullmatch(_PLAIN, item) for item in items) else None


@given(cells=st.lists(st.none() | _LISTS.filter(lambda cell: cell.strip()) | _PLAIN_LISTS, max_size=8))
def test_lists_are_what_a_look_at_each_item_says(cells: list[str | None]) -> None:
    expected = [plain(cell) for cell in cells if cell is None or plain(cell)]

    found = id_lists.parse(pa.array(["before", *cells], pa.string()).slice(1))

    marks = [True] * len(cells) if found.plain is None else found.plain.to_pylist()
    assert marks == [cell is None or plain(cell) is not None for cell in cells]
    assert found.lists.to_pylist() == expected
    assert found.repeat.to_pylist() == [len(set(ids or [])) < len(ids or []) for ids in expected]


@pytest.mark.parametrize("beside", ["1", "01"])
def test_what_is_plain_does_not_depend_on_the_cells_beside_it(beside: str) -> None:
    largest, larger = str(10**18 - 1), str(10**18)

    found = id_lists.parse(pa.array([largest, larger, beside]))

    assert found.plain is not None
    assert found.plain.to_pylist() == [True, False, beside == "1"]


@pytest.mark.parametrize("size", [2, 16, 17, 1000])
def test_an_id_that_is_repeated_is_found_however_long_the_list(size: int) -> None:
    ids = list(map(str, range(1, size)))

    found = id_lists.parse(pa.array([";".join([*ids, "1"]), ";".join(ids), ";".join(ids)]))

    assert found.repeat.to_pylist() == [True, False, False]


def test_no_cells_are_no_lists() -> None:
    found = id_lists.parse(pa.array([], pa.string()))

    assert (len(found.lists), len(found.repeat), found.plain) == (0, 0, None)
