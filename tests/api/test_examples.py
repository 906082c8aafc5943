"""Every example of /openapi.json, typed into a shell as it stands there.

`RECORD=1 scripts/test.sh tests/api/test_examples.py` writes api/examples.json anew, with what the server answers.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import UUID

import pytest
import uuid6
from jsonschema import Draft202012Validator, FormatChecker

from api import examples
from api.parameters import EXAMPLE_JOB, EXAMPLE_WAITING
from tests.conftest import SAMPLE, InProcess, Programs, Served
from tests.servers import wait_until
from worker import job_log, presence

# So much of what has no end, or is long.
STREAM_S = "2"
LINES_MAX = 6


@dataclass(frozen=True)
class Told:
    """What one was told: of an event stream the first event, of other text the first lines."""

    status: str
    type: str
    body: Any

    @classmethod
    def of(cls, operation: str, head: str, text: str) -> "Told":
        status = head.split()[1]
        media_type = next(
            line.partition(": ")[2].partition(";")[0].strip()
            for line in head.splitlines()
            if line.lower().startswith("content-type:")
        )
        if media_type == "application/json":
            body = json.loads(text)
            if operation == "openapi.document":
                body |= {"paths": {}, "components": {}}
        elif media_type == "text/event-stream":
            body = text.partition("\n\n")[0] + "\n\n"
        else:
            body = "".join(text.splitlines(keepends=True)[:LINES_MAX])
        return cls(status, media_type, body)


@pytest.fixture
def served(in_process: InProcess, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The API with the jobs that the examples name: a published one that has rejected a line, and one that waits."""
    with (in_process.settings.data_dir / "users.csv").open("a") as users:
        users.write("\n15,\tOlga,\tolga@example.com,\tsoon")
    ids = iter((UUID(EXAMPLE_JOB), UUID(EXAMPLE_WAITING)))
    with monkeypatch.context() as patched:
        patched.setattr(uuid6, "uuid7", lambda: next(ids))
        published, waiting = in_process.run(), in_process.submit()
    assert (published.outcome, waiting.state) == ("published", "queued")
    with in_process.engine.begin() as connection:
        presence.beat(connection, "w")
        job_log.add(connection, published.id, "published default in 160 ms")
    with programs.api() as served:
        yield served


@pytest.fixture
def document(served: Served) -> dict[str, Any]:
    found: dict[str, Any] = json.load(urlopen(f"{served.url}/openapi.json"))
    return found


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [operation for operations in document["paths"].values() for operation in operations.values()]
    return {operation["operationId"]: operation for operation in found}


def _typed(served: Served, operation: dict[str, Any], directory: Path) -> Told:
    [sample] = operation["x-codeSamples"]
    assert f"```sh\n{sample['source']}\n```" in operation["description"], "also where code samples are not shown"
    command = sample["source"].replace(examples.ADDRESS, served.url)
    assert command.startswith("curl ")
    typed = command.replace("curl ", f"curl --silent --show-error --max-time {STREAM_S} --dump-header head ", 1)
    done = subprocess.run(typed, cwd=directory, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    streams = any("text/event-stream" in answer.get("content", {}) for answer in operation["responses"].values())
    assert done.returncode == 0 or (done.returncode == 28 and streams), done.stderr
    return Told.of(operation["operationId"], (directory / "head").read_text(), done.stdout)


def _check(told: Told, operation: dict[str, Any], document: dict[str, Any]) -> None:
    assert told.status.startswith("2"), (operation["operationId"], told)
    schema = operation["responses"][told.status]["content"][told.type]["schema"]
    validator = Draft202012Validator(
        schema | {"components": document["components"]}, format_checker=FormatChecker(["uuid", "date", "date-time"])
    )
    assert [error.message for error in validator.iter_errors(told.body)] == [], operation["operationId"]


def test_every_example_is_answered_as_it_is_described(served: Served, document: dict[str, Any], tmp_path: Path) -> None:
    directory = tmp_path / "typed"
    shutil.copytree(SAMPLE, directory)
    operations = _operations(document)

    told = {name: _typed(served, operation, directory) for name, operation in operations.items()}

    for name, answer in told.items():
        _check(answer, operations[name], document)
    if "RECORD" in os.environ:
        examples.RECORDED.write_text(json.dumps({name: vars(of) for name, of in sorted(told.items())}, indent=1) + "\n")


def test_every_operation_has_an_answer_for_an_example_that_is_as_described(document: dict[str, Any]) -> None:
    recorded = {name: Told(**of) for name, of in examples.answered().items()}

    assert recorded.keys() == _operations(document).keys(), "RECORD=1 records them"
    for name, operation in _operations(document).items():
        _check(recorded[name], operation, document)
        shown = operation["responses"][recorded[name].status]["content"][recorded[name].type]
        assert shown["example"] == recorded[name].body


def test_an_example_names_the_token_where_one_is_wanted(programs: Programs) -> None:
    with programs.api(API_TOKEN="x" * 16) as served:
        wait_until(served.listens, "it listens")
        operations = _operations(json.load(urlopen(f"{served.url}/openapi.json")))

    for operation in operations.values():
        [sample] = operation["x-codeSamples"]
        assert ('-H "Authorization: Bearer $API_TOKEN"' in sample["source"]) == bool(operation["security"])
