"""Tables of records: in memory while they are small, then in a file, and what is read is the same."""

from pathlib import Path

import pyarrow as pa
import pytest

from etl import stored
from etl.embedded import DuckDB
from etl.errors import Transient

SCHEMA = pa.schema([("n", pa.int64()), ("ids", pa.list_(pa.int64())), ("text", pa.string())])


def rows(start: int, count: int) -> pa.RecordBatch:
    numbers = range(start, start + count)
    return pa.record_batch([list(numbers), [[n, n + 1] for n in numbers], [f"text {n}" for n in numbers]], SCHEMA)


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "IN_MEMORY_BYTES_MAX", 100_000)


def test_a_table_that_becomes_large_has_all_its_rows(etl_engine: DuckDB) -> None:
    for name in ("first", "second", "small"):
        etl_engine.create(name, SCHEMA)
    etl_engine.append("small", rows(0, 10))
    for start in range(0, 50_000, 1_000):
        etl_engine.append("first", rows(start, 1_000))
        etl_engine.append("second", rows(start, 1_000))
    etl_engine.append("small", rows(10, 10))

    expected = pa.Table.from_batches([rows(0, 50_000)])
    for name in ("first", "second"):
        assert etl_engine.table(f"FROM {name} ORDER BY n").equals(expected)
    assert etl_engine.table("FROM small ORDER BY n").cast(SCHEMA).equals(pa.Table.from_batches([rows(0, 20)]))


def test_what_is_in_the_file_takes_no_memory(etl_engine: DuckDB) -> None:
    """Neither as rows that Arrow still holds nor as a table, whose blocks may go when there is need of room."""
    etl_engine.create("large", SCHEMA)
    for start in range(0, 1_000_000, 100_000):
        etl_engine.append("large", rows(start, 100_000))

    assert pa.total_allocated_bytes() < 2 * rows(0, 100_000).nbytes
    [in_memory] = etl_engine.table(
        "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory() WHERE tag = 'IN_MEMORY_TABLE'"
    ).column(0)
    assert in_memory.as_py() < 1 << 20
    assert etl_engine.table("SELECT count(*) FROM large").column(0).to_pylist() == [1_000_000]


@pytest.mark.parametrize("large", [2**31, -(2**31) - 1, 2**63 - 1])
def test_numbers_that_need_64_bits_get_them_from_the_first_one_on(
    large: int, etl_engine: DuckDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etl_engine._tables, "_in_memory_bytes", 1 << 20)
    etl_engine.create("growing", SCHEMA)
    appended = [
        rows(0, 1_000),
        pa.record_batch([[large], [[1]], ["in the column"]], SCHEMA),
        pa.record_batch([[7], [[1, large]], ["in the list"]], SCHEMA),
        rows(1_000, 50_000),
    ]
    for batch in appended:
        etl_engine.append("growing", batch)

    expected = pa.Table.from_batches(appended)
    assert etl_engine.table("FROM growing").sort_by("text").equals(expected.sort_by("text"))


def test_nothing_is_appended_after_an_interruption(etl_engine: DuckDB) -> None:
    etl_engine.create("large", SCHEMA)
    etl_engine.interrupt()

    with pytest.raises(Transient, match="interrupted"):
        etl_engine.append("large", rows(0, 1))


def test_the_file_is_gone_with_the_engine(tmp_path: Path) -> None:
    tmp_path.joinpath("it's a spill").mkdir()
    with DuckDB.connect(memory_bytes=1 << 28, threads=1, spill_directory=tmp_path / "it's a spill") as engine:
        engine.create("large", SCHEMA)
        engine.append("large", rows(0, 10_000))
        engine.append("large", rows(10_000, 10_000))
        assert [path.name for path in tmp_path.glob("*/*")] == ["tables.duckdb"]

    assert list(tmp_path.glob("*/*")) == []
