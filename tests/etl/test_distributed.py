"""Files read by many tasks: what comes of them is what one reader makes of the whole, wherever the file is cut."""

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl import distributed, executors, inputs, ranges
from etl.embedded import DuckDB
from etl.errors import BadInput
from etl.executors import Blind, Task
from etl.inputs import InputFile
from etl.progress import unheard
from tests.etl.conftest import dataset_in, write

USERS = "user_id,name,email,signup_date\n"


def run_here(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Do tasks in this process; what they are told goes through JSON, as on a cluster."""
    return [json.loads(json.dumps(executors.outcome(task))) for task in tasks]


def by_many(
    folder: Path, run: distributed.Run = run_here
) -> tuple[list[InputFile], dict[str, list[dict[str, Any]]], int]:
    """Read with tasks: the files, the rows of each table, and the most Parquet files that a table has."""
    output = folder.with_name(f"{folder.name}-output")
    output.mkdir(exist_ok=True)
    records = distributed.read(dataset_in(folder), output, run)
    rows = {
        name: pa.concat_tables([pq.read_table(path) for path in paths]).sort_by("line").to_pylist()
        for name, paths in records.written.items()
    }
    return records.files, rows, max(map(len, records.written.values()), default=0)


def by_one(folder: Path, engine: DuckDB) -> tuple[list[InputFile], dict[str, list[dict[str, Any]]]]:
    files = engine.read(dataset_in(folder), unheard)
    names = [name for name in inputs.schemas() if name != "unordered"]
    rows = {name: engine.table(f"FROM {name} ORDER BY line").to_pylist() for name in names}
    return files, {name: of for name, of in rows.items() if of}


def _as_text(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, str]]]:
    """Which way a record was read depends on its neighbours in the block."""
    texts: dict[str, list[dict[str, str]]] = defaultdict(list)
    for name, of_name in rows.items():
        texts[name.partition("_")[2]] += [{key: str(value) for key, value in row.items()} for row in of_name]
    return {name: sorted(of_name, key=lambda row: int(row["line"])) for name, of_name in texts.items()}


@pytest.mark.parametrize("range_bytes", [1, 7, 64, 1000, 1 << 20])
@pytest.mark.parametrize(
    "users",
    [
        USERS + "".join(f"{n},n{n},e,2024-01-01\n" for n in range(1, 60)),
        USERS + "".join(f"{n},n{n},e,2024-01-01\n" for n in (3, 2, 1, 1)),
        USERS.replace("\n", "\r\n") + "1,é,e,2024-01-01\r\n\r\n\r\n2,n,e,2024-01-0x\r\n3,n\r\n4,n,e",
        "\n\n \n" + USERS + "1,n,e,2024-01-01\n" * 9,
        "\ufeff" + USERS + "1,\ufeffn,e,2024-01-01\n\n\n\n\n\n2,n,e,2024-01-01",
        USERS + "1,n,e,2024-01-01\n" * 3 + "2,a\0b,e,2024-01-01\n" + "3,n,e,2024-01-01\n" * 3,
        USERS + f"1,n,e,2024-01-01\n2,{'x' * (1 << 20)},e,2024-01-01\n3,n,e,2024-01-01\n",
        USERS + '1,n,e,2024-01-01\n2,"two\nlines",e,2024-01-01\n3,n,e,2024-01-01\n',
        USERS + '1,n,e,2024-01-01\n2,"Bob,e,2024-01-01\n3,n,e,2024-01-01\n"4",n,e,2024-01-01\n',
        USERS,
    ],
)
def test_many_read_what_one_reads(
    users: str, range_bytes: int, tmp_path: Path, etl_engine: DuckDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "dataset", users=users)
    monkeypatch.setattr(ranges, "RANGE_BYTES", max(range_bytes, len(users) >> 10))  # not a million ranges

    files, rows, most = by_many(folder)
    files_of_one, rows_of_one = by_one(folder, etl_engine)

    assert [(file.snapshot, file.dialect) for file in files] == [(file.snapshot, file.dialect) for file in files_of_one]
    assert _as_text(rows) == _as_text(rows_of_one)
    if not rows.get("raw_users") and not rows_of_one.get("raw_users"):
        assert files == files_of_one, "and the keys increase or do not"
    if range_bytes == 64 and users.startswith(USERS + "1,n1,"):
        assert most > 10, "the file is cut"


@pytest.mark.parametrize(
    ("users", "code"),
    [
        ("", "empty_file"),
        ("user_id,name\n1,n\n" * 20, "missing_column"),
        ("\n\n \n\ufeff" + USERS, "missing_column"),
        (USERS + "1,n,e,2024-01-01\n" * 20 + '2,"n' + "x\n" * (1 << 20), "unterminated_quote"),
    ],
)
def test_what_one_refuses_many_refuse_with_the_same_words(
    users: str, code: str, tmp_path: Path, etl_engine: DuckDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 50)
    folder = write(tmp_path / "dataset", users=users)
    with pytest.raises(BadInput) as of_one:
        by_one(folder, etl_engine)

    with pytest.raises(BadInput) as of_many:
        by_many(folder)

    assert (of_many.value.code, of_many.value.detail) == (of_one.value.code, of_one.value.detail)
    assert of_many.value.code == code


def test_of_two_things_wrong_the_first_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 50)
    folder = write(tmp_path / "dataset")
    lines = [USERS.encode(), *(b"1,n,e,2024-01-01\n" for _ in range(30))]
    lines[10] = lines[25] = b"1,\xff,e,2024-01-01\n"
    (folder / "users.csv").write_bytes(b"".join(lines))

    with pytest.raises(BadInput, match=f"byte offset {sum(map(len, lines[:10])) + 2} "):
        by_many(folder)


def test_a_compressed_file_is_read_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 10)
    folder = write(tmp_path / "dataset")
    (folder / "users.csv").unlink()
    (folder / "users.csv.gz").write_bytes(gzip.compress((USERS + "1,n,e,2024-01-01\n" * 50).encode()))

    _, rows, _ = by_many(folder)

    assert len(rows["typed_users"]) == 50


def _grow(path: Path) -> None:
    with path.open("a") as file:
        file.write("9,x,y,2024-01-01\n")


def _overwrite(path: Path) -> None:
    before = path.stat()
    content = path.read_text()
    with path.open("r+") as file:
        file.write(content.replace("7,n7,", "7,n\n,"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [_grow, _overwrite, lambda path: os.truncate(path, 300)])
@pytest.mark.parametrize("kind", [executors.LookAt, executors.Read])
def test_a_file_that_changes_between_the_tasks_is_refused(
    change: Callable[[Path], object], kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last task of that kind; what grows then is for the look at the end, which compares the whole files."""
    monkeypatch.setattr(ranges, "RANGE_BYTES", 64)
    folder = write(tmp_path / "dataset", users=USERS + "".join(f"{n},n{n},e,2024-01-01\n" for n in range(1, 60)))

    def run(tasks: Sequence[Task]) -> list[dict[str, Any]]:
        done: list[dict[str, Any]] = []
        last = max((at for at, task in enumerate(tasks) if isinstance(task, kind)), default=None)
        for at, task in enumerate(tasks):
            done += run_here([task])
            if at == last:
                change(folder / "users.csv")
        return done

    def read() -> None:
        files, _, _ = by_many(folder, run)
        dataset_in(folder).refuse_changes([file.snapshot for file in files])

    with pytest.raises(BadInput) as refused:
        read()

    assert refused.value.code == "input_changed"


def test_who_does_not_see_the_directories_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path / "dataset")
    blind: list[Task] = [executors.Read(executors.Place(str(folder), 1 << 30, "users", str(tmp_path / "nowhere")))]

    with pytest.raises(Blind, match=r"there is no .*/nowhere"):
        executors.result_of(run_here(blind)[0])
