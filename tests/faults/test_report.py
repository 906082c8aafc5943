"""The table of cases, made of the results of several invocations."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.figures import Figure, p99
from tests.faults.report import Result


def _table(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.faults.report", *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_runs_of_a_case_in_several_files_count_together(tmp_path: Path) -> None:
    files = [tmp_path / "first", tmp_path / "second"]
    Result("the worker is killed", runs=2, recoveries_s=[1.0, 4.0]).append_to(files[0])
    Result("redis is frozen", runs=1, recoveries_s=[9.0]).append_to(files[0])
    Result("the worker is killed", runs=1, recoveries_s=[2.0]).append_to(files[1])

    done = _table(*files)

    assert "| the worker is killed | 3 | 0 | 2.0 s | 4.0 s |" in done.stdout.splitlines()
    assert "| redis is frozen | 1 | 0 | 9.0 s | 9.0 s |" in done.stdout.splitlines()
    assert done.returncode == 0


def test_a_broken_invariant_counts_once_and_is_told_each_time(tmp_path: Path) -> None:
    broken = ["I5 a temporary file: a", "I5 a temporary file: b", "I4 a reader saw nothing"]
    Result("the worker is killed", runs=1, broken=broken, recoveries_s=[1.0]).append_to(tmp_path / "results")

    done = _table(tmp_path / "results")

    assert "| the worker is killed | 1 | 2 | 1.0 s | 1.0 s |" in done.stdout.splitlines()
    assert done.stderr.splitlines() == [f"BROKEN in the worker is killed: {breach}" for breach in broken]
    assert done.returncode == 1


def test_no_results_are_no_success(tmp_path: Path) -> None:
    assert _table(tmp_path / "nothing").returncode == 1


def test_the_greatest_value_of_a_figure_is_shown_beside_its_goal(tmp_path: Path) -> None:
    figures = [Figure("p99", 0.5, "s", goal=1, load=2), Figure("p99", 1.5, "s", goal=1, load=3)]
    Result("many jobs wait", runs=1, figures=figures).append_to(tmp_path / "first")
    Result("many jobs wait", runs=1, figures=[Figure("p99", 1.0, "s", goal=1, load=4)]).append_to(tmp_path / "second")

    lines = _table(tmp_path / "first", tmp_path / "second").stdout.splitlines()

    assert [line for line in lines if "p99" in line] == ["| many jobs wait | p99 | 1.5 s | 1 s, missed | 3 |"]


def test_99_of_100_values_are_not_greater_than_their_p99() -> None:
    assert p99(range(100, 0, -1)) == 99
    assert p99([7]) == 7
