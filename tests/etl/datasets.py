"""Random datasets that know what is wrong with them: every line is made together with what must become of it."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.etl.recompute import BLANKS, COLUMNS, LINE_BYTES_MAX, Rejection

Draw = Callable[[st.SearchStrategy[Any]], Any]
Row = dict[str, Any]
Fault = tuple[str | None, str, str | None]  # column, code, value


class Line(NamedTuple):
    """A line before it is written in a dialect.

    `cells` by column, or of a line that is no record, `defect`, its code; `fields` is by how many it differs from the
    header. A line that `closes_quote` begins with a quote, for one that strayed into the line before.
    """

    cells: dict[str, str]
    faults: list[Fault]
    defect: str | None = None
    fields: int = 0
    closes_quote: bool = False


class Dialect(NamedTuple):
    """How a file is written."""

    separator: str
    columns: list[str]
    spell_name: Callable[[str], str]
    quotes: str
    outside: tuple[str, str]
    inside: tuple[str, str]
    other_cell: str
    gaps: list[str]
    line_end: str
    ends_with_line_end: bool
    bom: bool
    compressed: bool


class Planted(NamedTuple):
    """A dataset's files by name, and what was planted in them; `duplicates` is a number per file."""

    files: dict[str, bytes]
    rejections: list[Rejection]
    duplicates: dict[str, int]

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


# --- cells

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
IDS = [*range(1, 10), 0, -1, -2, INT64_MIN, INT64_MIN + 1, INT64_MAX - 1, INT64_MAX, 2**53 + 1]
DATES = st.dates().map(str)
RUN_TIMES = st.integers(0, 1000).map(lambda hundredths: hundredths / 100) | st.sampled_from([1e300, 1.7e308, 2.0**-40])
PIECES = ["a", "b", "B", "é", "😀", "\u00a0", "\u0085", "\v", "\x1a", "\ufeff", "1", ";", ",", " ", "\t", '"', "'"]
PIECES += ["\n", "\r", "\r\n", "\\.", "\\N", "NULL", "{}", "%s"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map(lambda pieces: "".join(pieces).strip(BLANKS + "\n") or "a")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXTS,
    "email": TEXTS,
    "signup_date": DATES,
    "compound_name": TEXTS,
    "compound_structure": TEXTS | st.just(""),
    "experiment_run_time": RUN_TIMES,
}

NO_INTEGERS = [
    "x",
    "1.0",
    "1e3",
    "1_0",
    "0x1F",
    "\u0661",
    "--1",
    "+",
    "1 0",
    "1\n2",
    "1,0",
    "NULL",
    "\\N",
    '"',
    "é" * 250,
]
TOO_LARGE = ["9223372036854775808", "-9223372036854775809", "0009223372036854775808", "1" + "0" * 250]
NO_NUMBERS = ["long", "1,5", "1_0", "1.5.2", "1e", "e5", ".", "-", "0x10", "1 0", "1\n2", "infinit", "\u0661"]
NOT_IN_RANGE = ["-0.5", "-1e-300", "nan", "-NaN", "Inf", "-infinity", "1e309", "1e99999", "-1e99999"]
NO_ITEMS = ["x", "1.0", "9223372036854775808", "-9223372036854775809", "1 1", "1,1", "1\n1", '"', "+", "é" * 250]
NO_DATES = ["soon", "2024-02-30", "1900-02-29", "2024-1-2", "01/02/2024", "2024-01-01T00:00", "0000-01-01", "20240101"]
NO_DATES += ["10000-01-01", "2024-13-01", "2024-01-00", "-2024-01-01", "2024-01-01 (BC)", "infinity", "2024-01-\n01"]


def _faults(code: str, texts: list[str]) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(st.just(code), st.sampled_from(texts))


