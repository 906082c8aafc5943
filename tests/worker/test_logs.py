"""Log lines: whatever is in a value, a line is one JSON object."""

import json
import subprocess
import sys
import textwrap
from typing import Any

from tests.conftest import ROOT


def _logged(program: str) -> list[dict[str, Any]]:
    """Run a program in a process of its own, since set_up() takes over all logging; return its lines."""
    code = "import logging, warnings\nfrom worker import logs\nlogs.set_up('test')\nlog = logging.getLogger('a.b')\n"
    done = subprocess.run(
        [sys.executable, "-c", code + textwrap.dedent(program)], cwd=ROOT, check=True, capture_output=True
    )
    assert done.stderr == b""
    assert done.stdout.endswith(b"\n")
    return [json.loads(line) for line in done.stdout.split(b"\n")[:-1]]


def test_a_line_says_when_how_bad_who_and_what() -> None:
    [line] = _logged("log.warning('%s of %d', 'one', 2)")

    assert list(line)[:4] == ["time", "level", "logger", "message"]
    assert line["time"].startswith("20")
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "a.b", "one of 2")
    assert line["program"] == "test"


def test_every_line_about_a_job_has_its_id() -> None:
    lines = _logged("""
        log.info("before")
        with logs.about(job_id="j1"):
            log.info("inside")
            logging.getLogger("another.library").warning("inside, by somebody else")
            with logs.about(job_id="j2"):
                log.info("deeper")
            log.info("inside again")
        log.info("after", extra={"job_id": "j3"})
    """)

    assert [line.get("job_id") for line in lines] == [None, "j1", "j1", "j2", "j1", "j3"]


def test_each_thread_speaks_of_its_own_job() -> None:
    lines = _logged("""
        import threading
        with logs.about(job_id="j1"):
            thread = threading.Thread(target=lambda: log.info("another thread"))
            thread.start()
            thread.join()
            log.info("this thread")
    """)

    assert [line.get("job_id") for line in lines] == [None, "j1"]


def test_no_value_can_forge_a_line_or_a_field() -> None:
    forged = 'x"}\n{"level": "INFO", "job_id": "forged"}\r\n\u2028\x00\x1b[31m\\'

    lines = _logged(f"""
        with logs.about(job_id="j1"):
            log.info({forged!r})
            log.info("%s", {forged!r})
            log.info("extra", extra={{"value": {forged!r}}})
    """)

    assert [line["job_id"] for line in lines] == ["j1"] * 3
    assert [line["message"] for line in lines] == [forged, forged, "extra"]
    assert lines[2]["value"] == forged


def test_a_traceback_is_part_of_its_line() -> None:
    [line] = _logged("""
        try:
            raise ValueError("two\\nlines")
        except ValueError:
            log.exception("failed")
    """)

    assert line["message"] == "failed"
    assert "ValueError: two\nlines" in line["exc_info"]


def test_what_is_no_json_is_logged_all_the_same() -> None:
    [line] = _logged("""
        import datetime, pathlib, uuid
        log.info("x", extra={"values": [uuid.UUID(int=1), pathlib.Path("/p"), {1, 2}, b"bytes"]})
    """)

    assert line["values"][0] == "00000000-0000-0000-0000-000000000001"


def test_a_warning_is_a_line_too() -> None:
    [line] = _logged("warnings.warn('beware')")

    assert (line["logger"], line["level"]) == ("py.warnings", "WARNING")
    assert "beware" in line["message"]
