"""The bill of materials of the real image."""

import json
import re
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component

from scripts.advisories import pins
from scripts.sbom import bill_of_materials, written
from tests.conftest import ROOT

pytestmark = pytest.mark.container


def test_it_lists_what_the_image_holds_and_is_valid(image: str) -> None:
    found = {one["purl"].partition("?")[0] for one in json.loads(written(bill_of_materials(image)))["components"]}

    requirements = (ROOT / "requirements.txt").read_text()
    pinned = {f"pkg:pypi/{pin.name}@{pin.version}" for pin in pins(requirements)}
    # The others depend on the system.
    everywhere = {f"pkg:pypi/{name}@{of}" for name, of in re.findall(r"^(\S+)==(\S+) \\$", requirements, re.MULTILINE)}
    python = {purl for purl in found if purl.startswith("pkg:pypi/")}
    assert len(everywhere) > 20
    assert everywhere <= python <= pinned
    assert any(purl.startswith("pkg:deb/debian/postgresql-17@17.") for purl in found)
    assert any(purl.startswith("pkg:deb/debian/libc6@") for purl in found)


def test_one_that_is_not_valid_is_not_written() -> None:
    with pytest.raises(ValueError, match="not valid CycloneDX"):
        written(Bom(components=[Component(name="x", mime_type="not a type")]))


def test_no_bill_is_committed() -> None:
    assert "build/" in (Path(ROOT) / ".gitignore").read_text().splitlines()
