"""What is asked before a release, of an index that the tests serve and of one that is not there."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts.advisories import Pin, pins
from tests.conftest import ROOT

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """An index with the shape of PEP 691: one good file, one that is yanked."""
    files = [
        {"filename": f"thing-{number}.tar.gz", "hashes": {"sha256": digit * 64}, "yanked": yanked}
        for number, digit, yanked in [("1.0", "a", False), ("2.0", "b", "wrong results")]
    ]
    folder = tmp_path / "simple" / "some-thing"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(json.dumps({"files": files}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


def ask(index: str, requirement: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Ask the index; PyPI's advisories are out of reach, whatever this machine can reach."""
    (folder / "requirements.txt").write_text(requirement)
    command = [sys.executable, "-m", "scripts.advisories", *options, str(folder / "requirements.txt")]
    # The cache of a machine that has asked before must not answer.
    environment = {"PIP_INDEX_URL": index, "HTTPS_PROXY": NOWHERE, "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_every_requirement_is_pinned_and_hashed() -> None:
    text = (ROOT / "requirements.txt").read_text()

    found = pins(text)

    assert len(found) == len(re.findall("^[a-z]", text, re.MULTILINE))
    assert sum(len(pin.hashes) for pin in found) >= text.count("--hash") - 1


def test_a_requirement_may_have_a_marker_and_extras() -> None:
    text = f"Some_Thing[extra]==1.0 ; python_version < '4' \\\n    --hash=sha256:{'a' * 64}\n    # via other\n"

    assert pins(text) == [Pin("Some_Thing", "1.0", frozenset({"a" * 64}))]


@pytest.mark.parametrize("text", ["thing\n", f"thing>=1 --hash=sha256:{'a' * 64}\n", "thing==1.0\n"])
def test_a_requirement_without_a_version_or_a_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not pinned and hashed: thing"):
        pins(text)


@pytest.mark.parametrize(
    ("version", "digit", "told"),
    [
        ("2.0", "b", "some-thing 2.0 is yanked: wrong results"),
        ("3.0", "c", "some-thing 3.0: 1 of its files are not listed any more"),
    ],
)
def test_what_the_index_has_withdrawn_fails_also_offline(
    version: str, digit: str, told: str, index: str, tmp_path: Path
) -> None:
    asked = ask(index, f"some-thing=={version} --hash=sha256:{digit * 64}\n", tmp_path, "--offline")

    assert f"withdrawn packages: {told}\n" in asked.stdout, asked.stderr
    assert asked.returncode == 1


def test_silence_is_no_answer(index: str, tmp_path: Path) -> None:
    requirement = f"some_thing==1.0 --hash=sha256:{'a' * 64}\n"

    asked = ask(index, requirement, tmp_path)
    assert "withdrawn packages: none\n" in asked.stdout, asked.stderr
    assert "vulnerable Python packages: COULD NOT BE ASKED" in asked.stdout
    assert asked.returncode == 2

    assert ask(index, requirement, tmp_path, "--offline").returncode == 0
    assert "withdrawn packages: COULD NOT BE ASKED" in ask(NOWHERE, requirement, tmp_path).stdout
