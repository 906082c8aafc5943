"""Asks whether anything that the service is made of is known to be bad: `python -m scripts.advisories --help`."""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_SECURITY_ARCHIVE = "l=Debian-Security"


class CannotBeAsked(Exception):  # noqa: N818 - it reads as what it says
    """Who should know does not answer, or knows nothing of what was asked."""


@dataclass(frozen=True)
class Pin:
    """One package of requirements.txt."""

    name: str
    version: str
    hashes: frozenset[str]


def pins(text: str) -> list[Pin]:
    """Read requirements as scripts/lock.sh writes them. Raises ValueError for one without a version or a hash."""
    found = []
    for entry in re.sub(r"#.*", "", text).replace("\\\n", " ").splitlines():
        if entry.strip():
            match, hashes = _PIN.match(entry), frozenset(_HASH.findall(entry))
            if not match or not hashes:
                raise ValueError(f"not pinned and hashed: {entry.strip()}")
            found.append(Pin(match["name"], match["version"], hashes))
    return found


def withdrawn(requirements: Path) -> list[str]:
    """Ask the package index which files it has yanked (PEP 592) or does not list any more."""
    with ThreadPoolExecutor(8) as pool:
        return [problem for problems in pool.map(_withdrawn, pins(requirements.read_text())) for problem in problems]


def _withdrawn(pin: Pin) -> list[str]:
    url = f"{INDEX}/{re.sub(r'[-_.]+', '-', pin.name).lower()}/"
    try:
        with urlopen(Request(url, headers={"Accept": SIMPLE_JSON}), timeout=30) as answer:  # noqa: S310 - the index
            files = json.load(answer)["files"]
    except (OSError, ValueError, KeyError) as error:
        raise CannotBeAsked(f"the package index, about {pin.name}: {error}") from error
    listed = {file["hashes"].get("sha256"): file for file in files}
    reasons = {file["yanked"] for hash_ in pin.hashes & listed.keys() if (file := listed[hash_]).get("yanked")}
    problems = [f"{pin.name} {pin.version} is yanked: {reason}" for reason in reasons]
    gone = len(pin.hashes - listed.keys())
    return [*problems, f"{pin.name} {pin.version}: {gone} of its files are not listed any more"] if gone else problems


def vulnerable_python(requirements: Path) -> list[str]:
    """Ask PyPI's advisories, through pip-audit."""
    program = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    options = ["--format", "json", "--requirement", str(requirements)]
    audit = subprocess.run([*program, *options], check=False, capture_output=True, text=True)  # noqa: S603
    try:
        dependencies = json.loads(audit.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        raise CannotBeAsked(f"pip-audit: {audit.stderr.strip().splitlines()[-1:]}") from error
    # pip-audit itself is content with a package of which the database has never heard.
    unknown = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    found = [
        f"{dependency['name']} {dependency['version']}: {of['id']}, mended in {', '.join(of['fix_versions']) or 'none'}"
        for dependency in dependencies
        for of in dependency.get("vulns", [])
    ]
    if unknown and not found:
        known = f"{len(unknown)} of {len(dependencies)} packages, such as {unknown[0]}"
        raise CannotBeAsked(f"PyPI's advisories know nothing of {known}")
    return found


def vulnerable_debian(image: str) -> list[str]:
    """Ask Debian's archive for newer versions of what the image has: within a release they mend what is bad."""
    script = "apt-get update --quiet=2 --error-on=any && apt-cache policy && apt-get --simulate dist-upgrade"
    run = ["docker", "run", "--rm", "--user", "root", "--entrypoint", "sh", image, "-c", script]
    apt = subprocess.run(run, check=False, capture_output=True, text=True)  # noqa: S603
    if apt.returncode:
        raise CannotBeAsked(f"Debian's archive: {(apt.stderr or apt.stdout).strip().splitlines()[-1:]}")
    found = [line.removeprefix("Inst ") for line in apt.stdout.splitlines() if line.startswith("Inst ")]
    if not found and _SECURITY_ARCHIVE not in apt.stdout:
        raise CannotBeAsked("Debian's archive: the image's sources do not name the one of security updates")
    return found


def ask(questions: dict[str, Callable[[], list[str]]], *, offline: bool) -> int:
    """Print every answer. Return 1 when something is bad, 2 when it could not be asked and that is not allowed."""
    status = 0
    for question, answer in questions.items():
        try:
            problems = answer()
        except CannotBeAsked as error:
            sys.stdout.write(f"{question}: COULD NOT BE ASKED: {error}\n")
            status = status or (0 if offline else 2)
            continue
        sys.stdout.write("".join(f"{question}: {problem}\n" for problem in problems) or f"{question}: none\n")
        status = 1 if problems else status
    return status


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="scripts.advisories", description=__doc__)
    _parser.add_argument("--offline", action="store_true", help="do not fail for what cannot be asked")
    _parser.add_argument("--image", help="look at its Debian packages too")
    _parser.add_argument("requirements", type=Path)
    _arguments = _parser.parse_args()
    _questions: dict[str, Callable[[], list[str]]] = {
        "withdrawn packages": partial(withdrawn, _arguments.requirements),
        "vulnerable Python packages": partial(vulnerable_python, _arguments.requirements),
    }
    if _arguments.image:
        _questions["outdated Debian packages"] = partial(vulnerable_debian, _arguments.image)
    sys.exit(ask(_questions, offline=_arguments.offline))