MISSING = st.just(("missing_value", ""))
FAULTS = {
    "id": MISSING | _faults("invalid_integer", NO_INTEGERS) | _faults("out_of_range", TOO_LARGE),
    "experiment_run_time": MISSING | _faults("invalid_number", NO_NUMBERS) | _faults("out_of_range", NOT_IN_RANGE),
    "signup_date": MISSING | _faults("invalid_date", NO_DATES),
    "name": MISSING,
    "email": MISSING,
    "compound_name": MISSING,
}
FAULTS |= dict.fromkeys(["user_id", "compound_id", "experiment_id"], FAULTS.pop("id"))


def _spellings(value: Any) -> st.SearchStrategy[str]:
    """Every way in which the same value may be written."""
    if isinstance(value, int):
        sign, digits = ("-" if value < 0 else ""), str(abs(value))
        return st.sampled_from([str(value), f"{sign or '+'}{digits}", f"{sign}00{digits}"])
    if isinstance(value, float):
        whole = [f"{value:.0f}", f"{value:.0f}."] if value.is_integer() else []
        return st.sampled_from([repr(value), *whole, f"+{value!r}", f"0{value!r}", f"{value:.17e}", f"{value:.17E}"])
    return st.just(value)


# --- lines


class Table:
    """One table as it grows line by line."""

    def __init__(self, draw: Draw, name: str) -> None:
        self.draw = draw
        self.columns = COLUMNS[name]
        self.key = self.columns[0]
        self.lines: list[Line] = []
        self.rows: list[Row] = []  # the different contents of valid lines
        self.ids: list[int] = []  # of the accepted ones
        self.duplicates = 0

    def add(self, row: Row, faults: list[Fault], *, closes_quote: bool = False) -> None:
        """Add a line that nothing is wrong with, but for items of its list or its user."""
        self.lines.append(Line(self._spelled(row), faults, closes_quote=closes_quote))
        if not any(code == "unknown_user" for _, code, _ in faults):
            self.rows.append(row)
            self.ids.append(row[self.key])

    def add_duplicate(self) -> None:
        self.lines.append(Line(self._spelled(self.draw(st.sampled_from(self.rows))), []))
        self.duplicates += 1

    def add_duplicate_key(self) -> None:
        row = self.draw(st.sampled_from(self.rows))
        column = self.draw(st.sampled_from([column for column in self.columns if column in VALUES]))
        other = row | {column: self.draw(VALUES[column])}
        if other in self.rows:
            self.lines.append(Line(self._spelled(other), []))
            self.duplicates += 1
        else:
            self.rows.append(other)
            self.lines.append(Line(self._spelled(other), [(self.key, "duplicate_key", str(row[self.key]))]))

    def add_faulty(self, row: Row) -> None:
        """The first fault of a line is told; all cells after it may be empty."""
        column = self.draw(st.sampled_from([column for column in self.columns if column in FAULTS]))
        code, text = self.draw(FAULTS[column])
        later = self.columns[self.columns.index(column) + 1 :] if self.draw(st.booleans()) else []
        cells = self._spelled(row) | {column: text} | dict.fromkeys(later, "")
        self.lines.append(Line(cells, [(column, code, text[:200] or None)]))

    def add_defect(self, code: str, fields: int = 0) -> None:
        self.lines.append(Line({}, [], defect=code, fields=fields))

    def _spelled(self, row: Row) -> dict[str, str]:
        return {column: self.draw(_spellings(value)) for column, value in row.items()}


KINDS = ["valid"] * 5 + ["duplicate", "duplicate", "duplicate_key", "duplicate_key", "faulty", "faulty"]
KINDS += ["wrong_field_count", "nul_byte", "stray_quote", "line_too_long"]


def _grow(
    draw: Draw, name: str, new: Callable[[int], tuple[Row, list[Fault]]], plain: tuple[Row, list[Fault]]
) -> Table:
    """Return a table of such lines: `new(id)` makes one, `plain` is one in which nothing is to be quoted."""
    table = Table(draw, name)
    for kind in draw(st.lists(st.sampled_from(KINDS), max_size=8)):
        match kind:
            case "duplicate" if table.rows:
                table.add_duplicate()
            case "duplicate_key" if table.rows:
                table.add_duplicate_key()
            case "faulty":
                table.add_faulty(new(draw(st.sampled_from(IDS)))[0])
            case "stray_quote":
                table.add_defect(kind)
                row, faults = plain
                table.add(row | {table.key: _id_beside(draw, table.ids)}, faults, closes_quote=True)
            case "nul_byte" | "line_too_long":
                table.add_defect(kind)
            case "wrong_field_count":
                table.add_defect(kind, draw(st.sampled_from([-1, -2, 1, 2])))
            case _:
                table.add(*new(_id_beside(draw, table.ids)))
    if draw(st.sampled_from([False, False, False, True])):
        table.add_defect("truncated", draw(st.sampled_from([-1, -2])))
    return table


