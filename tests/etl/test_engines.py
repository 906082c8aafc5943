"""The embedded engine: what it may touch, and that it streams."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pytest

from etl import embedded, engines
from etl.embedded import DuckDB
from etl.inputs import BATCH_ROWS
from etl.progress import unheard
from etl.validate import Step

# The last one: without access, what looks like a path is the name of a table.
_REFUSED = "disabled (by|through) configuration|configuration has been locked|Table with name /etc/passwd does not"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_json('/etc/passwd')",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
        "CREATE TABLE lines (line TEXT); COPY lines FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/OUT-out.csv'",
        "COPY (SELECT 1) TO '/tmp/OUT-out.parquet' (FORMAT parquet)",
        "EXPORT DATABASE '/tmp/OUT-out'",
        "IMPORT DATABASE '/tmp/OUT-out'",
        "ATTACH '/tmp/OUT.duckdb'",
        "ATTACH '/etc/passwd' AS stolen (READ_ONLY)",
        "INSTALL httpfs",
        "INSTALL '/tmp/OUT.duckdb_extension'",
        "FORCE INSTALL httpfs FROM 'http://127.0.0.1:9'",
        "LOAD httpfs",
        "LOAD '/tmp/OUT.duckdb_extension'",
        "UPDATE EXTENSIONS",
        "CREATE PERSISTENT SECRET s (TYPE http)",
        "SET enable_external_access = true",
        "SET GLOBAL enable_external_access = true",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "PRAGMA enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET temp_directory = '/tmp/OUT-spill'",
        "SET extension_directory = '/tmp'",
        "SET home_directory = '/tmp'",
        "SET log_query_path = '/tmp/OUT.log'",
        "SET allow_unsigned_extensions = true",
        "SET memory_limit = '100GB'",
        "SET threads = 100",
        "PRAGMA enable_profiling = 'json'; PRAGMA profiling_output = '/tmp/OUT.json'",
    ],
)
def test_the_engine_opens_nothing_and_cannot_be_reconfigured(query: str, etl_engine: DuckDB, tmp_path: Path) -> None:
    with pytest.raises(duckdb.Error, match=_REFUSED):
        etl_engine._connection.execute(query.replace("/tmp/", f"{tmp_path}/"))

    assert list(tmp_path.glob("OUT*")) == []


def test_steps_are_made_in_order_and_rows_stream_in_batches(etl_engine: DuckDB) -> None:
    schema = pa.schema([("n", pa.int64())])
    etl_engine.create("numbers", schema)
    for start in range(0, 250_000, 50_000):
        etl_engine.append("numbers", pa.record_batch([pa.array(range(start, start + 50_000))], schema=schema))

    def steps() -> Iterator[Step]:
        numbers = ibis.table({"n": "int64"}, name="numbers")
        yield Step("doubled", numbers.select(n=numbers.n * 2))
        yield Step("halved", ibis.table({"n": "int64"}, name="doubled").mutate(n=ibis._.n / 2), is_view=True)

    def halved() -> ir.Table:
        return ibis.table({"n": "float64"}, name="halved")

    etl_engine.make(steps, unheard)
    batches = list(etl_engine.stream(halved))

    assert sum(len(batch) for batch in batches) == 250_000
    assert max(len(batch) for batch in batches) <= 2 * BATCH_ROWS


def test_progress_is_told_while_a_step_is_made(etl_engine: DuckDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "FEW_ROWS", 0)
    monkeypatch.setattr(embedded, "_LOOK_S", 0.01)
    schema = pa.schema([("n", pa.int64())])
    etl_engine.create("numbers", schema)
    etl_engine.append("numbers", pa.table([pa.array(range(2_000))], schema=schema))
    told: list[tuple[int, int, str]] = []

    def steps() -> Iterator[Step]:
        numbers = ibis.table({"n": "int64"}, name="numbers")
        yield Step("few", numbers.limit(10))
        yield Step("pairs", numbers.cross_join(numbers.view()).cross_join(numbers.limit(20).select(m="n")).distinct())

    etl_engine.make(steps, lambda *progress: told.append(progress))

    assert told == sorted(told)
    assert told[-1] == (2_000, 2_000, "lines")
    assert [done for done, _, _ in told if 1_000 < done < 2_000] != []


def test_what_is_made_per_user_has_every_user_once(etl_engine: DuckDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SLICE_USERS", 100)
    schema = pa.schema([("user_id", pa.int64())])
    ids = [-(2**63), *range(-500, 500), 2**63 - 1]
    etl_engine.create("clean_users", schema)
    etl_engine.append("clean_users", pa.table([ids], schema=schema))

    def user_rows() -> ir.Table:
        return ibis.table({"user_id": "int64"}, name="clean_users")

    batches = list(etl_engine.stream(user_rows))

    assert sorted(pa.Table.from_batches(batches).column(0).to_pylist()) == ids
    assert len(batches) > 8
    assert max(map(len, batches)) < 300


def test_what_does_not_fit_is_spilled_where_the_engine_was_told(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    with DuckDB.connect(memory_bytes=48 << 20, threads=1, spill_directory=spill) as engine:
        engine._connection.execute("CREATE TABLE t AS SELECT i, md5(i::varchar) AS m FROM range(2000000) AS r (i)")
        engine._connection.execute("CREATE TABLE s AS FROM t ORDER BY m")

        assert sum(path.stat().st_size for path in spill.rglob("*")) > 1 << 20


def test_nothing_but_the_spill_directory_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the process is nor in its home."""
    here, home, spill = (tmp_path / name for name in ("here", "home", "spill"))
    here.mkdir()
    home.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))

    with DuckDB.connect(memory_bytes=48 << 20, threads=1, spill_directory=spill) as engine:
        engine._connection.execute("CREATE TABLE t AS SELECT i, md5(i::varchar) AS m FROM range(2000000) AS r (i)")
        assert list(spill.iterdir()) != []

    assert sorted(tmp_path.rglob("*")) == [here, home], "and the spill directory is gone with the engine that made it"


def test_an_engine_that_does_not_exist_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        engines.connect("abacus", memory_bytes=1, threads=1, spill_directory=tmp_path)
