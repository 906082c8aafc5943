"""Cells, line numbers and defects, in every way in which a file can be cut into blocks."""

from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from etl import files
from etl.arrow import ArrowParser, Parsed
from etl.contract import USERS
from etl.dialect import Dialect
from etl.errors import BadInput
from etl.lines import Lines
from etl.reader import Reader
from tests.etl.conftest import dataset_in, write

HEADER = "user_id,name,email,signup_date\n"

Rows = list[tuple[int | str | None, ...]]


class Read(NamedTuple):
    rows: Rows
    defects: list[tuple[int, str, str]]
    dialect: Dialect


class NoArrow(ArrowParser):
    """Cannot read anything."""

    def typed(self, lines: Lines) -> Parsed | None:  # noqa: ARG002
        return None

    def text(self, lines: Lines) -> Parsed | None:  # noqa: ARG002
        return None


class ExactReader(Reader):
    """Takes the tokenizer's way for every block."""

    def _read_header(self, lines: Lines) -> Lines:
        rest = super()._read_header(lines)
        if self._header:
            self._arrow = NoArrow(self._table, self._header, self.dialect.separator)
        return rest


def read(folder: Path, content: str | bytes, reader_class: type[Reader] = Reader) -> Read:
    (folder / "users.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    with dataset_in(folder).open(USERS) as source:
        reader = reader_class(source)
        rows: Rows = []
        defects = []
        for block in reader.blocks():
            rows += [tuple(row.values()) for batch in (block.typed, block.text) for row in batch.to_pylist()]
            defects += [(defect.line, str(defect.code), defect.value) for defect in block.defects]
    return Read(rows, defects, reader.dialect)


@pytest.fixture(params=[Reader, ExactReader], ids=["arrow", "tokenizer"])
def reader_class(request: pytest.FixtureRequest) -> type[Reader]:
    chosen: type[Reader] = request.param
    return chosen


def test_lines_are_numbered_as_an_editor_numbers_them(reader_class: type[Reader], tmp_path: Path) -> None:
    content = "\n" + HEADER + '1,a,b,c\n\n  \n2,"x\ny",b,c\r\n3,a,b,c\n\n\n4,a,b,c'

    rows = read(tmp_path, content, reader_class).rows

    assert rows == [
        (3, "1", "a", "b", "c"),
        (6, "2", "x\ny", "b", "c"),
        (8, "3", "a", "b", "c"),
        (11, "4", "a", "b", "c"),
    ]


def test_a_quoted_cell_may_hold_separators_quotes_and_blanks(reader_class: type[Reader], tmp_path: Path) -> None:
    content = HEADER + '1, "Doe, Jane" ,\t"say ""hi""","\t x"\n2,5" tall,a"b,"c"d\n'

    rows = read(tmp_path, content, reader_class).rows

    assert rows == [(2, "1", "Doe, Jane", 'say "hi"', "x"), (3, "2", '5" tall', 'a"b', "cd")]


def test_a_stray_quote_costs_its_own_line_and_no_other(reader_class: type[Reader], tmp_path: Path) -> None:
    lines = ["1,a,b,c", '2,"Bob,b,c', "3,a,b,c", "4,a,b,c", '5,"Em",b,c', "6,a,b,c"]

    found = read(tmp_path, HEADER + "\n".join(lines) + "\n", reader_class)

    assert found.defects == [(3, "stray_quote", '2,"Bob,b,c')]
    assert [row[1] for row in found.rows] == ["1", "3", "4", "5", "6"]
    assert [row[0] for row in found.rows] == [2, 4, 5, 6, 7]


def test_a_line_with_another_number_of_fields_is_a_defect(reader_class: type[Reader], tmp_path: Path) -> None:
    found = read(tmp_path, HEADER + "1,a,b,c\n2,a\n3,a,b,c,d\n4,a,b,c\n", reader_class)

    assert [row[0] for row in found.rows] == [2, 5]
    assert found.defects == [(3, "wrong_field_count", "2,a"), (4, "wrong_field_count", "3,a,b,c,d")]


def test_a_last_line_that_breaks_off_is_truncated(reader_class: type[Reader], tmp_path: Path) -> None:
    assert read(tmp_path, HEADER + "1,a,b,c\n2,a", reader_class).defects == [(3, "truncated", "2,a")]
    assert read(tmp_path, HEADER + "1,a,b,c\n2,a\n", reader_class).defects == [(3, "wrong_field_count", "2,a")]


def test_a_nul_byte_is_a_defect(reader_class: type[Reader], tmp_path: Path) -> None:
    found = read(tmp_path, HEADER + "1,a\0b,c,d\n2,a,b,c\n", reader_class)

    assert found.defects == [(2, "nul_byte", "1,a\\0b,c,d")]
    assert [row[0] for row in found.rows] == [3]


def test_a_line_that_is_too_long_is_a_defect_and_the_next_one_counts(
    reader_class: type[Reader], tmp_path: Path
) -> None:
    long_line = "2," + "x" * (9 << 20) + ",b,c\n"  # longer than two blocks, so it is never in memory as a whole
    found = read(tmp_path, HEADER + "1,a,b,c\n" + long_line + "3,a,b,c\n" + "4," + "y" * (2 << 20), reader_class)

    assert [(line, code) for line, code, _ in found.defects] == [(3, "line_too_long"), (5, "line_too_long")]
    assert all(len(value) == 200 for _, _, value in found.defects)
    assert [row[0] for row in found.rows] == [2, 4]


@pytest.mark.parametrize(
    ("content", "code", "detail"),
    [
        ("", "empty_file", "users.csv"),
        ("\n \n", "empty_file", "users.csv"),
        ("user_id,name,signup_date\n", "missing_column", "line 1, column email"),
        ("\nuser_id,name,email,signup_date,Name\n", "duplicate_column", "line 2, column name"),
        (HEADER + '1,a,b,c\n2,"a,b,c\n', "unterminated_quote", "line 3"),
        (HEADER + '1,a,b,c\n2,"a,b,c\n' + "x,y,z\n" * 500_000, "unterminated_quote", "line 3"),
        ('user_id,"name,email\n', "unterminated_quote", "line 1"),
        (HEADER.encode("utf-16"), "encoding", "byte offset 0"),
        (HEADER.encode() + b"1,a,b,\xff\n", "encoding", f"byte offset {len(HEADER) + 6}"),
        (HEADER.encode() + b"1,a,b,c\n" * 700_000 + b"\xc3(", "encoding", f"byte offset {len(HEADER) + 5_600_000}"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(
    content: str | bytes, code: str, detail: str, reader_class: type[Reader], tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as refused:
        read(tmp_path, content, reader_class)

    assert refused.value.code == code
    assert detail in refused.value.detail


CELL = st.text(alphabet='ab ,;"\t\n\r\0é€', max_size=6)
PLAIN = st.text(alphabet="abé 1;", max_size=6)
LINE = st.lists(CELL | PLAIN, min_size=1, max_size=5).map(",".join) | st.lists(PLAIN, min_size=4, max_size=4).map(
    ",".join
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, max_size=8), end=st.sampled_from(["\n", "\r\n", ""]), block=st.integers(1, 64))
@example(lines=['1,a"b,c,d', '4,a,b,"ab', "c,d"], end="\n", block=20)
@example(lines=['1,a,b,"c', ""], end="\n", block=44)
@example(lines=["", '""', " ", '" "'], end="\n", block=64)
def test_both_ways_of_reading_agree_whatever_the_block_size(
    lines: list[str], end: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = HEADER + (end or "\n").join(lines) + end

    def outcome(reader_class: type[Reader], read_bytes: int) -> Read | str:
        monkeypatch.setattr(files, "READ_BYTES", read_bytes)
        try:
            return read(tmp_path, content, reader_class)
        except BadInput as error:
            return error.code

    expected = outcome(ExactReader, 1 << 20)
    assert outcome(Reader, 1 << 20) == expected
    assert outcome(Reader, block) == expected


@pytest.mark.parametrize("name", ["as_given", "with_crlf", "quoted", "with_extra_columns"])
def test_clean_lines_are_converted_while_they_are_parsed(name: str, tmp_path: Path) -> None:
    lines = {
        "as_given": [HEADER[:-1], *(f"{n},\tn,\te@x.org,\t2024-01-01" for n in range(9))],
        "with_crlf": [HEADER[:-1] + "\r", *(f"{n},n,e,2024-01-01\r" for n in range(9))],
        "quoted": [HEADER[:-1], *(f'"{n}","a, b","e","2024-01-01"' for n in range(9))],
        "with_extra_columns": ["x,email,user_id,name,signup_date", *(f",e,{n},n,2024-01-01" for n in range(9))],
    }[name]

    with dataset_in(write(tmp_path, users="\n".join(lines) + "\n")).open(USERS) as source:
        reader = Reader(source)
        blocks = list(reader.blocks())

    assert [len(block.text) for block in blocks] == [0]
    assert reader.keys_increase
    assert blocks[0].typed["user_id"].to_pylist() == list(range(9))


def test_a_wrong_cell_takes_only_its_neighbours_off_the_fast_way(tmp_path: Path) -> None:
    lines = [f"{n},name of a user,mail@example.org,2024-01-01" for n in range(50_000)]
    lines[25_000] = "x" + lines[25_000]

    with dataset_in(write(tmp_path, users=HEADER + "\n".join(lines))).open(USERS) as source:
        reader = Reader(source)
        blocks = list(reader.blocks())

    as_text = [block.text for block in blocks if len(block.text)]
    assert sum(len(block.typed) + len(block.text) for block in blocks) == 50_000
    assert len(as_text) == 1
    assert len(as_text[0]) < 3_000
    assert not reader.keys_increase


@pytest.mark.parametrize(("ids", "increase"), [([1, 2, 9], True), ([1, 1, 2], False), ([2, 1], False), ([], True)])
def test_keys_that_increase_are_recognized_across_blocks(
    ids: list[int], increase: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in (1 << 20, 16):
        monkeypatch.setattr(files, "READ_BYTES", block)
        content = HEADER + "".join(f"{n},n,e,2024-01-01\n" for n in ids)
        with dataset_in(write(tmp_path, users=content)).open(USERS) as source:
            reader = Reader(source)
            list(reader.blocks())

        assert reader.keys_increase == increase


def test_what_is_hashed_is_what_was_read(tmp_path: Path) -> None:
    write(tmp_path, users=HEADER + "1,a,b,c\n")

    with dataset_in(tmp_path).open(USERS) as source:
        list(Reader(source).blocks())

        assert source.snapshot == dataset_in(tmp_path).snapshots()[0]
        assert source.snapshot.size_bytes == len(HEADER) + 8