def _id_beside(draw: Draw, ids: list[int]) -> int:
    id_: int = draw(st.sampled_from([id_ for id_ in IDS if id_ not in ids]))
    return id_


def _users(draw: Draw) -> Table:
    def new(id_: int) -> tuple[Row, list[Fault]]:
        return {"user_id": id_, "name": draw(TEXTS), "email": draw(TEXTS), "signup_date": draw(DATES)}, []

    return _grow(draw, "users", new, ({"name": "n", "email": "e", "signup_date": "2024-01-01"}, []))


def _compounds(draw: Draw) -> Table:
    def new(id_: int) -> tuple[Row, list[Fault]]:
        structure = draw(VALUES["compound_structure"])
        return {"compound_id": id_, "compound_name": draw(TEXTS), "compound_structure": structure}, []

    return _grow(draw, "compounds", new, ({"compound_name": "n", "compound_structure": "s"}, []))


def _experiments(draw: Draw, user_ids: list[int], compound_ids: list[int]) -> Table:
    def new(id_: int) -> tuple[Row, list[Fault]]:
        text, item_faults = _list_of_compounds(draw, compound_ids)
        user_id, faults = _user(draw, user_ids)
        row = {"experiment_id": id_, "user_id": user_id, "experiment_compound_ids": text}
        return row | {"experiment_run_time": draw(RUN_TIMES)}, faults or item_faults

    user_id, faults = _user(draw, user_ids)
    plain = {"user_id": user_id, "experiment_compound_ids": "", "experiment_run_time": 1.0}
    return _grow(draw, "user_experiments", new, (plain, faults))


def _user(draw: Draw, user_ids: list[int]) -> tuple[int, list[Fault]]:
    """Return the id of a user, and that it is unknown if it is."""
    if user_ids and draw(st.sampled_from([True, True, True, True, False])):
        return draw(st.sampled_from(user_ids)), []
    unknown = _id_beside(draw, user_ids)
    return unknown, [("user_id", "unknown_user", str(unknown))]


def _list_of_compounds(draw: Draw, compound_ids: list[int]) -> tuple[str, list[Fault]]:
    """Return a list as it is written, and what is wrong with its items."""
    column = "experiment_compound_ids"
    texts: list[str] = []
    faults: list[Fault] = []
    for kind in draw(st.lists(st.sampled_from(["known", "known", "known", "unknown", "invalid", "empty"]), max_size=5)):
        text = ""
        if kind == "known" and compound_ids:
            text = draw(_spellings(draw(st.sampled_from(compound_ids))))
        elif kind == "invalid":
            text = draw(st.sampled_from(NO_ITEMS))
            faults.append((column, "invalid_compound_id", text[:200]))
        elif kind == "empty":
            faults.append((column, "empty_compound_id", ""))
        else:
            text = draw(_spellings(_id_beside(draw, compound_ids)))
            faults.append((column, "unknown_compound", text))
        texts.append(draw(st.sampled_from(["{}", "{}", " {}", "{}\t"])).format(text))
    cell = ";".join(texts).strip(BLANKS)
    return cell, faults if cell else []


# --- files


