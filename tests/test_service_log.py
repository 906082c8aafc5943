"""The service's log as it leaves: JSON, or lines for people, of whatever a program writes."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT, missing

WORKER = """
    import logging, os
    from worker import logs
    logs.set_up("worker")
    log = logging.getLogger("worker.tasks")
    with logs.about(job_id="01a2"):
        log.info("published %s", "default", extra={"rows": 14})
        log.warning("forged\\n12:34:56 worker   more \\x1b[31m")
    try:
        raise ValueError("one\\ntwo")
    except ValueError:
        log.exception("failed")
"""


def written(code: str, *, log_format: str, program: str = "worker") -> list[str]:
    """What leaves the service of what a Python program writes."""
    service = [sys.executable, str(ROOT / "scripts/service/jsonlines.py"), program, "TERM"]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*service, sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=os.environ | {"LOG_FORMAT": log_format},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_line_for_people_says_when_who_what_job_and_what() -> None:
    first, second, *rest = written(WORKER, log_format="text")

    assert re.fullmatch(r"\d\d:\d\d:\d\d worker   01a2 published default rows=14", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d worker   WARNING 01a2 forged\\n12:34:56 worker   more \\x1b\[31m", second), (
        "and nothing that is in it makes another line, or steers a terminal"
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d worker   ERROR failed", rest[0])
    assert rest[1] == "    Traceback (most recent call last):"
    assert rest[-2:] == ["    ValueError: one", "    two"]


def test_without_a_format_a_line_is_json() -> None:
    for log_format in ("", "json"):
        lines = [json.loads(line) for line in written(WORKER, log_format=log_format)]
        assert [line["message"].partition("\n")[0] for line in lines] == ["published default", "forged", "failed"]


@pytest.mark.parametrize("text", ["[7] LOG:  database system is ready", '{"not": "ours"}', "{", "[1]"])
def test_what_other_programs_write_is_a_line_of_its_own(text: str) -> None:
    code = f"print({text!r})"

    [for_people] = written(code, log_format="text", program="postgres")
    [as_json] = written(code, log_format="json", program="postgres")

    assert re.fullmatch(r"\d\d:\d\d:\d\d postgres " + re.escape(text), for_people)
    assert json.loads(as_json).items() >= {"program": "postgres", "message": text}.items()


def start(tmp_path: Path, role: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/start.sh", role],
        env=os.environ | {"RUN_DIR": str(tmp_path / "run")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_the_start_says_is_for_people_too(tmp_path: Path) -> None:
    done = start(tmp_path, "redis", LOG_FORMAT="text")

    assert re.fullmatch(r"\d\d:\d\d:\d\d start    ERROR set REDIS_PASSWORD: [^\n]*\n", done.stdout)
    assert json.loads(start(tmp_path, "redis").stdout)["level"] == "ERROR"


def test_a_format_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = start(tmp_path, "redis", LOG_FORMAT="xml", REDIS_PASSWORD="x")

    assert done.returncode == 1
    assert json.loads(done.stdout)["message"] == "LOG_FORMAT='xml': json or text"


def test_under_supervisord_every_line_is_for_people(tmp_path: Path) -> None:
    if not shutil.which("/usr/bin/supervisord"):
        missing("supervisor")
    configuration = tmp_path / "supervisord.conf"
    configuration.write_text(
        textwrap.dedent(f"""
            [supervisord]
            nodaemon = true
            logfile = /dev/null
            logfile_maxbytes = 0
            pidfile = {tmp_path}/pid
            [unix_http_server]
            file = {tmp_path}/sock
            [rpcinterface:guard]
            supervisor.rpcinterface_factory = guard:make
            [program:redis]
            command = sh -c "echo from a program; sleep 1"
            redirect_stderr = true
            stdout_logfile = NONE
            stdout_events_enabled = true
            autorestart = false
            startsecs = 0
        """)
    )

    done = subprocess.run(
        ["/usr/bin/supervisord", "--configuration", configuration],
        env=os.environ | {"LOG_FORMAT": "text", "PYTHONPATH": str(ROOT / "scripts/service")},
        capture_output=True,
        text=True,
        check=False,
    )

    lines = done.stdout.splitlines()
    before_it_was_there = [line for line in lines if "Supervisor is running as root" in line]
    others = [line for line in lines if not re.match(r"\d\d:\d\d:\d\d (supervisord|redis   ) ", line)]
    assert others == before_it_was_there
    assert any(line.endswith(" redis    from a program") for line in lines)
    assert any("supervisord CRITICAL program redis ended" in line for line in lines)
