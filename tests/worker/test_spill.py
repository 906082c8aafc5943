"""The engine's temporary directories: there while they are used, and gone afterwards."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from etl.errors import Transient
from tests.conftest import ROOT
from worker import spill

HOLD = "import sys, pathlib; from worker import spill\nwith spill.directory(pathlib.Path(sys.argv[1])) as made:\n"
HOLD += "    (made / 'block').write_text('x'); print(made, flush=True); sys.stdin.read()"


def test_a_directory_goes_when_it_is_not_used_any_more(tmp_path: Path) -> None:
    with spill.directory(tmp_path / "spill") as made:
        (made / "block").write_text("x")
        assert made.stat().st_mode & 0o077 == 0

    assert list((tmp_path / "spill").iterdir()) == []


def test_only_what_a_killed_process_left_behind_is_removed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        made = Path(process.stdout.readline().strip())
        assert spill.remove_abandoned(tmp_path) == []
        assert (made / "block").exists()

        process.send_signal(signal.SIGKILL)
        process.wait(10)

    assert spill.remove_abandoned(tmp_path) == [made]
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_may_be_written_is_named() -> None:
    nobody_writes_here = Path("/sys/kernel")

    with (
        pytest.raises(Transient, match=r"user \d+, who runs the worker, cannot write to /sys/kernel"),
        spill.directory(nobody_writes_here),
    ):
        pass


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("x")
    (tmp_path / "spill").mkdir()
    (tmp_path / "spill" / "link").symlink_to(tmp_path / "elsewhere")

    assert spill.remove_abandoned(tmp_path / "spill") == []

    assert (tmp_path / "elsewhere" / "file").exists()


def test_where_nothing_was_ever_spilled_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert spill.remove_abandoned(tmp_path / "absent") == []