@st.composite
def dialects(draw: Draw, name: str) -> Dialect:
    separator = draw(st.sampled_from([",", "\t"]))
    blanks = st.sampled_from(["", " ", "  "] if separator == "\t" else ["", " ", "\t"])
    inner_blanks = st.sampled_from(["", " ", "\t", "\n"])
    others = draw(st.lists(st.sampled_from(["note", "", "two words"]), max_size=2))
    return Dialect(
        separator=separator,
        columns=draw(st.permutations(COLUMNS[name] + others)),
        spell_name=draw(st.sampled_from([str, str.upper, str.title])),
        quotes=draw(st.sampled_from(["needed", "all", "some"])),
        outside=draw(st.tuples(blanks, blanks)),
        inside=draw(st.tuples(inner_blanks, inner_blanks)),
        other_cell=draw(st.sampled_from(["", "x", 'a "b"', "two\nlines", "a,b", '"'])),
        gaps=draw(st.lists(st.sampled_from(["", "\n", "  \n", "\r\n"]), min_size=1, max_size=3)),
        line_end=draw(st.sampled_from(["\n", "\r\n"])),
        ends_with_line_end=draw(st.booleans()),
        bom=draw(st.booleans()),
        compressed=draw(st.booleans()),
    )


def _written(table: Table, dialect: Dialect) -> tuple[bytes, list[tuple[int, Fault]]]:
    """Return the file's content, and each fault with the number of the line that it is on."""
    header = [dialect.spell_name(column) for column in dialect.columns]
    text = dialect.gaps[0] + dialect.separator.join(_cells(header, dialect)) + dialect.line_end
    planted: list[tuple[int, Fault]] = []
    for at, line in enumerate(table.lines, start=1):
        text += dialect.gaps[at % len(dialect.gaps)]
        number = text.count("\n") + 1
        if line.defect:
            written = _defect(line, dialect)
            planted.append((number, (None, line.defect, written.replace("\0", "\\0")[:200])))
        else:
            written = dialect.separator.join(_line(table.key, line, dialect))
            planted += [(number, fault) for fault in line.faults]
        text += written + dialect.line_end
    last = table.lines[-1] if table.lines else None
    if last and (last.defect == "truncated" or not (last.defect or dialect.ends_with_line_end)):
        text = text.removesuffix(dialect.line_end)
    return (("\ufeff" if dialect.bom else "") + text).encode(), planted


def _line(key: str, line: Line, dialect: Dialect) -> list[str]:
    if line.closes_quote:
        return [f'"{line.cells[key]}"' if column == key else line.cells.get(column, "") for column in dialect.columns]
    return _cells([line.cells.get(column, dialect.other_cell) for column in dialect.columns], dialect)


def _cells(texts: list[str], dialect: Dialect) -> list[str]:
    (left, right), (inner_left, inner_right) = dialect.outside, dialect.inside
    cells = []
    for at, text in enumerate(texts):
        needed = dialect.separator in text or "\n" in text or text.lstrip(BLANKS).startswith('"')
        if needed or dialect.quotes == "all" or (dialect.quotes == "some" and at % 2):
            doubled = text.replace('"', '""')
            text = f'"{inner_left}{doubled}{inner_right}"'
        cells.append(f"{left}{text}{right}")
    return cells


def _defect(line: Line, dialect: Dialect) -> str:
    """A line that is no record."""
    words = [str(number) for number in range(len(dialect.columns) + line.fields)]
    match line.defect:
        case "nul_byte":
            words[1] += "\0"
        case "stray_quote":
            words[1] = f'"{words[1]}'
        case "line_too_long":
            words[1] *= LINE_BYTES_MAX
    return dialect.separator.join(words)


@st.composite
def datasets(draw: Draw) -> Planted:
    users, compounds = _users(draw), _compounds(draw)
    experiments = _experiments(draw, users.ids, compounds.ids)
    planted = Planted({}, [], {})
    for name, table in (("users", users), ("compounds", compounds), ("user_experiments", experiments)):
        dialect = draw(dialects(name))
        content, faults = _written(table, dialect)
        file = f"{name}.csv"
        planted.files[f"{file}.gz" if dialect.compressed else file] = (
            gzip.compress(content, 1, mtime=0) if dialect.compressed else content
        )
        planted.rejections.extend((file, number, *fault) for number, fault in faults)
        planted.duplicates[file] = table.duplicates
    return planted
