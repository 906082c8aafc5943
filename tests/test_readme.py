"""README and docs/input.md say what the code does: tables, settings, codes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from etl.contract import CODES, FileCode, ItemCode, LineCode
from scripts import tables
from tests.conftest import ROOT
from worker.settings import Settings

TEXT = (ROOT / "README.md").read_text()
INPUT = tables.PAGE.read_text()

# What reads the environment beside worker/settings.py.
READERS = [ROOT / "api/gunicorn_config.py", ROOT / "supervisord.conf", *sorted((ROOT / "scripts").rglob("*.sh"))]


class Environment(dict[str, str]):
    """Remembers which variables were looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()

    def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
        self.read.add(name)
        return default


def _settings_listed() -> set[str]:
    table = TEXT.partition("\n## Settings\n")[2].partition("\n## ")[0]
    return {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}


def test_the_tables_of_the_contract_are_up_to_date() -> None:
    assert tables.written(INPUT) == INPUT, "scripts/check.sh --fix writes them"


def test_a_table_that_is_not_up_to_date_is_shown_and_mended(tmp_path: Path) -> None:
    old = re.sub(r"(?m)^\| `truncated` .*\n", "", INPUT)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "tables.py").write_bytes(Path(tables.__file__).read_bytes())
    page = tmp_path / "docs/input.md"
    page.parent.mkdir()
    page.write_text(old)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scripts.tables", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )

    checked = run("--check")
    assert checked.returncode == 1
    assert "+| `truncated` | line |" in checked.stdout
    assert page.read_text() == old
    assert run().returncode == 0
    assert page.read_text() == INPUT
    assert run("--check").returncode == 0


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the codes"):
        tables.written(INPUT.replace("<!-- end of codes -->", ""))


def test_every_code_has_a_sentence_and_an_example() -> None:
    assert set(CODES) == {*FileCode, *LineCode, *ItemCode}
    for code, meaning in CODES.items():
        assert meaning.sentence, code
        assert meaning.example, code
        assert f"| `{code}` |" in INPUT
        assert f"| {meaning.sentence} | {meaning.example} |" in INPUT


def test_every_code_is_expected_by_a_test() -> None:
    tests = ROOT / "tests"
    sources = [path for path in tests.rglob("*.py") if path != Path(__file__)]
    text = "\n".join(path.read_text() for path in [*sources, *tests.glob("etl/nasty/*/expected.json")])

    assert [code for code in CODES if f'"{code}"' not in text] == []


def test_every_variable_that_is_read_is_listed() -> None:
    environment = Environment()
    Settings.from_env(environment)

    assert environment.read <= _settings_listed()


def test_every_setting_is_passed_on_into_containers() -> None:
    environment = Environment()
    Settings.from_env(environment)
    about_places = {"DATA_DIR", "STATE_DIR", "RUN_DIR", "API_BIND"}  # the image has its own
    [passed_on] = re.findall(r"settings=\(([^)]*)\)", (ROOT / "scripts/run.sh").read_text())
    compose = (ROOT / "docker-compose.yml").read_text()

    assert environment.read - about_places <= set(passed_on.split())
    assert {name for name in environment.read - about_places if f"\n  {name}:" not in compose} == set()


def test_every_variable_that_is_listed_is_read() -> None:
    environment = Environment()
    Settings.from_env(environment)
    sources = "\n".join(path.read_text() for path in READERS)
    elsewhere = {name for name in _settings_listed() if re.search(rf'(\$\{{?|ENV_|"){name}\b', sources)}

    assert _settings_listed() <= environment.read | elsewhere
