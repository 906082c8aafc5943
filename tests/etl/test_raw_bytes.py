"""Whatever bytes the files hold, the job ends with a code of the contract, in bounded time and memory."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from etl.contract import FileCode
from etl.embedded import DuckDB
from etl.errors import BadInput
from tests.conftest import ROOT, InProcess
from tests.etl.conftest import Service, write
from worker.settings import Settings

pytestmark = pytest.mark.exhaustive

PEAK_BYTES_MAX = 1 << 30

VALID = {
    "users": b'user_id,name,email,signup_date\n1,Ann,"a, b",2024-01-01\r\n2,"B\n\xc3\xa9",b,2024-01-02\n',
    "compounds": b"compound_id\tcompound_name\tcompound_structure\n1\tWater\tO\n2\tIce\t\n",
    "user_experiments": b"experiment_id,user_id,experiment_compound_ids,experiment_run_time\n1,1,1;2,1.5\n2,2,,1e3\n",
}


class File(NamedTuple):
    """What one file of a dataset holds, the others being valid."""

    table: str
    content: bytes
    suffix: str = ".csv"

    def write(self, folder: Path) -> Path:
        for left in folder.glob("*.csv.gz"):  # by the example before
            left.unlink()
        (write(folder) / f"{self.table}.csv").unlink()
        (folder / f"{self.table}{self.suffix}").write_bytes(self.content)
        return folder


CSV_PIECES = [
    b'"',
    b'""',
    b",",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b";",
    b" ",
    b"1",
    b"a",
    b"-",
    b".",
    b"e",
    b"\xc3\xa9",
]
CSV_PIECES += [b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xed\xa0\x80", b"2024-01-01", b"1,1,1,1", b"9" * 30, b"\x1a"]
CSV_LIKE = st.lists(st.sampled_from(CSV_PIECES), max_size=40).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with a few pieces of it replaced by others."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 8))
        content = content[:start] + draw(CSV_LIKE | st.binary(max_size=3)) + content[start + length :]
    return content


@st.composite
def files(draw: st.DrawFn) -> File:
    table = draw(st.sampled_from(sorted(VALID)))
    header = VALID[table][: VALID[table].index(b"\n") + 1]
    content = draw(
        st.binary(max_size=200) | CSV_LIKE | CSV_LIKE.map(lambda lines: header + lines) | mutated(VALID[table])
    )
    match draw(st.sampled_from(["plain", "plain", "compressed", "named .gz", "damaged"])):
        case "compressed":
            return File(table, gzip.compress(content, mtime=0), ".csv.gz")
        case "named .gz":
            return File(table, content, ".csv.gz")
        case "damaged":
            return File(table, draw(mutated(gzip.compress(content, mtime=0))), ".csv.gz")
    return File(table, content)


@pytest.fixture
def job_id(service: Service) -> UUID:
    return service.new_job()


@pytest.mark.timeout(120)
@profile(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=files())
def test_any_bytes_are_read_to_the_end_or_refused_with_a_code(
    file: File, job_id: UUID, service: Service, etl_engine: DuckDB, tmp_path: Path
) -> None:
    try:
        with service.trial(file.write(tmp_path / "dataset"), job_id, etl_engine) as (result, _):
            assert all(account.reconciled for account in result.accounts)
    except BadInput as refused:
        assert refused.code in set(FileCode)  # noqa: PT017
        assert refused.detail  # noqa: PT017


@pytest.mark.timeout(120)
@profile(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=files())
def test_a_job_on_any_bytes_succeeds_or_fails_and_is_no_internal_error(
    file: File, in_process: InProcess, settings: Settings
) -> None:
    file.write(settings.data_dir)

    job = in_process.run(force=True, max_rejected_ratio=1)

    assert (job.state, job.error_code) == ("succeeded", None) or (
        job.state == "failed" and job.error_code in set(FileCode)
    )


# --- memory and time

MIB = 1 << 20
SECONDS_MAX = 60
HEADERS = {table: content[: content.index(b"\n") + 1] for table, content in VALID.items()}


class Peak(NamedTuple):
    """How the jobs on some folders ended, and the most memory that their process took."""

    ends: list[str]
    peak_bytes: int


def _peak(settings: Settings, job_id: UUID, *folders: Path) -> Peak:
    command = [sys.executable, "-m", "tests.etl.peak", settings.database_url, str(job_id), *map(str, folders)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode == 0, done.stderr
    return Peak(**json.loads(done.stdout))


def _compressed(unit: bytes, size: int) -> bytes:
    """So many bytes of a repeated unit: a gzip file may be several, one after the other."""
    block = min(size, 16 * MIB) // len(unit)
    return gzip.compress(unit * block, 1, mtime=0) * (size // (block * len(unit)))


def _heavy(table: str, *parts: bytes, header: bytes | None = None) -> File:
    header = HEADERS[table] if header is None else header
    return File(table, gzip.compress(header, mtime=0) + b"".join(parts), ".csv.gz")


MANY_COLUMNS = HEADERS["users"][:-1] + b"".join(b",c%d" % number for number in range(100_000)) + b"\n"
HEAVY = {
    "one line of 1 GiB": (_heavy("users", _compressed(b"a", 1024 * MIB)), "succeeded"),
    "1 GiB of zeros": (_heavy("users", _compressed(b"\0", 1024 * MIB), header=b""), "empty_file"),
    "quotes": (_heavy("users", _compressed(b'"', 300 * MIB), header=b""), "empty_file"),
    "quotes below a header": (_heavy("users", _compressed(b'"', 300 * MIB)), "succeeded"),
    "commas": (_heavy("users", _compressed(b",", 300 * MIB), header=b""), "empty_file"),
    "100,000 columns": (
        _heavy("users", _compressed(b"1,n,e,2024-01-01" + b",x" * 100_000 + b"\n", 20 * MIB), header=MANY_COLUMNS),
        "succeeded",
    ),
    "100,000 fields": (_heavy("users", _compressed(b"x," * 100_000 + b"\n", 20 * MIB)), "succeeded"),
    "500,000 compounds": (_heavy("user_experiments", gzip.compress(b"1,1," + b"1;" * 500_000 + b",1\n")), "succeeded"),
    "500,000 empty items": (_heavy("user_experiments", gzip.compress(b"1,1," + b";" * 500_000 + b",1\n")), "succeeded"),
    "line feeds": (_heavy("users", _compressed(b"\n", 300 * MIB), header=b""), "empty_file"),
    "a million lines of a comma": (_heavy("users", _compressed(b",\n", 2 * MIB)), "succeeded"),
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_file_ends_in_bounded_time_and_memory(
    name: str, job_id: UUID, settings: Settings, tmp_path: Path
) -> None:
    file, end = HEAVY[name]

    peak = _peak(settings, job_id, file.write(tmp_path / "dataset"))

    assert peak.ends == [end]
    assert peak.peak_bytes < PEAK_BYTES_MAX


def test_many_jobs_on_random_bytes_stay_in_bounded_memory(job_id: UUID, settings: Settings, tmp_path: Path) -> None:
    random = Random(0)  # noqa: S311 - it keeps no secret
    folders = []
    for number in range(12):
        table = random.choice(sorted(VALID))
        lines = b"".join(random.choices(CSV_PIECES[:16], k=50_000))
        content = random.choice([random.randbytes(100_000), lines, HEADERS[table] + lines])
        folders.append(File(table, content).write(tmp_path / str(number)))

    peak = _peak(settings, job_id, *folders)

    assert set(peak.ends) <= {"succeeded", *FileCode}
    assert peak.peak_bytes < PEAK_BYTES_MAX
