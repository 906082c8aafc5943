"""Which version this is: pyproject.toml says it, and all others say the same."""

import re
import subprocess
import sys
import tomllib

import pytest
from flask.testing import FlaskClient

from tests.conftest import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_description_of_the_api_has_it(client: FlaskClient) -> None:
    assert client.get("/openapi.json").get_json()["info"]["version"] == VERSION


def test_the_program_says_it() -> None:
    command = [sys.executable, "-m", "etl", "--version"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert said == f"experiment-etl {VERSION}\n"


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("Dockerfile", r'org\.opencontainers\.image\.version="(.*)"'),
        # What scripts/run.sh and scripts/backup.sh look for, in the way that sed does.
        ("pyproject.toml", r'(?m)^version = "(.*)"'),
    ],
)
def test_what_has_it_in_its_text_has_the_same(file: str, pattern: str) -> None:
    assert re.findall(pattern, (ROOT / file).read_text()) == [VERSION]
