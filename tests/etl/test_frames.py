"""Features without a server: from Python, and from a shell."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from etl import run
from etl.errors import BadInput
from tests.conftest import ROOT, SAMPLE
from tests.etl.conftest import Service, write

USERS = "user_id,name,email,signup_date\n"


def shell(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "etl", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with Python's own values."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in row.items() if other != name}


def test_the_frames_are_what_a_job_publishes(service: Service) -> None:
    frames = run(SAMPLE)
    service.run(SAMPLE)

    assert records(frames.features) == [_without(row, "dataset") for row in service.features()]
    assert records(frames.summary) == [_without(service.summary(), "dataset")]
    assert [of.accepted for of in frames.accounts] == [14, 12, 37]
    assert frames.rejections.empty


def test_rejections_name_their_line(tmp_path: Path) -> None:
    users = USERS + "1,Ann,a@example.com,2024-01-01\n[x],Bob,b@example.com,2024-01-01\n"
    write(tmp_path, users=users)

    frames, shown = run(tmp_path, max_rejected_ratio=0.5), shell(tmp_path, "--max-rejected-ratio", "0.5")

    assert len(frames.features) == 1
    [rejection] = records(frames.rejections)
    assert list(rejection.values())[:4] == ["users.csv", 3, "user_id", "invalid_integer"]
    assert "Rejections: 1" in shown.stdout
    assert "[x]" in shown.stdout


def test_nothing_at_all_has_the_same_columns(tmp_path: Path) -> None:
    frames = run(
        write(
            tmp_path,
            users=USERS,
            compounds="compound_id,compound_name,compound_structure\n",
            user_experiments="experiment_id,user_id,experiment_compound_ids,experiment_run_time\n",
        )
    )

    assert list(frames.features) == list(run(SAMPLE).features)
    assert dict(frames.features.dtypes) == dict(run(SAMPLE).features.dtypes)
    assert len(frames.features) == 0


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"users\.csv"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet), ("xlsx", pd.read_excel)]
)
def test_a_shell_writes_the_features(suffix: str, read: Callable[[Path], pd.DataFrame], tmp_path: Path) -> None:
    out = tmp_path / f"features.{suffix}"

    done = shell(SAMPLE, "--out", out)

    assert (done.returncode, done.stderr) == (0, "")
    assert "37" in done.stdout
    written, features = read(out), run(SAMPLE).features
    assert list(written) == list(features)
    assert list(written["user_id"]) == list(features["user_id"])
    assert list(tmp_path.iterdir()) == [out]


def test_a_shell_writes_the_types_of_the_apis_files(tmp_path: Path) -> None:
    features, rejections = tmp_path / "features.parquet", tmp_path / "rejections.parquet"

    assert shell(SAMPLE, "--quiet", "--out", features, "--rejections", rejections).returncode == 0

    written = pyarrow.parquet.read_schema(features)
    expected = {
        "user_id": pa.int64(),
        "name": pa.string(),
        "signup_date": pa.date32(),
        "average_run_time": pa.float64(),
        "total_experiments": pa.int64(),
    }
    assert {name: written.field(name).type for name in expected} == expected
    assert written.field("most_common_compound_ids").type.value_type == pa.int64()
    assert written.metadata is None
    text = pa.string()
    assert pyarrow.parquet.read_schema(rejections).types == [text, pa.int64(), text, text, text, text]


def test_what_a_shell_writes_runs_in_no_spreadsheet(tmp_path: Path) -> None:
    users = USERS + "1,=1+1,a@example.com,2024-01-01\n=2+2,Bob,b@example.com,2024-01-01\n"
    write(tmp_path, users=users)
    features, rejections = tmp_path / "features.csv", tmp_path / "rejections.csv"

    done = shell(tmp_path, "--max-rejected-ratio", "0.5", "--out", features, "--rejections", rejections)

    assert done.returncode == 0
    assert list(pd.read_csv(features)["name"]) == ["'=1+1"]
    assert list(pd.read_csv(rejections)["value"]) == ["'=2+2"]


def test_a_shell_is_told_what_is_wrong_and_nothing_is_written(tmp_path: Path) -> None:
    done = shell(tmp_path, "--out", tmp_path / "features.csv")

    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}: users.csv: the dataset has neither this file nor its .gz\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "other"), [("--out", "--rejections"), ("--rejections", "--out")])
def test_where_one_file_cannot_be_written_neither_is(option: str, other: str, tmp_path: Path) -> None:
    kept, absent, folder = tmp_path / "kept.csv", tmp_path / "absent" / "x.csv", tmp_path / "folder.csv"
    kept.write_text("as it was")
    folder.mkdir()

    for path, reason in ((absent, "No such file or directory"), (folder, "Is a directory")):
        done = shell(SAMPLE, option, path, other, kept)

        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{path}: {reason}\n")
        assert kept.read_text() == "as it was"
        assert set(tmp_path.iterdir()) == {kept, folder}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "features.txt"], "'features.txt' must end in .csv or .parquet or .xlsx"),
        (["--out", "x.csv", "--rejections", "data/../x.csv"], "--out and --rejections are the same file"),
        (["--max-rejected-ratio", "2"], "'2' is no number from 0 to 1"),
        (["--max-rejected-ratio", "nan"], "'nan' is no number from 0 to 1"),
    ],
)
def test_a_wrong_command_says_what_is_allowed(arguments: list[str], message: str) -> None:
    done = shell(SAMPLE, *arguments)

    assert done.returncode == 2
    assert message in done.stderr


def test_the_api_does_not_load_an_engine_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import etl, sys; sys.exit('duckdb' in sys.modules)"], cwd=ROOT, check=False
    )

    assert done.returncode == 0
