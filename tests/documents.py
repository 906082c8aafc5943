"""What the documents tell a person to type, and what they say comes out.

A block of `sh` is run. One of `console` has commands after `$ `, continued after `> `, and below each what it prints:
`...` stands for anything, blanks and line breaks do not count, and neither do the ids and times of one day. A block of
`python PATH` is appended to that file. What no test can run is a `shell` block after a comment that says why not.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"sh", "console", "shell", "python", "sql", "mermaid"}

_BLOCK = re.compile(r"^```(?P<mark>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: [^\n]+ -->\n\Z")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]?\d\d[:-]\d\d[:-]\d\d(\.\d+)?(\+00(:00)?|Z)?")


@dataclass(frozen=True)
class Block:
    language: str
    path: str
    text: str
    has_reason: bool


@dataclass(frozen=True)
class Command:
    """What is typed; and what it prints, where that is shown."""

    text: str
    output: str | None = None


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text()
    for match in _BLOCK.finditer(text):
        language, _, path = match["mark"].partition(" ")
        yield Block(language, path, match["text"], bool(_NOT_RUN.search(text, 0, match.start())))


def commands(block: Block) -> list[Command]:
    if block.language == "sh":
        return [Command(block.text)]
    found: list[Command] = []
    for line in block.text.splitlines() if block.language == "console" else ():
        if line.startswith("$ "):
            found.append(Command(line[2:], ""))
        elif line.startswith("> ") and not found[-1].output:
            found[-1] = replace(found[-1], text=f"{found[-1].text}\n{line[2:]}")
        else:
            found[-1] = replace(found[-1], output=f"{found[-1].output}{line}\n")
    return found


def is_shown(shown: str, printed: str) -> bool:
    """Whether a document shows what was printed."""
    pattern = ".*".join(map(re.escape, _plain(shown).split("...")))
    return re.fullmatch(pattern, _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    return re.sub(r"\s", "", _TIME.sub("TIME", _ID.sub("ID", text)))


def checkout(directory: Path) -> Path:
    """A copy of what is here, where commands may leave something."""
    copy = directory / "checkout"
    kept = ("api", "worker", "etl", "scripts", "data", "docs", "tests", "*.*", "Dockerfile", ".dockerignore")
    copy.mkdir()
    for path in (path for pattern in kept for path in ROOT.glob(pattern)):
        if path.is_dir() and not path.name.startswith("."):
            shutil.copytree(path, copy / path.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file() and not (copy / path.name).exists():
            shutil.copy2(path, copy)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


def follow(document: Path, directory: Path, names: dict[str, str], **variables: str) -> None:
    """Type all that the document says, in one shell that stands in `directory`; `names` go in place of its own."""
    typed: list[Command] = []
    for block in blocks(document):
        if block.language == "python" and block.path:
            append = f"cat >>{block.path} <<'PYTHON'\n{block.text}PYTHON\n"
            typed.append(Command(append))
        typed += commands(block)
    assert typed, f"{document} has nothing to type"
    # A marker after each command: what lies between two of them is what it printed.
    script = "set -euo pipefail\n" + "".join(f"{command.text}\nprintf '\\0'\n" for command in typed)
    finished = subprocess.run(
        ["bash", "-c", _with(names, script)],
        cwd=directory,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    printed = finished.stdout.split("\0")
    for command, output in zip(typed, printed, strict=False):
        shown = command.output
        assert shown is None or is_shown(_with(names, shown), output), (
            f"{command.text}\nprinted\n{output}\nnot\n{shown}"
        )
    assert finished.returncode == 0, f"{typed[len(printed) - 1].text}\nended {finished.returncode}: {finished.stderr}"


def _with(names: dict[str, str], text: str) -> str:
    for name, other in names.items():
        text = re.sub(name, other, text)
    return text
