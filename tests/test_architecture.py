"""The house: which way imports go, and what must not be there."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

MODULES = sorted(path for package in ("api", "worker", "etl") for path in (ROOT / package).rglob("*.py"))

# Beside themselves and the standard library's and third-party packages, these may be imported.
ALLOWED = {"api": {"worker"}, "worker": {"etl"}, "etl": set()}
NEVER = {"api": {"celery.worker", "ibis", "duckdb", "pandas"}, "worker": {"flask"}, "etl": {"flask", "celery"}}
OF_WORKER_FOR_API = {
    "settings",
    "database",
    "jobs",
    "job_log",
    "queue",
    "presence",
    "logs",
    "publications",
    "explanations",
    "uploads",
    "indices",
    "exports",
    "inventory",
}


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_from_api_to_worker_to_etl_and_never_back(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in _imports(path):
        top = name.partition(".")[0]
        if top in ALLOWED:
            assert top == package or top in ALLOWED[package], f"{package} imports {name}"
        assert not any(name == banned or name.startswith(f"{banned}.") for banned in NEVER[package]), name
        if package == "api" and top == "worker":
            assert name.split(".")[1] in OF_WORKER_FOR_API, f"api imports {name}"


def test_there_is_no_room_without_a_purpose() -> None:
    banned = {"utils.py", "util.py", "helpers.py", "helper.py", "base.py", "common.py", "misc.py"}

    assert not [path for path in MODULES if path.name in banned or path.parent.name in {"common", "utils"}]


def test_modules_stay_short() -> None:
    long = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in MODULES}

    assert {name for name, lines in long.items() if lines > 250} <= {
        "worker/jobs.py",  # the whole ledger, as the design wants it
        "etl/validate.py",  # every check of every line
        "etl/features.py",  # the whole catalogue
        "etl/reader.py",  # every way in which lines can be read
        "worker/settings.py",  # every setting
        "etl/packed.py",  # one algorithm, and how it is fed
    }


def test_only_the_ledger_touches_the_table_of_jobs() -> None:
    for path in MODULES:
        if path.name != "jobs.py" and "migrations" not in path.parts:
            nodes = ast.walk(ast.parse(path.read_text()))
            text = " ".join(
                node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
            )
            for statement in ("UPDATE jobs", "INTO jobs", "FROM jobs", "JOIN jobs"):
                assert statement not in text, f"{path}: {statement}"


def test_only_the_settings_read_the_environment() -> None:
    ways = ("os.environ", "getenv", "import environ")  # a request has an environ as well
    readers = {path.relative_to(ROOT).as_posix() for path in MODULES if any(way in path.read_text() for way in ways)}

    assert readers == {"worker/settings.py"}
