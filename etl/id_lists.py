"""Lists of ids as exports write them (`3;17;4`) -> Arrow lists of numbers, for all cells of a block at once."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.contract import ITEM_BLANKS

_DIGITS_MAX = 18  # so many always fit into 64 bits
_ITEM = f"(0|[1-9][0-9]{{0,{_DIGITS_MAX - 1}}})"
_LIST = f"^{_ITEM}(;{_ITEM})*$"
_BLANKS = rf"[{ITEM_BLANKS}]*"
_ZERO, _SEPARATOR = ord("0"), ord(";")

# In longer lists a repeated id is looked for by sorting, in shorter ones by comparing the items with each other.
_SHORT_MAX = 16


class IdLists(NamedTuple):
    """The lists of the cells that `plain` marks (or of all), and whether an id occurs in one more than once.

    A cell is plain where each item is a number written in the one way that its text could be told again from: no sign,
    no leading zero, nothing missing, 18 digits at most. Blanks around items do not count; a null is a plain cell and a
    null list.
    """

    lists: pa.ListArray
    repeat: pa.BooleanArray
    plain: pa.BooleanArray | None


def parse(cells: pa.StringArray) -> IdLists:
    text = characters(cells)
    if any(blank in text for blank in ITEM_BLANKS.encode()):
        cells = pc.replace_substring_regex(cells, rf"^{_BLANKS}|{_BLANKS}$|{_BLANKS}(;){_BLANKS}", r"\1")
        text = characters(cells)
    if _are_plain(cells, text):
        try:
            found = _parsed(cells, None)
        except pa.ArrowInvalid:
            pass  # one is too large, or no number at all
        else:
            if found.lists.values.to_numpy().max(initial=0) < 10**_DIGITS_MAX:
                return found
    plain = pc.fill_null(pc.match_substring_regex(cells, _LIST), fill_value=True)
    return _parsed(cells, None) if pc.all(plain).as_py() else _parsed(cells.filter(plain), plain)


def characters(cells: pa.StringArray) -> bytes:
    """All cells' characters, one after the other."""
    _, _, content = cells.buffers()
    bounds = _bounds(cells)
    return bytes(memoryview(content)[bounds[0] : bounds[-1]]) if content else b""


def _bounds(cells: pa.StringArray | pa.ListArray) -> np.ndarray:
    return np.frombuffer(cells.buffers()[1], np.int32)[cells.offset : cells.offset + len(cells) + 1]


def _are_plain(cells: pa.StringArray, text: bytes) -> bool:
    """Tell, from a few looks at all the text, that no item is empty, signed or begins with a zero."""
    if not text:
        return True
    if b";;" in text or b";0" in text or b"-" in text:
        return False
    bounds = _bounds(cells)
    bounds = bounds[np.flatnonzero(np.diff(bounds, append=bounds[-1] + 1))] - bounds[0]  # an empty cell is a null
    edges = np.frombuffer(text, np.uint8)
    first, last = edges[bounds[:-1]], edges[bounds[1:] - 1]
    return not ((first == _ZERO) | (first == _SEPARATOR) | (last == _SEPARATOR)).any()


def _parsed(cells: pa.StringArray, plain: pa.BooleanArray | None) -> IdLists:
    lists = pc.cast(pc.split_pattern(cells, ";"), pa.list_(pa.int64()))
    return IdLists(lists, _repeat(lists), plain)


def _repeat(lists: pa.ListArray) -> pa.BooleanArray:
    """Tell of each list whether an id occurs in it more than once."""
    bounds = _bounds(lists)
    sizes = np.diff(bounds)
    ids = lists.values.to_numpy()[bounds[0] : bounds[-1]]
    of_list = np.repeat(np.arange(len(lists), dtype=np.int32), sizes)
    repeat = np.zeros(len(lists), bool)
    if sizes.max(initial=0) > _SHORT_MAX:
        order = np.lexsort((ids, of_list))
        ids, distances = ids[order], range(1, 2)
    else:
        distances = range(1, sizes.max(initial=0))
    for distance in distances:
        again = (ids[distance:] == ids[:-distance]) & (of_list[distance:] == of_list[:-distance])
        repeat[of_list[distance:][again]] = True
    return pa.array(repeat)
